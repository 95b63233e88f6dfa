"""Which files paths, folders and globs name, and what their drawn pictures are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from foveal.errors import DataError
from foveal.inference.image_paths import (
    FoundImages,
    find_images,
    open_stacks,
    picture_names,
    telling_stacks,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/c.tif", ".hidden.jpg", "out/pictures/a.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def paths(found: FoundImages) -> list[Path]:
    return [each.path for each in found.images]


def names(found: FoundImages, folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths(found)]


def test_a_folder_gives_its_images_sorted(folder):
    found = find_images([str(folder)], leave_out=folder / "out")
    assert names(found, folder) == ["a.PNG", "b.jpg", "deep/c.tif"]


def test_numbers_in_names_are_counted_through(tmp_path):
    (tmp_path / "day 10").mkdir()
    called = ["2.jpg", "10.jpg", "day 2.jpg", "day 10/1.jpg", "Img1.jpg", "img02.jpg", "img10.jpg"]
    for name in reversed(called):
        (tmp_path / name).write_bytes(b"x")
    assert names(find_images([str(tmp_path)]), tmp_path) == called
    assert names(find_images([f"{tmp_path}/*g*"]), tmp_path) == [
        "2.jpg", "10.jpg", "day 2.jpg", "Img1.jpg", "img02.jpg", "img10.jpg"
    ]  # fmt: skip


def test_our_own_pictures_are_left_out_of_folders_only(folder):
    assert len(find_images([str(folder)]).images) == 4
    ours = folder / "out/pictures/a.jpg"
    assert paths(find_images([str(ours)], leave_out=folder / "out")) == [ours]


def test_a_glob_gives_images_only(folder):
    assert names(find_images([f"{folder}/*"]), folder) == ["a.PNG", "b.jpg"]
    assert names(find_images([f"{folder}/**/*.tif"]), folder) == ["deep/c.tif"]


def test_a_named_file_is_taken_whatever_its_ending(folder):
    assert paths(find_images([str(folder / "notes.txt")])) == [folder / "notes.txt"]


def test_a_file_whose_name_looks_like_a_glob(folder):
    odd = folder / "cell[1].jpg"
    odd.write_bytes(b"x")
    assert paths(find_images([str(odd)])) == [odd]


def test_each_image_once_in_the_order_of_the_names(folder):
    found = find_images([str(folder / "b.jpg"), f"{folder}/*.*", str(folder / "b.jpg")])
    assert names(found, folder) == ["b.jpg", "a.PNG"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "absent: no such file or folder"),
        ("*.webp", "matches no image"),
        ("empty", r"no image in this folder\."),
        ("texts", r"no image in this folder: 1 \.txt\. Expected"),
        ("*.txt", r"matches no image: 1 \.txt\. Expected"),
    ],
)
def test_a_name_without_an_image_is_an_error(folder, name, message):
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts/a.txt").write_bytes(b"x")
    with pytest.raises(DataError, match=message):
        find_images([str(folder / name)])


def test_pictures_keep_their_folders_and_never_collide():
    several = [Path(name) for name in ("x/a.png", "x/a.jpg", "x/y/a.png", "x/A.JPG", "x/a.tif")]
    assert [name.as_posix() for name in picture_names(several)] == [
        "a.jpg",
        "a.jpg.jpg",
        "y/a.jpg",
        "A.JPG-2.jpg",
        "a.tif.jpg",
    ]
    assert picture_names([]) == []
    assert picture_names([Path("/some/where/b.png")]) == [Path("b.jpg")]


def test_found_images_know_the_names_of_their_pictures(folder):
    found = find_images([str(folder)], leave_out=folder / "out")
    assert [each.picture.as_posix() for each in found.images] == ["a.jpg", "b.jpg", "deep/c.jpg"]


def test_what_is_no_image_is_counted_and_an_image_by_content_is_taken(folder):
    Image.new("RGB", (4, 3)).save(folder / "scan.JPG_large", "JPEG")
    for name in ("clip.MOV", "raw.cr2", "e.jfif", "f.jpe", "photo.HEIC", "more.txt"):
        (folder / name).write_bytes(b"x")
    for name in ("Thumbs.db", "desktop.ini", "._a.jpg", ".cache/x.jpg", "out/detections.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    for name in (str(folder), f"{folder}/**/*"):
        found = find_images([name], leave_out=folder / "out")
        assert {path.name for path in paths(found)} >= {"scan.JPG_large", "e.jfif", "f.jpe"}
        assert len(found.images) == 7
        said = "4 files passed over, no images: 2 .txt, 1 .MOV, 1 .cr2."
        assert found.describe_passed_over() == said
    assert find_images([f"{folder}/*.jpg"]).describe_passed_over() == ""


def test_a_file_that_is_named_is_not_passed_over(folder):
    found = find_images([str(folder), str(folder / "notes.txt")], leave_out=folder / "out")
    assert found.passed_over == []
    assert len(found.images) == 4


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    """A plain picture, a stack of 3 pages and an animation of 2 frames."""
    pictures = [Image.new("RGB", (8, 6), (value, 0, 0)) for value in (10, 90, 200)]
    pictures[0].save(tmp_path / "plain.png")
    pictures[0].save(tmp_path / "stack.tif", save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:2])
    return tmp_path


def test_all_pages_are_images_and_it_is_said(stacks):
    found, said = open_stacks(find_images([str(stacks)]), None)
    assert names(found, stacks) == [
        "moving.gif[1]", "moving.gif[2]", "plain.png", "stack.tif[1]", "stack.tif[2]",
        "stack.tif[3]",
    ]  # fmt: skip
    assert [each.picture.as_posix() for each in found.images] == [
        "moving[1].jpg", "moving[2].jpg", "plain.jpg", "stack[1].jpg", "stack[2].jpg",
        "stack[3].jpg",
    ]  # fmt: skip
    assert said == (
        "2 files hold several images (moving.gif: 2 frames): all are read, as 5 images, "
        "moving.gif[1] and so on. --page 1 reads one frame only."
    )


def test_one_page_of_each_that_has_several(stacks):
    found, said = open_stacks(find_images([str(stacks)]), 2)
    assert names(found, stacks) == ["moving.gif[2]", "plain.png", "stack.tif[2]"]
    assert said.endswith("frame 2 is read.")


def test_without_stacks_nothing_is_said(stacks):
    for name in ("plain.png", "stack.tif[3]"):
        found, said = open_stacks(find_images([str(stacks / name)]), None)
        assert (names(found, stacks), said) == ([name], "")
    with pytest.raises(DataError, match="matches no image"):
        find_images([str(stacks / "absent.tif[3]")])
    (stacks / "broken.tif").write_bytes(b"II*\0")
    assert len(open_stacks(find_images([str(stacks / "broken.tif")]), None)[0].images) == 1


def test_python_is_told_of_the_first_stack_once(stacks, caplog):
    paths = [stacks / "plain.png", stacks / "stack.tif", str(stacks / "stack.tif"), 7]
    assert list(telling_stacks(paths)) == paths
    assert caplog.text.count("holds 3 pages: the first is read. 'stack.tif[2]'") == 1
