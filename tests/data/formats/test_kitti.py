"""KITTI: rectangles, DontCare, what is kept of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats import kitti, read
from foveal.errors import DataError

CAR = "Car 0.5 1 -1.57 10 20 30.25 40 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
CARE = "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10"


@pytest.fixture
def lay(tmp_path: Path, picture: Callable) -> Callable[..., Path]:
    def make(texts: dict[str, str], top: str = "training") -> Path:
        for name, text in texts.items():
            picture(tmp_path / top / "image_2" / f"{name}.png", 64, 48)
            path = tmp_path / top / "label_2" / f"{name}.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_rectangles_and_dont_care(lay: Callable) -> None:
    folder = lay({"000001": f"{CAR}\n{CARE}\n{CAR} 0.9\n", "000002": ""})
    data = read(folder)
    assert data.classes == ("Car",)
    record = data.records[0]
    assert record.boxes.tolist() == [[10, 20, 30.25, 40], [1, 2, 3, 4], [10, 20, 30.25, 40]]
    assert record.labels.tolist() == [0, ANY_CLASS, 0]
    assert record.ignored.tolist() == [False, True, False]
    assert record.flags["truncated"][0] == 0.5
    assert record.flags["kitti"][0] == (-1.57, 1.65, 1.67, 3.64, -0.65, 1.71, 46.70, -1.59)
    assert len(data.records[1]) == 0


def test_a_third_dimension_survives_writing(lay: Callable, tmp_path: Path) -> None:
    data = read(lay({"a": f"{CAR}\n{CARE}\n"}))
    (tmp_path / "out").mkdir()
    kitti.write(data, tmp_path / "out")
    assert kitti.read(tmp_path / "out").records[0].flags == data.records[0].flags


def test_splits_are_lists_or_folders(lay: Callable) -> None:
    folder = lay({"a": CAR, "b": CAR.replace("Car", "Van")})
    lay({"c": ""}, "testing")
    (folder / "ImageSets").mkdir()
    (folder / "ImageSets/val.txt").write_text("b\n")
    data = kitti.read(folder, "val")
    assert [record.image_id for record in data] == ["b"]
    assert data.classes == ("Car", "Van")
    assert len(kitti.read(folder, "testing")) == 1
    with pytest.raises(DataError, match="no split 'train'"):
        kitti.read(folder, "train")


def test_a_class_name_with_a_blank_cannot_be_written(
    make_dataset: Callable, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"KITTI can't hold the class name 'cut cell'.*rename"):
        kitti.write(make_dataset([]), tmp_path)
