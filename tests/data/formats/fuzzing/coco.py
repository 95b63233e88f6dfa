"""COCO JSON as its many writers make it."""

from __future__ import annotations

from typing import Any

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, is_whole, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys


def make(dice: Dice) -> Written:
    shown = scene(dice)
    as_text = dice.chance(8)
    image_ids = _ids(dice, len(shown.pictures), as_text)
    class_ids = sorted(_ids(dice, len(shown.classes), as_text), key=int)
    file, folder, address = _place(dice)
    expected, images, annotations = {}, [], []
    loose = as_text and dice.chance(2)  # one side writes numbers, the other text
    for picture, key in zip(shown.pictures, image_ids, strict=True):
        images.append(_image(dice, picture, key))
        items = []
        for item in picture.items:
            entry, item = _annotation(dice, item, as_text)
            entry["image_id"] = int(key) if loose else key
            category = class_ids[shown.classes.index(item.name or "")]
            entry["category_id"] = category
            annotations.append(entry)
            items.append(item)
        expected[folder + picture.name] = Picture(
            picture.name, picture.width, picture.height, items
        )
    if dice.chance(2):
        for number, entry in enumerate(annotations, dice.pick((0, 1, 1000))):
            entry["id"] = str(number) if as_text else number
    categories = [
        shuffled_keys(
            dice, {"id": key, "name": name, "supercategory": dice.pick(("", "none", name))}
        )
        for key, name in zip(class_ids, shown.classes, strict=True)
    ]
    document = {
        "images": dice.shuffled(images),
        "annotations": [shuffled_keys(dice, entry) for entry in annotations],
        "categories": dice.shuffled(categories),
    }
    if dice.chance(2):
        document |= {"info": dice.pick(({}, {"year": "2024", "version": None}, [], ""))}
        document |= {"licenses": dice.pick(([], [{"id": 1, "url": "", "name": "shapes"}]))}
    document = shuffled_keys(dice, document)
    return Written({file: json_bytes(dice, document)}, expected, shown.classes, address)


def _ids(dice: Dice, count: int, as_text: bool) -> list[Any]:
    start = dice.pick((0, 1, 1, 17, 2**40))
    step = dice.pick((1, 1, 3))
    ids: list[Any] = dice.shuffled([start + step * number for number in range(count)])
    return [str(key) for key in ids] if as_text else ids


def _place(dice: Dice) -> tuple[str, str, str]:
    """Where the file lies, the folder of its images, and what is read."""
    return dice.pick((
        ("annotations.json", "", ""),
        ("annotations.json", "images/", ""),
        ("annotations/instances_default.json", "images/", ""),
        ("annotations/instances_train2017.json", "train2017/", ":train"),
        ("train/_annotations.coco.json", "train/", ":train"),
        ("result.json", "images/", "result.json"),
        ("a b.JSON", "", "a b.JSON"),
        ("labels/train.json", "data/", "labels/train.json"),
    ))  # fmt: skip


def _image(dice: Dice, picture: Picture, key: Any) -> dict[str, Any]:
    name = picture.name
    if "/" in name and dice.chance(4) and "\\" not in name:
        name = name.replace("/", "\\")
    elif dice.chance(8):
        name = f"./{name}"
    entry: dict[str, Any] = {"id": key, "file_name": name}
    sizes = {"width": picture.width, "height": picture.height}
    kind = dice.below(8)
    if kind == 0:
        sizes = {}
    elif kind == 1:
        sizes = dict.fromkeys(sizes)
    elif kind == 2:
        sizes = {side: float(value) for side, value in sizes.items()}
    entry |= sizes
    if dice.chance(3):
        entry |= {"license": 1, "date_captured": "", "coco_url": "", "flickr_url": None}
    return shuffled_keys(dice, entry)


def _annotation(dice: Dice, item: Item, as_text: bool) -> tuple[dict[str, Any], Item]:
    x1, y1, x2, y2 = item.box
    sides = [x1, y1, x2 - x1, y2 - y1]
    box = (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
    written: list[Any] = sides
    if all(map(is_whole, sides)) and dice.chance(2):
        written = [int(value) for value in sides]
    elif dice.chance(8):
        written = [int(value) if is_whole(value) else value for value in sides]
    entry: dict[str, Any] = {"bbox": written}
    if dice.chance(2):
        area = abs(sides[2] * sides[3])
        entry["area"] = dice.pick((area, area / 2, None, int(min(area, 1e9)), 0))
    if item.ignored:
        entry |= dice.pick(({"iscrowd": 1}, {"iscrowd": True}, {"iscrowd": "1"}, {"ignore": 1}))
    elif dice.chance(2):
        entry |= dice.pick(({"iscrowd": 0}, {"iscrowd": False}, {"ignore": 0}))
    outline = [x1, y1, x2, y1, x2, y2, x1, y2]
    if dice.chance(3):
        run_lengths = {"counts": [0, 1], "size": [1, 1]}
        entry["segmentation"] = dice.pick(([], [outline], run_lengths, None, [[]]))
    if dice.chance(4):
        entry["attributes"] = dice.pick(({}, {"occluded": False}, {"rotation": 0.0}, None))
    if dice.chance(6):
        entry["score"] = 0.5
    return entry, Item(box, item.name, item.ignored)
