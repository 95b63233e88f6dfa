"""VIA's JSON of all versions."""

from __future__ import annotations

from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    folder = dice.pick(("", "images/"))
    attribute = dice.pick(("class", "label", "name", "type", "Species"))
    as_objects = dice.chance(3)  # VIA 1
    metadata: dict[str, Any] = {}
    expected = {}
    for picture in shown.pictures:
        regions, items = [], []
        for item in picture.items:
            region, item = _region(dice, item, attribute)
            regions.append(region)
            items.append(item)
        listed: Any = regions
        if as_objects:
            listed = {str(number): region for number, region in enumerate(regions)}
        size = dice.pick((5, -1, "7"))
        entry = {"filename": picture.name, "size": size, "regions": listed}
        entry |= {"file_attributes": {}} if dice.chance(2) else {}
        metadata[f"{picture.name}{size}"] = shuffled_keys(dice, entry)
        expected[folder + picture.name] = Picture(
            picture.name, picture.width, picture.height, items
        )
    document, classes = metadata, None
    if dice.chance(2):
        kind: dict[str, Any] = {"type": "dropdown", "description": ""}
        if dice.chance(2):
            kind["options"] = dict.fromkeys(shown.classes, "")
            classes = shown.classes
        document = {
            "_via_settings": {"project": {"name": "x"}},
            "_via_img_metadata": metadata,
            "_via_attributes": {"region": {attribute: kind}, "file": {}},
        }
        document = shuffled_keys(dice, document)
    return Written({"via_region_data.json": json_bytes(dice, document)}, expected, classes)


def _region(dice: Dice, item: Item, attribute: str) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    shape: dict[str, Any] = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    box = (x1, y1, x1 + (x2 - x1), y1 + (y2 - y1))
    if dice.chance(3):
        xs, ys = [x1, x2, x2, x1], [y1, y1, y2, y2]
        shape = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
        box = (min(xs), min(ys), max(xs), max(ys))
    value: Any = item.name
    if dice.chance(4):
        value = {item.name: True}
    attributes = {attribute: value} | ({"ignored": "true"} if item.ignored else {})
    region = {"shape_attributes": shuffled_keys(dice, shape), "region_attributes": attributes}
    return shuffled_keys(dice, region), Item(box, item.name, item.ignored)
