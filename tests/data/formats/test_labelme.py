"""LabelMe: kinds of shape, folders, names of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats import labelme, read
from foveal.errors import DataError


def lay(path: Path, *shapes: dict[str, Any], image: str = "a.png") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"imageData": "A" * 2**21, "imagePath": image, "imageWidth": 64, "imageHeight": 48}
    path.write_text(json.dumps(document | {"shapes": list(shapes)}))
    return path


def shape(kind: str, *points: list[float], label: str = "cell", **more: Any) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": list(points), **more}


def test_kinds_of_shape(tmp_path: Path) -> None:
    file = lay(
        tmp_path / "a.json",
        shape("rectangle", [11, 14], [1, 2]),
        shape("polygon", [5, 5], [9, 6], [7, 20]),
        shape("circle", [20, 20], [23, 24]),
        shape("rectangle", [1, 1], [2, 2], flags={"difficult": True}),
        shape("rectangle", [1, 1], [2, 2], label="__ignore__"),
    )
    record = read(file).records[0]
    assert record.boxes.tolist() == [
        [1, 2, 11, 14],
        [5, 5, 9, 20],
        [15, 15, 25, 25],
        [1, 1, 2, 2],
        [1, 1, 2, 2],
    ]
    assert record.labels.tolist() == [0, 0, 0, 0, ANY_CLASS]
    assert record.ignored.tolist() == [False, False, False, True, True]
    assert record.flags["segmentation"][:2] == (None, [[5, 5, 9, 6, 7, 20]])


def test_shapes_without_a_box_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path / "a.json", shape("point", [3, 3]), shape("line", [1, 1], [2, 2]))
    assert len(read(tmp_path / "a.json").records[0]) == 0
    assert "2 x no box. Left out. First: a.json, shape 1: a point has no box" in caplog.text


def test_folders_are_splits_and_share_their_classes(tmp_path: Path, picture: Callable) -> None:
    images = [picture(tmp_path / "train/x/a.png"), picture(tmp_path / "val/b.png")]
    lay(tmp_path / "train/x/a.json", shape("rectangle", [1, 2], [3, 4]))
    lay(
        tmp_path / "val/b.json",
        shape("rectangle", [1, 2], [3, 4], label="ant"),
        image="..\\pictures\\b.png",
    )
    data = read(f"{tmp_path}:train")
    assert data.classes == ("ant", "cell")
    assert [record.path for record in data] == images[:1]
    assert [record.path for record in labelme.read(tmp_path)] == images


def test_strangers_are_passed_over_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path / "a.json", shape("rectangle", ["1", "2.5"], [11, 14]))
    for name, text in {"meta.json": "{}", "list.json": "[1]"}.items():
        (tmp_path / name).write_text(text)
    data = read(tmp_path)
    assert [record.boxes.tolist() for record in data] == [[[1, 2.5, 11, 14]]]
    assert "JSON files without shapes are passed over (2 x, first: list.json" in caplog.text
    with pytest.raises(DataError, match="no annotations in it, it is an empty object"):
        read(tmp_path / "meta.json", "labelme")
    (tmp_path / "a.json").unlink()
    with pytest.raises(DataError, match=r"list\.json, top level: no annotations in it"):
        read(tmp_path, "labelme")
