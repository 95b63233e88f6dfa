"""Supervisely's project folders."""

from __future__ import annotations

from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    folder, address = dice.pick((("ds0", ""), ("train", ":train"), ("a b", "")))
    files, expected = {}, {}
    for picture in shown.pictures:
        written, items = [], []
        for item in picture.items:
            entry, item = _object(dice, item)
            written.append(entry)
            items.append(item)
        document: dict[str, Any] = {
            "size": {"height": picture.height, "width": picture.width},
            "objects": written,
        }
        if dice.chance(2):
            document |= {"description": "", "tags": []}
        content = json_bytes(dice, shuffled_keys(dice, document))
        files[f"{folder}/ann/{picture.name}.json"] = content
        expected[f"{folder}/img/{picture.name}"] = Picture(
            picture.name, picture.width, picture.height, items
        )
    classes = None
    if not dice.chance(4):
        titles = [{"title": name, "shape": "rectangle", "color": "#0F0"} for name in shown.classes]
        meta = shuffled_keys(dice, {"classes": titles, "tags": [], "projectType": "images"})
        files["meta.json"] = json_bytes(dice, meta)
        classes = shown.classes
    return Written(files, expected, classes, address)


def _object(dice: Dice, item: Item) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    kind = dice.pick(("rectangle", "rectangle", "polygon"))
    exterior = [[x1, y1], [x2, y2]]
    if kind == "polygon":
        exterior = dice.shuffled([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    entry: dict[str, Any] = {
        "classTitle": item.name,
        "geometryType": kind,
        "points": {"exterior": exterior, "interior": []},
        "tags": [{"name": "ignored", "value": None}] if item.ignored else [],
    }
    if dice.chance(2):
        entry |= {"id": 5, "classId": 7, "description": "", "labelerLogin": "me"}
    return shuffled_keys(dice, entry), item
