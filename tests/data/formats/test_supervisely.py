"""Supervisely: projects, data sets as splits, kinds of geometry."""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.data.formats import read
from foveal.errors import DataError


def item(kind: str, *points: list[float], title: str = "red", **fields: Any) -> dict[str, Any]:
    return {
        "classTitle": title,
        "geometryType": kind,
        "tags": [],
        "points": {"exterior": list(points), "interior": []},
    } | fields


def bitmap(width: int, height: int, origin: list[int]) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("1", (width, height), 1).save(stream, "PNG")
    data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
    return {"data": data, "origin": origin}


def lay(folder: Path, name: str, *objects: Any) -> None:
    (folder / "ann").mkdir(parents=True, exist_ok=True)
    document = {"description": "", "size": {"height": 48, "width": 64}, "objects": list(objects)}
    (folder / "ann" / f"{name}.json").write_text(json.dumps(document))


def meta(folder: Path, *titles: str) -> None:
    classes = [{"title": title, "shape": "any", "color": "#208020"} for title in titles]
    (folder / "meta.json").write_text(json.dumps({"classes": classes, "tags": []}))


def test_kinds_of_geometry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(
        tmp_path / "one",
        "a.png",
        item("rectangle", [11, 14], [1, 2]),
        item("polygon", [5, 5], [9, 6], [7, 20], title="blue"),
        item("bitmap", bitmap=bitmap(7, 5, [10, 20])),
        item("point", [3, 3]),
        item("rectangle", [1, 2], [3, 4], tags=[{"name": "ignored", "value": None}]),
    )
    meta(tmp_path, "red", "blue", "green")
    data = read(tmp_path)
    assert data.classes == ("red", "blue", "green")
    expected = [[1, 2, 11, 14], [5, 5, 9, 20], [10, 20, 17, 25], [1, 2, 3, 4]]
    assert data.records[0].boxes.tolist() == expected
    assert data.records[0].labels.tolist() == [0, 1, 0, 0]
    assert data.records[0].ignored.tolist() == [False, False, False, True]
    assert "1 x no box. Left out" in caplog.text


def test_data_sets_are_splits_with_images_of_their_own(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    images = {split: picture(tmp_path / split / "img/a.png") for split in ("train", "val")}
    for split, title in (("train", "red"), ("val", "blue")):
        lay(tmp_path / split, "a.png", item("rectangle", [1, 2], [3, 4], title=title))
    everything = read(tmp_path)
    assert everything.paths == list(images.values())
    assert everything.classes == ("blue", "red")
    for split, image in images.items():
        data = read(f"{tmp_path}:{split}")
        assert data.paths == [image]
        assert data.classes == ("blue", "red")
    meta(tmp_path, "red", "blue")
    data = read(tmp_path / "val")
    assert data.paths == [images["val"]]
    assert data.classes == ("red", "blue")
    assert read(tmp_path / "meta.json").paths == list(images.values())


def test_an_annotation_may_be_called_after_the_images_stem(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    image = picture(tmp_path / "one/img/a.png")
    lay(tmp_path / "one", "a")
    meta(tmp_path)
    assert read(tmp_path).paths == [image]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ("x", "object 1: it is 'x'"),
        (item("rectangle", [1, 2]), "object 1: its rectangle can't be read"),
        (item("polygon", [1, 2, 3], [4, 5, 6]), "object 1: its polygon can't be read"),
        (item("bitmap", bitmap={"data": "AAAA", "origin": [1, 2]}), "its bitmap can't be read"),
        (item("bitmap", bitmap={"data": 3}), "its bitmap can't be read"),
        (item("rectangle", [1, 2], [3, 4], title="green"), "class 'green' is not one of"),
    ],
)
def test_a_broken_object_is_named(found: Any, words: str, tmp_path: Path) -> None:
    lay(tmp_path / "one", "a.png", found)
    meta(tmp_path, "red")
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path)
    assert "a.png.json" in str(caught.value)
