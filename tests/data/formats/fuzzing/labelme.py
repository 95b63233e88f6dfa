"""LabelMe's JSON, one for each image."""

from __future__ import annotations

import math
from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, is_whole, scene
from tests.data.formats.fuzzing.texts import json_bytes, lines_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    labels_in, pictures_in, address = dice.pick((
        ("", "", ""), ("train/", "train/", ":train"), ("json/", "images/", ""), ("", "images/", ""),
        ("a b/", "a b/", ""),
    ))  # fmt: skip
    files, expected = {}, {}
    told = False
    for picture in shown.pictures:
        shapes, items = [], []
        for item in picture.items:
            shape, item = _shape(dice, item)
            shapes.append(shape)
            items.append(item)
        if dice.chance(8):
            kind = dice.pick((("point", [[1, 2]]), ("line", [[1, 2], [3, 4]])))
            shapes.append({"label": "x", "points": kind[1], "shape_type": kind[0]})
            told = True
        document = {"shapes": shapes, **_image(dice, picture, pictures_in, labels_in)}
        if dice.chance(2):
            document |= {"version": dice.pick(("5.0.1", "3.16.7", None)), "flags": {}}
        if dice.chance(2):
            document["imageData"] = dice.pick((None, "aGVsbG8=" * 20))
        files[f"{labels_in}{picture.stem}.json"] = json_bytes(dice, shuffled_keys(dice, document))
        path = pictures_in + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
    classes = None
    if all(name.isprintable() for name in shown.classes) and not told and dice.chance(4):
        before = dice.pick(([], ["__ignore__"], ["__ignore__", "_background_"]))
        files["labels.txt"] = lines_bytes(dice, [*before, *shown.classes])
        classes = shown.classes
    return Written(files, expected, classes, address, told=told)


def _image(dice: Dice, picture: Picture, pictures_in: str, labels_in: str) -> dict[str, Any]:
    names = [picture.name, f"/srv/me/{picture.name}", f"C:\\data\\{picture.name}"]
    if labels_in == "json/":
        names += [f"../{pictures_in}{picture.name}", f"..\\images\\{picture.name}"]
    name = names[0] if "\\" in picture.name or not dice.chance(3) else dice.pick(names)
    entry: dict[str, Any] = {"imagePath": name}
    kind = dice.below(6)
    if kind == 1:
        return entry | {"imageHeight": None, "imageWidth": None}
    if kind == 2:
        return entry
    return entry | {"imageHeight": picture.height, "imageWidth": picture.width}


def _shape(dice: Dice, item: Item) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    kind = dice.pick(("rectangle", "rectangle", "rectangle", "polygon", "circle", None))
    box = item.box
    if kind == "circle":
        radius = (x2 - x1) / 2
        points = [[x1, y1], [x1 + radius * 0.6, y1 + radius * 0.8]]
        length = math.dist(*points)
        box = (x1 - length, y1 - length, x1 + length, y1 + length)
    elif kind == "rectangle":
        points = dice.pick(([[x1, y1], [x2, y2]], [[x2, y2], [x1, y1]], [[x2, y1], [x1, y2]]))
    else:
        points = dice.shuffled([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if dice.chance(2):
        points = [[int(v) if is_whole(v) else v for v in point] for point in points]
    shape: dict[str, Any] = {"label": item.name, "points": points, "shape_type": kind}
    if kind is None and dice.chance(2):
        del shape["shape_type"]
    if item.ignored:
        shape["flags"] = {dice.pick(("ignored", "difficult")): True}
    elif dice.chance(2):
        shape["flags"] = dice.pick(({}, None, {"occluded": True}, {"ignored": False}))
    if dice.chance(2):
        shape |= dice.pick(({"group_id": None}, {"group_id": 1, "description": ""}, {"mask": None}))
    return shuffled_keys(dice, shape), Item(box, item.name, item.ignored)
