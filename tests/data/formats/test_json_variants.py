"""JSON as other programs write it: keys in any order, any encoding, and values of any type."""

from __future__ import annotations

import base64
import copy
import io
import json
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import ANY_CLASS, Dataset
from foveal.data.formats import read, write
from foveal.data.formats.detect import find_format
from foveal.errors import FovealError

JSON = ("coco", "labelme", "label_studio", "via", "vott", "supervisely", "createml", "datumaro")


def by_image(data: Dataset) -> dict[str, list[tuple]]:
    """The objects of each image, as (class, box, ignored), sorted."""
    return {
        record.path.name: sorted(
            (data.classes[label], *map(float, box), bool(ignored))
            for label, box, ignored in zip(record.labels, record.boxes, record.ignored, strict=True)
        )
        for record in data
    }


def turned(value: Any) -> Any:
    """The value with the keys of all objects in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", JSON)
def test_order_blanks_and_encoding_change_nothing(
    name: str, encoding: str, make_dataset: Callable, tmp_path: Path
) -> None:
    objects = [((1, 2, 11, 14), 2, False), ((0.5, 3.25, 7 / 3, 9), 0, True)]
    data = make_dataset([("ä b.png", 64, 48, objects), ("none.png", 33, 17, [])])
    write(data, tmp_path / "written", name)
    for file in (tmp_path / "written").rglob("*.json"):
        value = turned(json.loads(file.read_text(encoding="utf-8")))
        text = json.dumps(value, ensure_ascii=name == "via", indent=3)
        file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert find_format(tmp_path / "written") == name
    assert by_image(read(tmp_path / "written")) == by_image(data)


RECTANGLE = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 10}


def result(number: int, **value: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}",
        "original_width": 64,
        "original_height": 48,
        "image_rotation": 0,
        "value": value,
        "meta": {"text": ["ignored"]},
    }


def bitmap() -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("1", (5, 5), 1).save(stream, "PNG")
    data = base64.b64encode(zlib.compress(stream.getvalue())).decode()
    return {"data": data, "origin": [1, 2]}


SHAPE = {
    "x": 1, "y": 2, "width": 3, "height": 4, "cx": 9, "cy": 9, "r": 3, "rx": 3, "ry": 4,
    "theta": 0.2, "all_points_x": [1, 5, 9], "all_points_y": [1, 5, 3],
}  # fmt: skip

TREES: dict[str, tuple[str, str, Any]] = {
    "coco": ("coco", "c.json", {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48},
                   {"id": "2", "coco_url": "http://x/b.png"}],
        "categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12,
             "iscrowd": 0, "attributes": {"rotation": 20.0}, "segmentation": []},
            {"id": 2, "image_id": "1", "category_id": 2,
             "segmentation": {"counts": "53", "size": [48, 64]}},
            {"id": 3, "image_id": 2, "category_id": "1", "bbox": ["1", "2", "3", "4"]},
            {"id": 4, "image_id": 1, "category_id": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]},
        ],
    }),
    "label_studio": ("label_studio", "l.json", [
        {"id": 1, "data": {"image": "/data/local-files/?d=a.png"}, "annotations": [
            {"was_cancelled": False, "ground_truth": False, "result": [
                result(1, **RECTANGLE, rectanglelabels=["x"]),
                result(2, x=50, y=50, radiusX=20, radiusY=10, rotation=5, ellipselabels=["y"]),
                result(3, points=[[1, 2], [30, 40], [50, 60]], polygonlabels=["x"]),
            ]}]},
        {"id": 2, "data": {"image": "b.png"}, "annotations": [{"result": []}]},
    ]),
    "label_studio in short": ("label_studio", "l.json", [
        {"id": 1, "image": "/data/upload/1/12345678-a.png", "annotator": 1, "annotation_id": 2,
         "label": [{**RECTANGLE, "rectanglelabels": ["x"], "original_width": 64,
                    "original_height": 48}]},
    ]),
    "via": ("via", "v.json", {
        "_via_img_metadata": {
            "a.png1": {"filename": "a.png", "size": 1, "regions": [
                {"shape_attributes": {"name": name, **SHAPE},
                 "region_attributes": {"class": "x", "kind": {"a": True}}}
                for name in ("rect", "circle", "ellipse", "polygon")]},
            "b": {"filename": "b.png", "regions": {"0": {
                "shape_attributes": {"name": "rect", **SHAPE},
                "region_attributes": {"class": {"x": True}}}}},
        },
        "_via_attributes": {"region": {"class": {"options": {"x": "", "y": ""}}}},
    }),
    "vott": ("vott", "v-export.json", {
        "tags": [{"name": "x"}, {"name": "y"}],
        "assets": {"q": {
            "asset": {"id": "q", "name": "a.png", "path": "file:a.png",
                      "size": {"width": 64, "height": 48}, "state": 2, "type": 1},
            "regions": [
                {"tags": ["x"], "boundingBox": {"left": 1, "top": 2, "width": 3, "height": 4}},
                {"tags": ["y", "x"], "points": [{"x": 1, "y": 2}, {"x": 5, "y": 9}]},
            ]}},
    }),
    "supervisely": ("supervisely", "one/ann/a.png.json", {
        "size": {"width": 64, "height": 48}, "tags": [], "objects": [
            {"classTitle": "x", "geometryType": "rectangle", "tags": [{"name": "ignored"}],
             "points": {"exterior": [[1, 2], [3, 4]], "interior": []}},
            {"classTitle": "y", "geometryType": "bitmap", "bitmap": bitmap()},
        ]}),
    "createml": ("createml", "c.json", [
        {"image": "a.png", "annotations": [
            {"label": "x", "coordinates": {"x": 5, "y": 6, "width": 3, "height": 4}},
            {"label": "y", "coordinates": {"x": 9, "y": 9, "width": 3, "height": 4},
             "ignored": True}]},
        {"imagefilename": "b.png", "annotation": []},
    ]),
    "datumaro": ("datumaro", "annotations/default.json", {
        "categories": {"label": {"labels": [{"name": "x"}, {"name": "y"}]}},
        "items": [{"id": "a", "image": {"path": "a.png", "size": [48, 64]}, "annotations": [
            {"type": "bbox", "label_id": 0, "bbox": [1, 2, 3, 4],
             "attributes": {"is_crowd": True, "rotation": 5}},
            {"type": "polygon", "label_id": 1, "points": [1, 2, 3, 4, 5, 6]},
            {"type": "mask", "label_id": 1, "rle": {"counts": [4, 5, 6, 7], "size": [48, 64]}},
            {"type": "rotated_bbox", "label_id": 0, "bbox": [9, 9, 4, 4, 30]},
        ]}],
    }),
    "labelme": ("labelme", "a.json", {
        "imagePath": "a.png", "imageWidth": 64, "imageHeight": 48, "shapes": [
            {"label": "x", "shape_type": "rectangle", "points": [[1, 2], [3, 4]], "flags": {}},
            {"label": "y", "shape_type": "polygon", "points": [[1, 2], [3, 4], [9, 9]],
             "flags": {"ignored": True}},
        ]}),
}  # fmt: skip

VALUES = (
    None, [], {}, "", "x", "1", "nan", -1, 0, 1, 2**70, 1e400, float("nan"), 1e308, True, False,
    [None], [[]], ["a"], {"a": 1}, "../../../etc/passwd", "/etc/passwd", "C:\\x", "a.png\0",
    "?d=../../x.png", "http://h/%2e%2e/%2e%2e/x.png", "\ud800", "x" * 5000, [[1, 2], [3, 4]],
    {"counts": "zz", "size": [1, 2]}, {"counts": [1, 2, 3], "size": [0, 0]}, "__ignore__",
)  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value in a tree but itself."""
    pairs = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(tree: Any, dice: random.Random) -> Any:
    """The tree with one to three of its values replaced, left out or repeated."""
    tree = copy.deepcopy(tree)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        paths = list(places(tree))
        if not paths:
            return tree
        *before, last = dice.choice(paths)
        inner = tree
        for key in before:
            inner = inner[key]
        how = dice.random()
        if how < 0.15:
            del inner[last]
        elif how < 0.25 and isinstance(inner, list):
            inner.append(copy.deepcopy(inner[last]))
        else:
            inner[last] = copy.deepcopy(dice.choice(VALUES))
    return tree


@pytest.mark.parametrize("name", TREES)
def test_values_of_any_type_are_read_soundly_or_named(
    name: str, tmp_path: Path, picture: Callable[..., Path]
) -> None:
    for place in ("data/a.png", "data/b.png", "data/one/img/a.png"):
        picture(tmp_path / place)
    own, where, tree = TREES[name]
    file = tmp_path / "data" / where
    file.parent.mkdir(parents=True, exist_ok=True)
    dice = random.Random(name)
    outcomes = set()
    for _ in range(60):
        file.write_text(json.dumps(changed(tree, dice)))
        bad_boxes = dice.choice(("drop", "stop", "keep"))
        try:
            data = read(
                dice.choice((file, tmp_path / "data")),
                dice.choice((own, own, None)),
                bad_boxes=bad_boxes,
                problems=dice.choice((None, None, [])),
            )
        except FovealError as error:
            plain = "\n" not in str(error) and len(str(error)) < 3000
            outcomes.add("error" if plain else f"long: {error}")
            continue
        outcomes.add("read")
        for record in data:
            assert record.path.is_relative_to(tmp_path) or record.path.is_relative_to(Path.cwd())
            assert ".." not in record.path.parts
            assert ((record.labels >= ANY_CLASS) & (record.labels < len(data.classes))).all()
            assert record.ignored[record.labels == ANY_CLASS].all()
            assert np.isfinite(record.boxes).all()
            if bad_boxes != "keep":
                assert (record.boxes[:, 2:] > record.boxes[:, :2]).all()
    assert outcomes == {"error", "read"}
