"""KITTI's text files of 15 or 16 columns."""

from __future__ import annotations

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import lines_bytes, number_text

_PLACES = (
    ("label_2/", "image_2/", ""),
    ("training/label_2/", "training/image_2/", ":training"),
    ("training/label_2/", "training/image_2/", ""),
    ("labels/", "images/", ""),
    ("label_2/", "image_2/", ":train"),
    ("", "", ""),
)


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False, fits=_fits)
    labels_in, pictures_in, address = dice.pick(_PLACES)
    files, expected = {}, {}
    for picture in shown.pictures:
        lines, items = [], []
        for item in picture.items:
            name = "DontCare" if item.ignored else item.name
            box = [number_text(dice, value) for value in item.box]
            before = [dice.pick(("0.00", "1", "-1")), dice.pick(("0", "3", "-1")), "-1.57"]
            words = [name or "", *before, *box, *dice.pick((["-1"] * 3, ["1.5"] * 3))]
            words += ["-1000", "-1000.00", "1e3", "-10"] + ["0.98"] * dice.chance(6)
            lines.append(dice.pick((" ", " ", "\t")).join(words))
            items.append(Item(item.box, None if item.ignored else item.name, item.ignored))
        files[f"{labels_in}{picture.stem}.txt"] = lines_bytes(dice, lines)
        path = pictures_in + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
    if address == ":train":
        names = [picture.stem for picture in shown.pictures]
        files["ImageSets/train.txt"] = lines_bytes(dice, names)
    if not any(files.values()) or dice.chance(4):
        files["labels.txt"] = lines_bytes(dice, shown.classes)
        return Written(files, expected, shown.classes, address)
    return Written(files, expected, None, address)


def _fits(name: str) -> bool:
    return name.isprintable() and not set(name) & set(" \u00a0") and name != "DontCare"
