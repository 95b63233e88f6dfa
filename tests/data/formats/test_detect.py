"""Which format a path holds: by content, strangers beside it notwithstanding."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.data.formats.detect import FORMATS, find_format, load_format
from foveal.errors import DataError

LINES = {
    "coco/annotations/train.json": '{"images": [], "annotations": []}',
    "voc/Annotations/a.xml": "<annotation/>",
    "yolo/data.yaml": "names: [x]",
    "yolo/labels/a.txt": "0 .5 .5 .1 .1",
    "plain/labels/train/a.txt": "0 .5 .5 .1 .1",
    "csv/boxes.csv": "a.png,1,2,11,14,x",
    "empties/boxes.csv": "a.png,,,,,",
    "kitti/training/label_2/1.txt": "Car 0 0 0 1 2 3 4 1 1 1 1 1 1 1",
    "labelme/a.json": '{"imageData": "' + "A" * 2**21 + '", "shapes": []}',
    "openimages/train-annotations-bbox.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax",
    "cvat/annotations.xml": "<?xml version='1.0'?><annotations/>",
}
NAMES = {"plain": "yolo", "empties": "csv"}


@pytest.mark.parametrize("file", LINES)
def test_formats_are_told_by_content(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(LINES[file])
    top = file.partition("/")[0]
    for stranger in ("package.json", "notes.txt", "results.csv", "config.yaml", "drawing.xml"):
        (tmp_path / top / stranger).write_text("a b c\n")
    (tmp_path / top / "classes.csv").write_text("x,0\n")
    assert find_format(tmp_path / top) == NAMES.get(top, top)


def test_nothing_is_found_in_pictures_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        find_format(tmp_path)
    for name in FORMATS:
        assert f"{name}:" in str(caught.value)


def test_every_format_reads_and_writes() -> None:
    for name in FORMATS:
        module = load_format(name)
        assert callable(module.read)
        assert callable(module.write)
