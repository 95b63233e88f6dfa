"""CreateML's JSON, as CreateML, RectLabel and Roboflow write it."""

from __future__ import annotations

from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    file, folder, address = dice.pick((
        ("annotations.json", "", ""),
        ("_annotations.createml.json", "", "_annotations.createml.json"),
        ("annotations.json", "images/", ""),
        ("train/_annotations.createml.json", "train/", ":train"),
    ))  # fmt: skip
    name_field = dice.pick(("image", "image", "imagefilename"))
    list_field = dice.pick(("annotations", "annotations", "annotation"))
    entries, expected = [], {}
    for picture in shown.pictures:
        written, items = [], []
        for item in picture.items:
            entry, item = _annotation(dice, item)
            written.append(entry)
            items.append(item)
        entries.append(shuffled_keys(dice, {name_field: picture.name, list_field: written}))
        expected[folder + picture.name] = Picture(
            picture.name, picture.width, picture.height, items
        )
    return Written({file: json_bytes(dice, dice.shuffled(entries))}, expected, None, address)


def _annotation(dice: Dice, item: Item) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    x, y, width, height = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    coordinates = shuffled_keys(dice, {"x": x, "y": y, "width": width, "height": height})
    entry: dict[str, Any] = {"label": item.name, "coordinates": coordinates}
    if item.ignored:
        entry["ignored"] = True
    return shuffled_keys(dice, entry), Item(box, item.name, item.ignored)
