"""YOLO: headers of several customs, polygons, where label files lie."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.formats import read, yolo
from foveal.errors import DataError


@pytest.fixture
def lay(tmp_path: Path, picture: Callable) -> Callable[..., Path]:
    def make(labels: dict[str, str], files: dict[str, str]) -> Path:
        for name, text in labels.items():
            picture(tmp_path / f"{name}.png", 100, 50)
            if text:
                path = tmp_path / f"{name}.txt".replace("images/", "labels/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return make


def test_boxes_and_polygons(lay: Callable) -> None:
    lines = "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.3 0.2 0.2 0.6\n"
    folder = lay({"images/a": lines, "images/b": ""}, {"data.yaml": "train: images\nnames: [x, y]"})
    data = yolo.read(folder)
    assert data.classes == ("x", "y")
    assert [len(record) for record in data] == [2, 0]
    record = data.records[0]
    assert (record.width, record.height) == (100, 50)
    assert record.boxes.tolist() == [[40, 15, 60, 35], [10, 10, 30, 30]]
    assert record.labels.tolist() == [1, 0]
    outline = record.flags["segmentation"]
    assert outline[0] is None
    assert outline[1][0] == pytest.approx([10, 10, 30, 10, 20, 30])


def test_splits_by_folder_list_and_another_name(lay: Callable) -> None:
    header = (
        "path: .\ntrain: [images/one, images/two]\nvalid: val.txt\n"
        "names: {0: cell, 1: größe}\nnc: 2\n"
    )
    labels = {"images/one/a": "0 .5 .5 .2 .2", "images/two/b": "1 .5 .5 .2 .2", "images/c": ""}
    folder = lay(labels, {"data.yaml": header, "val.txt": "./images/c.png\n"})
    assert [r.path.stem for r in yolo.read(folder, "train")] == ["a", "b"]
    assert [r.path.stem for r in read(f"{folder}/data.yaml:val")] == ["c"]
    assert len(yolo.read(folder, "valid")) == 1
    assert len(yolo.read(folder)) == 3
    assert yolo.read(folder).classes == ("cell", "größe")


def test_the_folder_of_a_split_leads_to_the_names_above_it(lay: Callable) -> None:
    folder = lay({"train/images/a": ""}, {"classes.txt": "cell\n"})
    with pytest.raises(DataError, match="no class names") as raised:
        yolo.read(folder / "train")
    assert str(raised.value).endswith(f"{folder / 'classes.txt'} has them: give '{folder}:train'.")
    with pytest.raises(DataError, match=r"in labels\.$"):  # no split: nothing is known of it
        yolo.read(folder / "train/images")


def test_a_header_that_climbs_is_read_inside_the_folder(lay: Callable) -> None:
    labels = {"train/images/a": "0 .5 .5 .2 .2"}
    folder = lay(labels, {"data.yaml": "train: ../train/images\nnames: [x]\n"})
    assert [len(record) for record in yolo.read(folder)] == [1]


def test_a_folder_with_classes_alone(lay: Callable) -> None:
    labels = {"images/train/a": "0 .5 .5 .2 .2", "images/val/b": "0 .5 .5 .2 .2"}
    folder = lay(labels, {"classes.txt": "cell\n"})
    assert [r.path.stem for r in read(f"{folder}:val")] == ["b"]
    assert len(read(folder)) == 2


def test_the_header_of_darknet(lay: Callable) -> None:
    header = "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    files = {"obj.data": header, "obj.names": "cell\n", "train.txt": "data/obj/a.png\n"}
    data = yolo.read(lay({"obj/a": "0 .5 .5 .2 .2"}, files))
    assert data.classes == ("cell",)
    assert [len(record) for record in data] == [1]


def test_regions_to_ignore_are_left_out_with_a_warning(
    make_dataset: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects = [((1, 2, 11, 14), 0, True), ((1, 2, 11, 14), 1, False)]
    data = make_dataset([("a.png", 64, 48, objects)])
    (tmp_path / "out").mkdir()
    with caplog.at_level(logging.WARNING):
        yolo.write(data, tmp_path / "out")
    assert "1 regions to ignore are left out" in caplog.text
    assert yolo.read(tmp_path / "out").records[0].labels.tolist() == [1]


def test_a_header_cannot_lead_out_of_the_data(tmp_path: Path, picture: Callable) -> None:
    picture(tmp_path / "outside/images/a.png")
    data = tmp_path / "data"
    data.mkdir()
    for path in (f"{tmp_path}/outside", "../outside"):
        (data / "data.yaml").write_text(f"path: {path}\ntrain: images\nnames: [x]\n")
        with pytest.raises(DataError, match=r"train: 'images' does not exist in the data folder"):
            yolo.read(data)
        (data / "list.txt").write_text("images/a.png\n")
        (data / "a.txt").write_text("0 .5 .5 .1 .1\n")
        (data / "data.yaml").write_text(f"path: {path}\ntrain: list.txt\nnames: [x]\n")
        with pytest.raises(DataError, match=r"a\.txt, line 1: .*a\.png"):
            yolo.read(data)
        (data / "a.txt").unlink()


def test_a_split_without_any_label_file_is_read_with_a_warning(
    lay: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    header = "train: images/one\nval: images/two\nnames: [x]\n"
    folder = lay({"images/one/a": "0 .5 .5 .2 .2", "images/two/b": ""}, {"data.yaml": header})
    assert [len(record) for record in yolo.read(folder, "val")] == [0]
    assert "none of the 1 images has a label file" in caplog.text


def test_images_of_any_ending_are_taken_and_other_files_told(
    lay: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    line = "0 0.5 0.5 0.2 0.4\n"
    folder = lay({"images/a": line, "images/b": ""}, {"data.yaml": "train: images\nnames: [x]"})
    (folder / "images/a.png").rename(folder / "images/a.jfif")
    (folder / "images/b.png").rename(folder / "images/b.JPG_large")
    for name in ("images/raw.CR2", "images/notes.txt", "images/._a.jpg"):
        (folder / name).write_bytes(b"x")
    data = yolo.read(folder)
    assert [record.path.name for record in data] == ["a.jfif", "b.JPG_large"]
    assert [len(record) for record in data] == [1, 0]
    assert "1 file passed over, no images: 1 .CR2." in caplog.text


ROW = "0 .5 .5 .2 .4"
BOX = [40, 15, 60, 35]
FORMS = {
    "pose": (f"{ROW} .9 .9 .8 .1 .3 .4 .2 .3\n", "kpt_shape: [4, 2]\n", BOX, "Keypoints are left"),
    "pose seen": (f"{ROW} .9 .9 2 .8 .1 0\n", "kpt_shape: [2, 3]\n", BOX, "Keypoints are left out"),
    "pose without": (f"{ROW}\n", "kpt_shape: [2, 3]\n", BOX, ""),
    "decimal commas": (ROW.replace(" .", " 0,"), "", BOX, ""),
    "score": (f"{ROW} .93\n", "", BOX, "A sixth number is taken for a score"),
    "rotated": ("0 .1 .2 .3 .2 .3 .6 .1 .6\n", "", [10, 10, 30, 30], "(a rotated box) are read as"),
    "polygon": ("0 .1 .2 .3 .2 .2 .6\n", "", [10, 10, 30, 30], "A polygon is read as its extent"),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_rows(name: str, lay: Callable, caplog: pytest.LogCaptureFixture) -> None:
    row, header, box, told = FORMS[name]
    text = f"train: images\nnames: [x]\n{header}"
    (record,) = yolo.read(lay({"images/a": row}, {"data.yaml": text}))
    assert record.boxes.tolist() == [pytest.approx(box, abs=1e-4)]
    assert told in caplog.text
    assert bool(told) == bool(caplog.records)


@pytest.mark.parametrize(
    ("row", "header", "words"),
    [
        (f"{ROW} .9 .9 2 .8 .1 1", "", r"look like keypoints.*kpt_shape: \[2, 3\]"),
        (f"{ROW} .9 .9 2", "", r"8 numbers\..*If they are keypoints.*kpt_shape: \[1, 3\]"),
        (f"{ROW} .9 .9", "kpt_shape: [2, 3]", "7 numbers. Expected .* 2 keypoints of 3 numbers"),
        (ROW, "kpt_shape: 4", "kpt_shape: 4. Expected the number of keypoints"),
        (ROW, "kpt_shape: [4, 5]", "kpt_shape: .*Expected the number of keypoints"),
    ],
)
def test_forms_that_cannot_be_right(row: str, header: str, words: str, lay: Callable) -> None:
    text = f"train: images\nnames: [x]\n{header}\n"
    with pytest.raises(DataError, match=words):
        yolo.read(lay({"images/a": row}, {"data.yaml": text}))


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("JPEGImages/a", "labels/a.txt"),
        ("VOC2007/JPEGImages/a", "VOC2007/labels/a.txt"),
        ("img/train/a", "labels/train/a.txt"),
        ("images/a", "labels/a.TXT"),
        ("images/a", "images/a.txt"),
        ("Images/a", "Labels/a.txt"),
        ("images/train/a", "annots/train/a.txt"),
    ],
)
def test_where_label_files_lie(image: str, label: str, lay: Callable, tmp_path: Path) -> None:
    files = {"voc.data": "train = train.txt\nnames = voc.names\n", "voc.names": "x\n"}
    folder = lay({image: ""}, files | {"train.txt": f"{image}.png\n"})
    (folder / label).parent.mkdir(parents=True, exist_ok=True)
    (folder / label).write_text(ROW)
    (record,) = read(folder)
    assert record.path == folder / f"{image}.png"
    assert len(record) == 1


def test_classes_beside_the_label_files(lay: Callable) -> None:
    folder = lay({"images/a": ROW}, {})
    (folder / "labels/classes.txt").write_text("x\ny\n")
    assert read(folder).classes == ("x", "y")


def test_what_has_no_partner_is_told(lay: Callable, caplog: pytest.LogCaptureFixture) -> None:
    folder = lay({"images/a": ROW, "images/b": ""}, {"classes.txt": "x\n"})
    (folder / "labels/c.txt").write_text(ROW)
    assert [len(record) for record in read(folder)] == [1, 0]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "1 of 2 images has no label file and counts as without objects, such as images/b.png.",
        "1 label file without an image is not read, such as labels/c.txt.",
    ]


def test_the_path_of_a_header_is_read_below_the_images_that_were_named(
    tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "far/images/train/a.png", 100, 50)
    (tmp_path / "far/labels/train").mkdir(parents=True)
    (tmp_path / "far/labels/train/a.txt").write_text(ROW)
    (tmp_path / "here").mkdir()
    header = f"path: {tmp_path}/far\ntrain: images/train\nnames: [x]\n"
    (tmp_path / "here/data.yaml").write_text(header)
    with pytest.raises(DataError):
        read(tmp_path / "here")
    assert f"{tmp_path}/far lies outside the data folder and is not read. Say" in caplog.text
    assert [len(r) for r in read(tmp_path / "here", images=tmp_path / "far")] == [1]


@pytest.mark.parametrize("named", ["classes.txt", "labels", "labels/classes.txt", "obj.names"])
def test_the_list_of_classes_or_the_labels_may_be_named(named: str, lay: Callable) -> None:
    folder = lay({"images/a": ROW}, {})
    (folder / ("labels/classes.txt" if named == "labels" else named)).write_text("x\n")
    assert [len(record) for record in read(folder / named)] == [1]


def test_of_several_headers_the_one_with_names_is_read(lay: Callable) -> None:
    files = {"hyp.yaml": "lr0: 0.01\n", "cells.yaml": "train: images\nnames: [x]\n"}
    folder = lay({"images/a": ROW}, files)
    assert len(read(folder)) == 1
    (folder / "more.yaml").write_text("train: images\nnames: [y]\n")
    with pytest.raises(DataError, match=r"several headers: .*cells\.yaml, .*more\.yaml"):
        read(folder)
