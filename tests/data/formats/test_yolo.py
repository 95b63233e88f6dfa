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
