"""CreateML: names of fields, splits as Roboflow exports them, boxes by their centers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.data.formats import read
from foveal.errors import DataError

BOX = {"label": "red", "coordinates": {"x": 6, "y": 8, "width": 10, "height": 12}}


def lay(file: Path, *entries: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(entries)))
    return file


@pytest.mark.parametrize("fields", [("image", "annotations"), ("imagefilename", "annotation")])
def test_both_ways_to_call_the_fields(
    fields: tuple[str, str], tmp_path: Path, picture: Callable[..., Path]
) -> None:
    images = [picture(tmp_path / name) for name in ("a.png", "b.png")]
    file = lay(tmp_path / "_annotations.createml.json", *(
        dict(zip(fields, (image.name, listed), strict=True))
        for image, listed in zip(images, ([BOX], []), strict=True)
    ))  # fmt: skip
    for path in (file, tmp_path):
        data = read(path)
        assert data.paths == images
        assert data.classes == ("red",)
        assert [record.boxes.tolist() for record in data] == [[[1, 2, 11, 14]], []]
        assert (data.records[0].width, data.records[0].height) == (64, 48)


def test_splits_share_their_classes(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for split, label in (("train", "red"), ("valid", "blue")):
        picture(tmp_path / split / "a.png")
        entry = {"image": "a.png", "annotations": [BOX | {"label": label}]}
        lay(tmp_path / split / "_annotations.createml.json", entry)
    for split, label in (("train", 1), ("valid", 0)):
        data = read(f"{tmp_path}:{split}")
        assert data.classes == ("blue", "red")
        assert data.records[0].labels.tolist() == [label]
        assert data.records[0].path.parent.name == split
    with pytest.raises(DataError, match="2 CreateML files fit"):
        read(tmp_path)


def test_a_broken_entry_is_named(tmp_path: Path) -> None:
    entry = {"image": "a.png", "annotations": [BOX, {"label": "red", "coordinates": [1, 2]}]}
    with pytest.raises(DataError, match=r"image 1, annotation 2: coordinates are \[1, 2\]"):
        read(lay(tmp_path / "a.json", entry))
    with pytest.raises(DataError, match=r'a\.json, image 1: "annotations" is None'):
        read(lay(tmp_path / "a.json", {"image": "a.png"}), "createml")


def test_objects_without_any_class_are_one(
    tmp_path: Path, picture: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "a.png")
    entry = {"image": "a.png", "annotations": [{"coordinates": BOX["coordinates"]}]}
    with caplog.at_level(logging.WARNING):
        data = read(lay(tmp_path / "a.json", entry))
    assert data.classes == ("object",)
    assert "No object has a class" in caplog.text
    entry["annotations"].append(BOX)
    with pytest.raises(DataError, match="image 1, annotation 1: the object has no class"):
        read(lay(tmp_path / "a.json", entry))
