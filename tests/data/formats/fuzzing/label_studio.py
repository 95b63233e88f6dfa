"""Label Studio's JSON and JSON-MIN."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    short = dice.chance(3)
    field = dice.pick(("image", "img", "url"))
    tasks, expected = [], {}
    told = False
    for number, picture in enumerate(shown.pictures, dice.pick((1, 70))):
        results, items = [], []
        for item in picture.items:
            result, item = _result(dice, item, picture, short)
            results.append(result)
            items.append(item)
        name = _name(dice, picture.name)
        if short:
            task: dict[str, Any] = {"id": number, field: name, "annotator": 1, "annotation_id": 3}
            task |= {"label": [{**r["value"], **_size(picture)} for r in results]}
        else:
            annotations = [{"result": results, "was_cancelled": False, "completed_by": 1}]
            if dice.chance(6):
                annotations.insert(0, {"result": [], "was_cancelled": True})
            if dice.chance(8):
                annotations.append({"result": [], "was_cancelled": False})
                told = True
            task = {"id": number, "data": {field: name}, "annotations": annotations}
            task |= {"predictions": [], "meta": {}} if dice.chance(2) else {}
        tasks.append(shuffled_keys(dice, task))
        expected[f"images/{picture.name}"] = Picture(
            picture.name, picture.width, picture.height, items
        )
    file, address = dice.pick((("project-1.json", ""), ("result.json", "result.json")))
    return Written({file: json_bytes(dice, tasks)}, expected, None, address, told=told)


def _name(dice: Dice, name: str) -> str:
    return dice.pick((
        f"/data/local-files/?d=images/{quote(name)}",
        f"/data/local-files/?d={quote('images/' + name, safe='')}",
        f"http://localhost:8080/data/local-files/?d=images/{quote(name)}",
        f"images/{quote(name)}",
    ))  # fmt: skip


def _size(picture: Picture) -> dict[str, int]:
    return {"original_width": picture.width, "original_height": picture.height}


def _result(dice: Dice, item: Item, picture: Picture, short: bool) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    across, down = 100 / picture.width, 100 / picture.height
    ignored = item.ignored and not short
    value: dict[str, Any]
    if dice.chance(4):
        points = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
        value = {"points": [[x * across, y * down] for x, y in points], "closed": True}
        value["polygonlabels"] = [item.name]
    else:
        value = {
            "x": x1 * across,
            "y": y1 * down,
            "width": (x2 - x1) * across,
            "height": (y2 - y1) * down,
            "rotation": 0,
            "rectanglelabels": [item.name],
        }
    result: dict[str, Any] = {"value": shuffled_keys(dice, value), "type": "x", **_size(picture)}
    if dice.chance(2):
        result |= {"from_name": "label", "to_name": "image", "image_rotation": 0, "origin": "me"}
    if ignored:
        result["meta"] = {"text": ["ignored"]}
    return shuffled_keys(dice, result), Item(item.box, item.name, ignored)
