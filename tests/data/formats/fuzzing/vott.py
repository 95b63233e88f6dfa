"""VoTT's JSON: an export, or a project with a file for each image."""

from __future__ import annotations

from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    singly = dice.chance(3)
    folder = "" if singly else dice.pick(("", "images/"))
    assets: dict[str, Any] = {}
    files, expected = {}, {}
    for number, picture in enumerate(shown.pictures):
        regions, items = [], []
        for item in picture.items:
            region, item = _region(dice, item)
            regions.append(region)
            items.append(item)
        key = f"{number}a9f"
        asset = _asset(dice, picture, key)
        document = shuffled_keys(dice, {"asset": asset, "regions": regions, "version": "2.1.0"})
        assets[key] = asset if singly else document
        if singly:
            files[f"{key}-asset.json"] = json_bytes(dice, document)
        expected[folder + picture.name] = Picture(
            picture.name, picture.width, picture.height, items
        )
    project: dict[str, Any] = {
        "name": "x",
        "tags": [{"name": name, "color": "#5db300"} for name in shown.classes],
        "assets": assets,
    }
    if dice.chance(2):
        project |= {"version": "2.1.0", "securityToken": "t", "videoSettings": {}, "id": "b"}
    name = "x.vott" if singly else dice.pick(("x-export.json", "vott-json-export/x-export.json"))
    if name.startswith("vott") and not folder:
        folder = "vott-json-export/"
        expected = {folder + key: value for key, value in expected.items()}
    files[name] = json_bytes(dice, shuffled_keys(dice, project))
    return Written(files, expected, shown.classes)


def _asset(dice: Dice, picture: Picture, key: str) -> dict[str, Any]:
    size = {"width": picture.width, "height": picture.height}
    asset: dict[str, Any] = {
        "format": "png",
        "id": key,
        "name": picture.name,
        "path": f"file:/somewhere/{picture.name}",
        "state": 2 if picture.items else 1,
        "type": 1,
    }
    return shuffled_keys(dice, asset | ({} if dice.chance(6) else {"size": size}))


def _region(dice: Dice, item: Item) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    sides = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
    points = [{"x": x, "y": y} for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    region: dict[str, Any] = {
        "id": "r",
        "type": "RECTANGLE",
        "tags": [item.name],
        "boundingBox": shuffled_keys(dice, sides),
        "points": points,
    }
    if item.ignored:
        region["ignored"] = True
    box = (x1, y1, x1 + (x2 - x1), y1 + (y2 - y1))
    return shuffled_keys(dice, region), Item(box, item.name, item.ignored)
