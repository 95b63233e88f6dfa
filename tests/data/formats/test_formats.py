"""All formats together: readers agree, what is written reads back the same, here and elsewhere."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.data.formats import FORMATS, read, read_splits, split_address, write
from foveal.data.formats.detect import find_format
from foveal.errors import DataError, ImageError

FOLDERS = {
    "coco_format_v1": "coco",
    "coco_format_v2": "coco",
    "pascalvoc_format": "voc",
    "yolo_format": "yolo",
    "labelme_format": "labelme",
    "openimages_format": "openimages",
    "cvat_format": "cvat",
}


def by_image(data: Dataset) -> dict[str, list[tuple]]:
    """The objects of each image, as (name, box), sorted."""
    return {
        record.path.name: sorted(
            (data.classes[label], *np.round(box, 2).tolist())
            for label, box in zip(record.labels, record.boxes, strict=True)
        )
        for record in data
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_readers_agree_to_half_a_pixel(folder: str, shared: Path) -> None:
    expected = by_image(read(shared / "data/formats/coco_format_v1"))
    path = shared / "data/formats" / folder
    assert find_format(path) == FOLDERS[folder]
    data = read(path)
    found = by_image(data)
    # OpenImages lists objects alone, so only it may lack images without objects; there are none
    assert found.keys() == expected.keys()
    assert sum(map(len, found.values())) == 273
    for name, objects in expected.items():
        assert [o[0] for o in found[name]] == [o[0] for o in objects]
        boxes, others = (np.array([o[1:] for o in rows]) for rows in (objects, found[name]))
        # YOLO and OpenImages round to shares of 1e-6 and 1e-10: far below half a pixel
        assert np.abs(boxes - others).max() < 0.5
    assert all(record.path.is_file() and record.width > 0 for record in data)


def test_bccd_is_read_and_its_two_bad_boxes_are_named(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = read(shared / "data/bccd")
    assert len(data) == 364
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert sum(map(len, data)) == 4888 - 2
    assert "BloodImage_00338.xml, object 13: box (504, 337, 504, 337) has no area" in caplog.text
    problems: list = []
    read(shared / "data/bccd", problems=problems)
    assert [(p.file.name, p.place) for p in problems] == [
        ("BloodImage_00338.xml", "object 13"),
        ("BloodImage_00343.xml", "object 4"),
    ]
    with pytest.raises(DataError, match=r'BloodImage_00338\.xml, object 13.*bad_boxes="drop"'):
        read(shared / "data/bccd", bad_boxes="stop")
    kept = read(shared / "data/bccd", bad_boxes="keep")
    assert sum(map(len, kept)) == 4888


def test_splits_of_bccd_add_up(shared: Path) -> None:
    both, splits = read_splits(f"{shared}/data/bccd:train+val")
    assert splits is not None
    assert {name: len(indices) for name, indices in splits.items()} == {"train": 205, "val": 87}
    assert len(both) == 292
    assert len(read(f"{shared}/data/bccd:test")) == 72
    assert both.classes == read(f"{shared}/data/bccd:test").classes


def test_hit_uav_by_split_and_dont_care(shared: Path) -> None:
    data = read(f"{shared}/data/hit-uav:val").ignoring(["DontCare"])
    assert data.classes == ("Person", "Car", "Bicycle", "OtherVehicle")
    assert len(data) == 290
    assert sum(int(record.ignored.sum()) for record in data) == 7


# --- writing and reading again ---

ROWS = [
    ("plain.png", 64, 48, [((1, 2, 11, 14), 0, False), ((0, 0, 64, 48), 2, False)]),
    ("name with blanks, and a comma.png", 33, 17, [((0.5, 0.25, 1.5, 16.75), 1, False)]),
    ("Übersicht-größe.PNG", 1, 1, [((0, 0, 1, 1), 0, False)]),
    ("nothing.here.png", 40, 30, []),
    ("below/plain.png", 50, 60, [((10, 10, 11, 11), 1, True), ((61 / 7, 3, 20, 59), 0, False)]),
]


def expected_after(data: Dataset, name: str) -> Dataset:
    """What a format that can't say everything keeps of a data set."""
    records = []
    for record in data:
        if name == "yolo":
            record = record.select(~record.ignored)
        labels = record.labels.copy()
        if name == "kitti":
            labels[record.ignored] = ANY_CLASS
        records.append(
            Record(
                record.path,
                record.width,
                record.height,
                record.boxes,
                labels,
                record.ignored,
            )
        )
    return Dataset(tuple(records), data.classes, data.root)


def renamed(data: Dataset, name: str, new: str) -> Dataset:
    """The data set with the second image of a name called otherwise, as writers do."""
    records = list(data.records)
    for i, record in enumerate(records):
        if record.path.parent.name == "below" and record.path.name == name:
            path = record.path.with_name(new)
            records[i] = Record(
                path, record.width, record.height, record.boxes, record.labels, record.ignored
            )
    return Dataset(tuple(records), data.classes, data.root)


@pytest.mark.parametrize("name", FORMATS)
def test_writing_and_reading_again_gives_the_same(
    name: str, make_dataset: Callable, assert_same: Callable, tmp_path: Path
) -> None:
    data = make_dataset(ROWS)
    if name == "kitti":
        data = data.rename({"cut cell": "cut_cell"})
    write(data, tmp_path / "written", name)
    assert find_format(tmp_path / "written") == name
    found = read(tmp_path / "written")
    expected = renamed(expected_after(data, name), "plain.png", "below_plain.png")
    assert_same(found, expected, atol=1e-5 if name in ("yolo", "openimages") else 0)
    assert all(record.path.is_file() for record in found)


@pytest.mark.parametrize("name", FORMATS)
def test_splits_are_kept_apart(
    name: str, make_dataset: Callable, assert_same: Callable, tmp_path: Path
) -> None:
    data = make_dataset(ROWS[:4], ("a", "b", "c"))
    write(data, tmp_path / "written", name, splits={"train": [0, 2], "val": [1, 3]})
    for split, indices in {"train": [0, 2], "val": [1, 3]}.items():
        found = read(f"{tmp_path}/written:{split}")
        assert_same(found, data.take(indices), atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_no_images_and_no_objects(name: str, make_dataset: Callable, tmp_path: Path) -> None:
    data = make_dataset([("only.png", 5, 4, [])])
    if name == "kitti":
        data = data.rename({"cut cell": "cut_cell"})
    write(data, tmp_path / "written", name)
    found = read(tmp_path / "written", name)
    assert found.classes == data.classes
    assert [len(record) for record in found] == [0]
    assert found.target(0).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "name", ["coco", "label_studio", "via", "vott", "supervisely", "createml", "datumaro"]
)
def test_no_images_at_all(name: str, make_dataset: Callable, tmp_path: Path) -> None:
    data = make_dataset(ROWS[:1])
    write(data.take([]), tmp_path / "nothing", name)
    write(data, tmp_path / "written", name, splits={"train": [0], "val": []})
    for address in (tmp_path / "nothing", f"{tmp_path}/written:val"):
        found = read(address, name)
        assert (len(found), found.classes) == (0, data.classes)
    assert len(read(f"{tmp_path}/written:train")) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_names_that_look_like_something_else(
    name: str, make_dataset: Callable, assert_same: Callable, tmp_path: Path
) -> None:
    classes = ["no", "007", "null", "1e3", "größe", "0x1F", "-", "#1"]
    classes += ["a, b", "'x' \"y\"", "a: b", "<b>&amp;"] if name != "kitti" else []
    objects = [((i, 2, i + 5, 9), i, False) for i in range(len(classes))]
    data = make_dataset([("null.png", 64, 48, objects)], tuple(classes))
    write(data, tmp_path / "written", name)
    assert_same(read(tmp_path / "written", name), data, atol=1e-5)


coordinate = st.floats(0, 64, width=32, allow_subnormal=False).map(lambda v: round(v, 3))
spans = st.tuples(coordinate, coordinate).filter(lambda s: s[1] - s[0] > 0.01)
boxes = st.tuples(spans, spans).filter(lambda box: not looks_like_shares(box))
objects = st.tuples(boxes, st.integers(0, 2), st.booleans())


def looks_like_shares(box: tuple[tuple[float, float], tuple[float, float]]) -> bool:
    """Whether it is less than a pixel in the image's first pixel: such are asked about."""
    return all(first < 1.01 and second - first < 1.01 for first, second in box)


@pytest.mark.parametrize("name", FORMATS)
@given(rows=st.lists(st.lists(objects, max_size=4), min_size=1, max_size=3))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_law_of_the_round_trip(
    name: str, rows: list, tmp_path_factory: pytest.TempPathFactory, picture: Callable
) -> None:
    folder = tmp_path_factory.mktemp("law")
    records = []
    for i, row in enumerate(rows):
        boxes = [(xs[0], ys[0], xs[1], ys[1]) for (xs, ys), _, _ in row]
        records.append(
            Record(
                picture(folder / f"{i}.png", 64, 64),
                64,
                64,
                np.array(boxes, np.float32).reshape(-1, 4),
                np.array([label for _, label, _ in row], np.int64),
                np.array([ignored for _, _, ignored in row], np.bool_),
            )
        )
    data = Dataset(tuple(records), ("a", "b", "c"), folder)
    write(data, folder / "written", name, images="link")
    found = read(folder / "written", name)
    expected = expected_after(data, name)
    atol = 1e-5 if name in ("yolo", "openimages") else 0
    for record, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.boxes, record.boxes, rtol=0, atol=atol)
        assert other.labels.tolist() == record.labels.tolist()
        assert other.ignored.tolist() == record.ignored.tolist()
        assert other.areas is None


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"yolo", "coco"}))
def test_a_region_to_ignore_whatever_the_class_stays_one(
    name: str, make_dataset: Callable, tmp_path: Path
) -> None:
    data = make_dataset(
        [("a.png", 64, 48, [((1, 2, 11, 14), 0, False), ((5, 5, 9, 9), 2, False)])],
        ("a", "b", "fog"),
    ).ignoring("fog")
    write(data, tmp_path / "written", name)
    found = read(tmp_path / "written")
    assert found.classes == ("a", "b")
    assert found.records[0].labels.tolist() == [0, ANY_CLASS]
    assert found.records[0].ignored.tolist() == [False, True]


def test_nothing_half_written_is_left(make_dataset: Callable, tmp_path: Path) -> None:
    data = make_dataset(ROWS[:2])
    data.records[1].path.unlink()
    with pytest.raises(ImageError, match=r"a comma\.png: the image does not exist"):
        write(data, tmp_path / "written", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_folder_that_holds_something_is_left_alone(
    make_dataset: Callable, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    with pytest.raises(DataError, match="mine is there already"):
        write(make_dataset(ROWS[:1]), tmp_path / "mine", "voc")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"


def test_an_empty_folder_is_taken(make_dataset: Callable, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    write(make_dataset(ROWS[:1]), tmp_path / "new", "voc")
    assert (tmp_path / "new" / "Annotations" / "plain.xml").is_file()


def test_images_are_linked_or_copied(make_dataset: Callable, tmp_path: Path) -> None:
    data = make_dataset(ROWS[:1])
    write(data, tmp_path / "linked", "coco", images="link")
    write(data, tmp_path / "copied", "coco", images="copy")
    assert (tmp_path / "linked/images/plain.png").is_symlink()
    assert not (tmp_path / "copied/images/plain.png").is_symlink()
    with pytest.raises(DataError, match='"copy", "link" or "hard_link"'):
        write(data, tmp_path / "moved", "coco", images="move")


# --- foreign readers ---


def test_pycocotools_reads_what_we_write(
    make_dataset: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    data = make_dataset(ROWS)
    write(data, tmp_path / "written", "coco")
    oracle = COCO(str(tmp_path / "written/annotations.json"))
    names = {c["id"]: c["name"] for c in oracle.loadCats(oracle.getCatIds())}
    assert list(names.values()) == list(data.classes)
    images = oracle.loadImgs(oracle.getImgIds())
    for record, image in zip(data, images, strict=True):
        assert (image["width"], image["height"]) == (record.width, record.height)
        found = oracle.loadAnns(oracle.getAnnIds(imgIds=image["id"]))
        boxes = np.array([a["bbox"] for a in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, record.boxes, rtol=0, atol=1e-5)
        assert [names[a["category_id"]] for a in found] == [data.classes[i] for i in record.labels]
        assert [a["iscrowd"] for a in found] == record.ignored.tolist()


def test_supervision_reads_what_we_write(make_dataset: Callable, tmp_path: Path) -> None:
    import supervision

    data = make_dataset([ROWS[0], ROWS[3]])
    for name in ("voc", "yolo"):
        write(data, tmp_path / name, name)
    voc = supervision.DetectionDataset.from_pascal_voc(
        images_directory_path=str(tmp_path / "voc/JPEGImages"),
        annotations_directory_path=str(tmp_path / "voc/Annotations"),
    )
    yolo = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(tmp_path / "yolo/images"),
        annotations_directory_path=str(tmp_path / "yolo/labels"),
        data_yaml_path=str(tmp_path / "yolo/data.yaml"),
    )
    record = data.records[0]
    for other in (voc, yolo):
        boxes = {Path(path).name: found for path, _, found in other}
        found = boxes["plain.png"]
        assert len(boxes["nothing.here.png"]) == 0
        # supervision counts VOC's pixels from 1, so its left and upper edges lie one pixel less
        shift = np.array([1, 1, 0, 0]) if other is voc else np.zeros(4)
        np.testing.assert_allclose(found.xyxy + shift, record.boxes, atol=1e-3)
        names = [other.classes[label] for label in found.class_id]
        assert names == [data.classes[label] for label in record.labels]


# --- addresses ---


@pytest.mark.parametrize(
    ("address", "path", "splits"),
    [
        ("data/bccd", "data/bccd", [None]),
        ("data/bccd:train", "data/bccd", ["train"]),
        ("data.yaml:train+val", "data.yaml", ["train", "val"]),
        ("data:val+val", "data", ["val"]),
        ("C:\\data\\bccd", "C:\\data\\bccd", [None]),
        ("C:\\data\\bccd:train", "C:\\data\\bccd", ["train"]),
        ("D:/data", "D:/data", [None]),
        ("a:b/c", "a:b/c", [None]),
        ("data:", "data:", [None]),
    ],
)
def test_addresses_are_taken_apart(address: str, path: str, splits: list) -> None:
    assert split_address(address) == (Path(path).absolute(), splits)


def test_what_exists_with_a_colon_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "at 10:30").mkdir()
    assert split_address(tmp_path / "at 10:30") == (tmp_path / "at 10:30", [None])
    assert split_address(f"{tmp_path}/at 10:30:val") == (tmp_path / "at 10:30", ["val"])


@pytest.mark.skipif(sys.platform == "win32", reason="D: is a drive there")
def test_a_folder_of_one_letter_has_splits_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_address("d:train") == (tmp_path / "d", ["train"])
    assert split_address("e:train") == (tmp_path / "e:train", [None])
    assert split_address(":train") == (tmp_path / ":train", [None])


def test_a_path_may_be_relative_to_the_file_or_to_the_working_folder(
    tmp_path: Path, picture: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "lists/near/a.png")
    picture(tmp_path / "work/far/b ü, c.png")
    rows = ["near/a.png,1,2,11,14,x", '"far/b ü, c.png",1,2,11,14,x', "near\\a.png,3,4,5,6,x"]
    (tmp_path / "lists/boxes.csv").write_text("\n".join(rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    data = read("../lists/boxes.csv")
    assert [record.path.resolve() for record in data] == [
        tmp_path / "lists/near/a.png",
        tmp_path / "work/far/b ü, c.png",
    ]
    assert [len(record) for record in data] == [2, 1]


def test_an_image_folder_can_be_named(tmp_path: Path, picture: Callable) -> None:
    image = picture(tmp_path / "elsewhere/deep/a.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/boxes.csv").write_text("/old/machine/deep/a.png,1,2,11,14,x\n")
    with pytest.raises(DataError, match="images=FOLDER"):
        read(tmp_path / "lists/boxes.csv")
    data = read(tmp_path / "lists/boxes.csv", images=tmp_path / "elsewhere")
    assert data.records[0].path == image
    with pytest.raises(DataError, match=r"image folder .* does not exist"):
        read(tmp_path / "lists/boxes.csv", images=tmp_path / "nowhere")


def test_reading_loads_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "a.csv").write_text("a.png,1,2,11,14,x\n")
    code = (
        "import sys, foveal; foveal.read(sys.argv[1]); "
        "assert not {'torch', 'matplotlib', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")], check=True)


def test_json_written_holds_no_path_of_this_machine(make_dataset: Callable, tmp_path: Path) -> None:
    write(make_dataset(ROWS), tmp_path / "written", "coco")
    text = (tmp_path / "written/annotations.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert json.loads(text)["images"][0]["file_name"] == "plain.png"
