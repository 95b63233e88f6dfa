"""Datumaro's JSON, as CVAT exports it too."""

from __future__ import annotations

from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    subset, address = dice.pick((("default", ""), ("train", ":train"), ("val", ":val")))
    folder = dice.pick((f"images/{subset}/", f"images/{subset}/", "images/"))
    entries, expected = [], {}
    for picture in shown.pictures:
        written, items = [], []
        for item in picture.items:
            entry, item = _annotation(dice, item, shown.classes)
            written.append(entry)
            items.append(item)
        image: dict[str, Any] = {"path": picture.name}
        if not dice.chance(6):
            image["size"] = [picture.height, picture.width]
        item_of: dict[str, Any] = {"id": picture.stem, "annotations": written, "image": image}
        if dice.chance(2):
            item_of |= {"attr": {"frame": 0}, "media": {"path": ""}, "point_cloud": {"path": ""}}
        entries.append(shuffled_keys(dice, item_of))
        expected[folder + picture.name] = Picture(
            picture.name, picture.width, picture.height, items
        )
    labels = [{"name": name, "parent": "", "attributes": []} for name in shown.classes]
    document: dict[str, Any] = {
        "categories": {"label": {"labels": labels, "attributes": ["occluded"]}},
        "items": entries,
    }
    if dice.chance(2):
        document |= {"dm_format_version": "1.0", "media_type": 2, "infos": {}, "info": {}}
    content = json_bytes(dice, shuffled_keys(dice, document))
    return Written({f"annotations/{subset}.json": content}, expected, shown.classes, address)


def _annotation(dice: Dice, item: Item, classes: tuple[str, ...]) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    entry: dict[str, Any] = {
        "id": dice.below(9),
        "group": 0,
        "z_order": 0,
        "label_id": classes.index(item.name or ""),
        "attributes": {"occluded": False, "rotation": 0.0},
    }
    if dice.chance(4):
        entry |= {"type": "polygon", "points": [x1, y1, x2, y1, x2, y2, x1, y2]}
        box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    else:
        entry |= {"type": "bbox", "bbox": [x1, y1, x2 - x1, y2 - y1]}
        box = (x1, y1, x1 + (x2 - x1), y1 + (y2 - y1))
    if item.ignored:
        entry["attributes"][dice.pick(("is_crowd", "ignored"))] = True
    return shuffled_keys(dice, entry), Item(box, item.name, item.ignored)
