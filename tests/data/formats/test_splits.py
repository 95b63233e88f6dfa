"""Splits and folders: Roboflow's exports, annotations in folders of any name, val and valid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.formats import read
from foveal.data.formats.detect import find_format
from foveal.data.formats.splits import names_of_split
from foveal.errors import DataError

XML = (
    "<annotation><filename>{0}.png</filename><object><name>{1}</name><bndbox><xmin>1</xmin>"
    "<ymin>2</ymin><xmax>11</xmax><ymax>14</ymax></bndbox></object></annotation>"
)
COCO = (
    '{{"images": [{{"id": 1, "file_name": "{0}.png", "width": 64, "height": 48}}], "categories": '
    '[{{"id": 1, "name": "cell"}}], "annotations": '
    '[{{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12]}}]}}'
)
CSV = "filename,width,height,class,xmin,ymin,xmax,ymax\n{0}.png,64,48,cell,1,2,11,14\n"
ROBOFLOW = {
    "voc": {"{0}.xml": XML},
    "coco": {"_annotations.coco.json": COCO},
    "csv": {"_annotations.csv": CSV},
    "labelme": {
        "{0}.json": '{{"imagePath": "{0}.png", "shapes": '
        '[{{"label": "cell", "points": [[1, 2], [11, 14]], "shape_type": "rectangle"}}]}}'
    },
    "darknet": {"{0}.txt": "0 0.1 0.2 0.1 0.1\n", "_darknet.labels": "cell\n"},
}
SPLITS = ("train", "valid", "test")


@pytest.fixture
def lay(tmp_path: Path, picture: Callable) -> Callable[[dict[str, str]], Path]:
    """Write files, and an image for each name that ends as one."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(path) if name.endswith(".png") else path.write_text(text)
        return tmp_path

    return make


def roboflow(name: str) -> dict[str, str]:
    files = {"README.roboflow.txt": "cells\n\nProvided by a Roboflow user\n"}
    for split in SPLITS:
        files[f"{split}/{split}.png"] = ""
        for file, text in ROBOFLOW[name].items():
            files[f"{split}/{file.format(split)}"] = text.format(split, "cell")
    return files


@pytest.mark.parametrize("name", ROBOFLOW)
def test_every_export_of_roboflow_has_its_splits(
    name: str, lay: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = lay(roboflow(name))
    for split in SPLITS:
        data = read(f"{folder}:{split}")
        assert [(r.path, len(r)) for r in data] == [(folder / split / f"{split}.png", 1)]
        assert data.classes == ("cell",)
    assert len(read(f"{folder}:train+valid")) == 2
    assert "Taken is" not in caplog.text
    assert [r.path.stem for r in read(f"{folder}:val")] == ["valid"]
    if name != "darknet":
        assert "there is no split 'val'. Taken is 'valid'" in caplog.text
    with pytest.raises(DataError, match="train"):
        read(f"{folder}:nonsense")


@pytest.mark.parametrize("name", ["voc", "coco", "csv"])
def test_without_a_split_the_splits_are_named(name: str, lay: Callable) -> None:
    folder = lay(roboflow(name))
    with pytest.raises(DataError, match=r"has the splits test, train, valid: .*:test"):
        read(folder)


def test_yolo_of_roboflow_without_its_header(lay: Callable) -> None:
    files = {"classes.txt": "cell\n"}
    for split in SPLITS:
        files[f"{split}/images/{split}.png"] = ""
        files[f"{split}/labels/{split}.txt"] = "0 0.1 0.2 0.1 0.1\n"
    folder = lay(files)
    assert [r.path.stem for r in read(f"{folder}:valid")] == ["valid"]
    assert [len(r) for r in read(folder)] == [1, 1, 1]


def test_classes_are_those_of_all_splits(lay: Callable) -> None:
    files = roboflow("voc")
    files["test/test.xml"] = XML.format("test", "blob")
    assert read(f"{lay(files)}:train").classes == ("blob", "cell")


@pytest.mark.parametrize(
    "xml",
    [
        "annots/a.xml", "labels/a.xml", "Annotations/a.xml", "annotations/xmls/a.xml",
        "Annotations/deep/deeper/a.xml", "VOC2007/Annotations/a.xml",
    ],
)  # fmt: skip
@pytest.mark.parametrize("image", ["images/a.png", "JPEGImages/a.png"])
def test_annotations_lie_in_a_folder_of_any_name(xml: str, image: str, lay: Callable) -> None:
    inner = "VOC2007/" if xml.startswith("VOC2007") else ""
    folder = lay({xml: XML.format("a", "cell"), inner + image: ""})
    data = read(folder)
    assert [(r.path, len(r)) for r in data] == [(folder / inner / image, 1)]


def test_splits_are_folders_below_annotations(lay: Callable) -> None:
    files = {}
    for split in ("train", "val"):
        files[f"Annotations/{split}/{split}.xml"] = XML.format(split, "cell")
        files[f"images/{split}/{split}.png"] = ""
    folder = lay(files)
    assert len(read(folder)) == 2
    assert [r.path for r in read(f"{folder}:val")] == [folder / "images/val/val.png"]


def test_several_folders_of_annotations_are_named(lay: Callable) -> None:
    folder = lay({f"{name}/a.xml": XML.format("a", "cell") for name in ("first", "second")})
    with pytest.raises(DataError, match=r"lie in 2 folders. Expected one of them.*/second"):
        read(folder)


def test_capitals_and_subsets_are_the_same_split(
    lay: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = lay(
        {"Train/a.xml": XML.format("a", "cell"), "Train/a.png": "", "Test/b.xml": "<annotation/>"}
    )
    assert len(read(f"{folder}:train")) == 1
    assert "there is no split 'train'. Taken is 'Train'" in caplog.text
    cvat = '<annotations><image id="0" name="a.png" subset="Validation" width="9" height="9"/>'
    folder = lay({"c/annotations.xml": f"{cvat}</annotations>", "c/a.png": ""})
    assert len(read(f"{folder}/c:val")) == 1


def test_a_list_of_images_and_boxes_is_called_by_its_name(lay: Callable) -> None:
    folder = lay({"train/_annotations.txt": "a.jpg 1,2,3,4,0\n", "train/_classes.txt": "cell\n"})
    with pytest.raises(DataError, match=r"_annotations\.txt: YOLO v3 Keras TXT is not read"):
        find_format(folder)


def test_tfrecord_is_called_by_its_name(lay: Callable) -> None:
    folder = lay({"train/cells.tfrecord": "x", "train/cells_label_map.pbtxt": "x"})
    with pytest.raises(DataError, match=r"cells\.tfrecord: TFRecord is not read\. Export"):
        find_format(folder)


def test_what_only_describes_is_no_format(lay: Callable) -> None:
    files = {"notes.json": '{"categories": [], "info": {}}', "classes.txt": "cell\n"}
    folder = lay(files | {"labels/a.txt": "0 0.1 0.2 0.1 0.1\n", "images/a.png": ""})
    assert find_format(folder) == "yolo"
    assert [len(r) for r in read(folder)] == [1]


def test_many_empty_label_files_do_not_hide_the_format(lay: Callable) -> None:
    files = {f"labels/{number:02}.txt": "" for number in range(12)}
    assert find_format(lay(files | {"labels/99.txt": "0 0.1 0.2 0.1 0.1\n"})) == "yolo"


def test_names_of_the_same_split() -> None:
    assert names_of_split("val")[:2] == ("val", "valid")
    assert names_of_split("valid")[0] == "valid"
    assert names_of_split("train") == ("train", "Train", "TRAIN")
    assert "val" in names_of_split("Validation")
