"""OpenImages: shares, decimal commas, groups, names of classes and images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.formats import read
from foveal.errors import DataError

HEADER = "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf,IsTruncated\n"


def test_shares_groups_and_described_names(tmp_path: Path, picture: Callable) -> None:
    picture(tmp_path / "images/0001.JPG", 100, 50)
    picture(tmp_path / "images/0002.png", 10, 10)
    rows = '0001,/m/1,"0,1",0.5,0,1,1,0\n0001,/m/0,0.2,0.4,0.2,0.4,0,1\n'
    (tmp_path / "train-annotations-bbox.csv").write_text(HEADER + rows)
    (tmp_path / "val-annotations-bbox.csv").write_text(HEADER)
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/0,Ant\n/m/1,Dog\n/m/2,Cow\n")
    (tmp_path / "train-images.csv").write_text("ImageID,Rotation\n0002,0\n")
    data = read(f"{tmp_path}:train")
    assert data.classes == ("Ant", "Dog", "Cow")
    assert [record.path.name for record in data] == ["0002.png", "0001.JPG"]
    record = data.records[1]
    assert record.boxes.tolist() == [[10, 0, 50, 50], [20, 10, 40, 20]]
    assert record.labels.tolist() == [1, 0]
    assert record.ignored.tolist() == [True, False]
    assert record.flags == {"group_of": (1, 0), "truncated": (0, 1)}


def test_a_missing_image_is_collected(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text(HEADER + "gone,cell,0,.5,0,.5,0,0\ngone,cell,0,1,0,1,0,0\n")
    problems: list = []
    data = read(tmp_path / "o.csv", problems=problems)
    assert [problem.kind for problem in problems] == ["image not readable"]
    assert "gone.jpg" in problems[0].message
    assert [len(record) for record in data] == [0]
    assert data.classes == ("cell",)
    with pytest.raises(Exception, match="share"):
        read(tmp_path / "o.csv")


@pytest.mark.parametrize(
    ("row", "unit"), [("20,60,30,40", "pixels"), ("31.25,93.75,62.5,83.33333", "percent")]
)
def test_other_units_are_said_and_read_as_told(
    row: str, unit: str, tmp_path: Path, picture: Callable
) -> None:
    picture(tmp_path / "a.png", 64, 48)
    (tmp_path / "b.csv").write_text(f"ImageID,LabelName,XMin,XMax,YMin,YMax\na,x,{row}\n")
    with pytest.raises(DataError, match=r"not a share .* say --boxes percent, or --boxes pixels"):
        read(tmp_path)
    (record,) = read(tmp_path, boxes=unit)
    assert record.boxes.tolist() == [pytest.approx([20, 30, 60, 40], abs=1e-3)]
