"""Which image a name in annotations means: never another one without a word."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.checks.diagnose import diagnose
from foveal.data.formats import read
from foveal.data.formats.image_files import ImageFinder, did_you_mean
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.records import ImageRow
from foveal.data.opening import Reading
from foveal.errors import DataError

Picture = Callable[..., Path]
Write = Callable[[Path, list[str]], Path]


def _coco(folder: Path, names: list[str]) -> Path:
    images = [
        {"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(names)
    ]
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 2, 3, 4]} for n in range(len(names))
    ]
    document = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "x"}],
    }
    return _text(folder / "list.json", json.dumps(document))


def _csv(folder: Path, names: list[str]) -> Path:
    return _text(folder / "list.csv", "".join(f"{name},1,2,4,6,x\n" for name in names))


def _cvat(folder: Path, names: list[str]) -> Path:
    images = "".join(f'<image id="{n}" name="{name}"/>' for n, name in enumerate(names))
    return _text(folder / "list.xml", f"<annotations>{images}</annotations>")


def _openimages(folder: Path, names: list[str]) -> Path:
    rows = "".join(f"{name},x,0.1,0.2,0.1,0.2\n" for name in names)
    return _text(folder / "list.csv", f"ImageID,LabelName,XMin,XMax,YMin,YMax\n{rows}")


def _yolo(folder: Path, names: list[str]) -> Path:
    _text(folder / "list.txt", "".join(f"{name}\n" for name in names))
    for name in names:
        path = name.replace("\\", "/").removeprefix("C:/")
        for place in (folder / path, folder / "labels" / path.rpartition("/")[2]):
            _text(place.with_suffix(".txt"), "0 .5 .5 .1 .1\n")
    return _text(folder / "data.yaml", "train: list.txt\nnames: [x]\n")


WRITERS: dict[str, Write] = {"coco": _coco, "csv": _csv, "cvat": _cvat, "yolo": _yolo}
"""Formats in which one file names many images."""


def _text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _find(
    folder: Path, *names: str, images: Path | None = None, file: str = "list.json"
) -> tuple[list[str], list[AnnotationIssue]]:
    """Where names lead, below the folder; "" where no file is. And what is reported."""
    problems: list[AnnotationIssue] = []
    finder = ImageFinder(_text(folder / file, ""), images=images)
    rows = [ImageRow(finder.find(name, file=folder / file, place="here")) for name in names]
    settled = finder.settle(rows, IssuePolicy(problems=problems))
    found = [
        row.path.relative_to(folder).as_posix() if row.path.exists() else "" for row in settled
    ]
    return found, problems


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_the_same_name_in_another_folder_is_another_image(
    name: str, tmp_path: Path, picture: Picture
) -> None:
    for number in range(2):
        picture(tmp_path / f"images/day/{number}.jpg")
    file = WRITERS[name](tmp_path, ["night/0.jpg", "night/1.jpg"])
    dataset = read(file, name, problems=[])
    assert not any(path.exists() for path in dataset.paths)
    (finding,) = [f for f in diagnose(Reading(dataset)).findings if f.kind == "missing image"]
    assert finding.count == 2
    assert "did you mean images/day/0.jpg?" in finding.places[0]


@pytest.mark.parametrize("name", WRITERS)
def test_a_data_set_that_has_moved_as_a_whole_is_found_and_told_once(
    name: str, tmp_path: Path, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = [picture(tmp_path / f"images/{number}.png") for number in range(3)]
    file = WRITERS[name](tmp_path, [f"C:\\people\\ann\\cells\\{number}.png" for number in range(3)])
    with caplog.at_level(logging.WARNING):
        dataset = read(file, name)
    assert dataset.paths == wanted
    assert [len(record) for record in dataset] == [1, 1, 1] if name != "cvat" else [0, 0, 0]
    (told,) = [record.message for record in caplog.records]
    assert "C:/people/ann/cells" in told
    assert f"taken from {tmp_path / 'images'}: 3 of 3 found there" in told


@pytest.mark.parametrize("name", WRITERS)
def test_a_name_in_two_folders_is_an_error_that_names_both(
    name: str, tmp_path: Path, picture: Picture
) -> None:
    for folder in ("images", "JPEGImages"):
        picture(tmp_path / folder / "a.png")
    with pytest.raises(DataError, match=r"JPEGImages/a\.png.*--images FOLDER") as error:
        read(WRITERS[name](tmp_path, ["a.png"]), name)
    assert f"{tmp_path}/images/a.png" in str(error.value)
    images = tmp_path / "JPEGImages"
    file = WRITERS[name](tmp_path, ["a.png"])
    assert read(file, name, images=images).paths == [images / "a.png"]


@pytest.mark.parametrize(
    ("files", "names", "found"),
    [
        (["images/a.png"], ["a.png"], ["images/a.png"]),
        (["images/a.png"], ["images/a.png"], ["images/a.png"]),
        (["data/images/a.png"], ["images/a.png"], ["data/images/a.png"]),
        (["Images/n/a.png"], ["n/a.png"], ["Images/n/a.png"]),
        (["train/a.png", "train/b.png"], ["a.png", "b.png"], ["train/a.png", "train/b.png"]),
        (["a.png"], ["/else/ann/a.png"], ["a.png"]),
        (["day/a.png"], ["/else/ann/day/a.png"], ["day/a.png"]),
        (["set/day/a.png"], ["/else/ann/day/a.png"], ["set/day/a.png"]),
        (["images/a.png"], ["../images/a.png"], ["images/a.png"]),
        (["images/a.png"], ["obj_train_data/a.png"], ["images/a.png"]),
        (["train/1.png", "val/1.png"], ["train/1.png", "val/1.png"], ["train/1.png", "val/1.png"]),
        # none of these is sure
        (["day/a.png"], ["/else/ann/night/a.png"], [""]),
        (["images/a.png"], ["n/a.png", "m/a.png"], ["", ""]),
        (["images/a.png"], ["a.png", "n/a.png"], ["images/a.png", ""]),
        (["images/a.png"], ["n/a.png", "n/b.png"], ["", ""]),
        (["day/a.png", "night/a.png"], ["a.png"], [""]),
        (["day/a.png", "night/b.png"], ["a.png", "b.png"], ["", ""]),
        (["images/a.png", "images/n/b.png"], ["n/a.png"], [""]),
        ([], ["a.png"], [""]),
        ([], [], []),
    ],
)
def test_a_name_leads_where_all_names_leave_no_doubt(
    files: list[str], names: list[str], found: list[str], tmp_path: Path, picture: Picture
) -> None:
    for file in files:
        picture(tmp_path / file)
    assert _find(tmp_path, *names)[0] == found


@pytest.mark.parametrize(
    ("file", "found"),
    [("val.json", ""), ("instances_train2017.json", "train/a.png"), ("a.json", "train/a.png")],
)
def test_a_list_of_one_split_does_not_take_the_images_of_another(
    file: str, found: str, tmp_path: Path, picture: Picture
) -> None:
    picture(tmp_path / "train/a.png")
    assert _find(tmp_path, "a.png", file=file)[0] == [found]


def test_a_folder_called_after_the_file_goes_before_others(
    tmp_path: Path, picture: Picture
) -> None:
    for folder in ("train2017", "val2017", "images"):
        picture(tmp_path / folder / "a.png")
    assert _find(tmp_path, "a.png", file="annotations/instances_val2017.json") == (
        ["val2017/a.png"],
        [],
    )


def test_where_a_usual_folder_is_taken_before_another_one_it_is_said(
    tmp_path: Path, picture: Picture
) -> None:
    picture(tmp_path / "images/a.png")
    picture(tmp_path / "old/a.png")
    found, problems = _find(tmp_path, "a.png")
    assert found == ["images/a.png"]
    assert [problem.kind for problem in problems] == ["images elsewhere"]
    assert str(tmp_path / "old") in problems[0].message


def test_in_the_folder_that_was_named_each_image_is_looked_for_by_itself(
    tmp_path: Path, picture: Picture
) -> None:
    for name in ("a.png", "n/b.png", "c.png"):
        picture(tmp_path / "there" / name)
    names = ("/else/ann/x/a.png", "D:\\n\\b.png", "m/gone.png", "k/c.png", "l/c.png")
    found, problems = _find(tmp_path, *names, images=tmp_path / "there")
    assert found == ["there/a.png", "there/n/b.png", "", "", ""]
    assert "2 of 5 found there" in problems[0].message


def test_a_link_to_a_folder_is_no_second_folder(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "images/a.png")
    (tmp_path / "JPEGImages").symlink_to(tmp_path / "images")
    assert _find(tmp_path, "a.png")[0] == ["images/a.png"]


def _voc(folder: Path, stem: str, written: str) -> Path:
    return _text(
        folder / "Annotations" / f"{stem}.xml",
        f"<annotation><filename>{written}</filename></annotation>",
    )


def _labelme(folder: Path, stem: str, written: str) -> Path:
    document = json.dumps({"imagePath": written, "shapes": []})
    return _text(folder / "JPEGImages" / f"{stem}.json", document)


@pytest.mark.parametrize("write", [_voc, _labelme])
@pytest.mark.parametrize("written", ["a.jpg", "b.png", "C:\\x\\b.png", "..\\x\\a.jpg", "/x/b.png"])
def test_an_annotation_file_goes_with_the_image_of_its_own_name(
    write: Callable[..., Path],
    written: str,
    tmp_path: Path,
    picture: Picture,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "JPEGImages" / name)
    write(tmp_path, "b", written)
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path).paths == [tmp_path / "JPEGImages/b.jpg"]
    (told,) = [record.message for record in caplog.records]
    assert told.startswith("1 x image name disagrees")
    assert "b.jpg, which is taken" in told


@pytest.mark.parametrize("written", ["a.jpg", "b", "", "JPEGImages/a.jpg"])
def test_nothing_is_said_where_the_name_agrees_or_says_too_little(
    written: str, tmp_path: Path, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    stem = "a" if "a" in written else "b"
    image = picture(tmp_path / "JPEGImages" / f"{stem}.jpg")
    _voc(tmp_path, stem, written)
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path).paths == [image]
    assert not caplog.records


def test_another_name_counts_where_the_files_own_has_no_image(
    tmp_path: Path, picture: Picture
) -> None:
    image = picture(tmp_path / "JPEGImages/a.jpg")
    _voc(tmp_path, "000001", "a.jpg")
    assert read(tmp_path).paths == [image]


def test_the_doctor_calls_another_name_a_doubt(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "JPEGImages/b.jpg")
    _voc(tmp_path, "b", "a.jpg")
    problems: list[AnnotationIssue] = []
    dataset = read(tmp_path, problems=problems)
    findings = diagnose(Reading(dataset, tuple(problems))).findings
    assert [f.level for f in findings if f.kind == "image name disagrees"] == ["doubt"]


def test_a_split_of_yolo_is_not_taken_from_another_folder(tmp_path: Path, picture: Picture) -> None:
    picture(tmp_path / "images/a.png")
    _text(tmp_path / "labels/a.txt", "0 .5 .5 .1 .1\n")
    _text(tmp_path / "data.yaml", "train: images\nval: ../valid/images\nnames: [x]\n")
    assert len(read(f"{tmp_path}:train")) == 1
    with pytest.raises(DataError, match="valid/images' does not exist"):
        read(f"{tmp_path}:val")


def test_a_label_file_goes_with_no_image_where_two_are_called_so(
    tmp_path: Path, picture: Picture
) -> None:
    (tmp_path / "d/images").mkdir(parents=True)
    _text(tmp_path / "d/labels/a.txt", "0 .5 .5 .1 .1\n")
    _text(tmp_path / "d/data.yaml", "train: images\nnames: [x]\n")
    day, night = picture(tmp_path / "p/day/a.png"), picture(tmp_path / "p/night/a.png")
    with pytest.raises(DataError, match=r"p/day/a\.png, .*p/night/a\.png.*--images FOLDER"):
        read(tmp_path / "d", images=tmp_path / "p")
    night.unlink()
    assert read(tmp_path / "d", images=tmp_path / "p").paths == [day]


def test_did_you_mean_names_the_same_name_or_another_ending(
    tmp_path: Path, picture: Picture
) -> None:
    picture(tmp_path / "day/a.png")
    picture(tmp_path / "dusk/a.png")
    picture(tmp_path / "day/b.png")
    wanted = [tmp_path / "night/a.png", tmp_path / "night/b.jpg", tmp_path / "night/c.png"]
    assert did_you_mean(wanted, tmp_path) == {
        wanted[0]: "did you mean day/a.png, or 1 other?",
        wanted[1]: "did you mean day/b.png?",
    }
    uploaded = tmp_path / "data/upload/3/1fae68cf-b.png"
    assert did_you_mean([uploaded], tmp_path) == {uploaded: "did you mean day/b.png?"}
    assert did_you_mean([], tmp_path) == {}


@pytest.mark.parametrize("write", [_csv, _coco, _cvat])
def test_a_name_in_other_capitals_is_its_file_where_one_alone_is_meant(
    tmp_path: Path, picture: Picture, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    taken = picture(tmp_path / "IMG_0.JPG")
    picture(tmp_path / "B.jpg")
    picture(tmp_path / "b.JPG")
    dataset = read(write(tmp_path, ["img_0.jpg", "b.jpg"]))
    assert dataset.paths[0] == taken
    assert not dataset.paths[1].exists(), "two files differ from it in capitals alone"
    assert "'img_0.jpg' for IMG_0.JPG" in caplog.text
    assert did_you_mean([tmp_path / "night/img_0.jpg"], tmp_path) == {
        tmp_path / "night/img_0.jpg": "did you mean IMG_0.JPG?"
    }


def test_a_name_outside_of_which_nothing_is_sure_says_what_is_near(
    tmp_path: Path, picture: Picture
) -> None:
    picture(tmp_path / "day/a.png")
    with pytest.raises(DataError, match=r"did you mean day/a\.png\?.*--images FOLDER"):
        read(_coco(tmp_path, ["/old/night/a.png", "/old/night/b.png"]))
    with pytest.raises(DataError, match="no file of that name inside it"):
        read(_coco(tmp_path, ["/old/night/c.png"]))


def test_a_file_that_is_there_outside_is_not_replaced_by_its_namesake(
    tmp_path: Path, picture: Callable
) -> None:
    """Detections written beside the images that they name, read where others are called so."""
    picture(tmp_path / "cells" / "a.png")
    picture(tmp_path / "found" / "other" / "a.png")
    table = tmp_path / "found" / "a.csv"
    table.write_text("image_path,xmin,ymin,xmax,ymax,label\n../cells/a.png,1,2,30,40,cell\n")
    with pytest.raises(DataError, match=r"lies outside .* that file is there.* --images FOLDER"):
        read(table)
    (record,) = read(table, images=tmp_path / "cells")
    assert record.path == tmp_path / "cells" / "a.png"
