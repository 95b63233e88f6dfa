"""YOLO's label files with the headers and folders of Darknet, Ultralytics, Roboflow and others."""

from __future__ import annotations

import json

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import lines_bytes, number_text

# header, how the images are named in it, folder of images, folder of labels, what is read
_PLACES = (
    ("data.yaml", "images", "images/", "labels/", ""),
    ("data.yaml", "./images/", "images/", "labels/", "data.yaml"),
    ("data.yaml", "../train/images", "train/images/", "train/labels/", ":train"),
    ("data.yaml", "images/train", "images/train/", "labels/train/", ":train"),
    ("a b.yml", "list", "images/", "labels/", ""),
    ("data.yaml", "list", "images/", "labels/", ":train"),
    ("data.yaml", "/content/drive/set/images", "images/", "labels/", ""),
    ("obj.data", "list", "obj_train_data/", "obj_train_data/", ""),
    ("classes.txt", "", "images/", "labels/", ""),
    ("classes.txt", "", "", "", ""),
)


def make(dice: Dice) -> Written:
    header, entry, pictures_in, labels_in, address = dice.pick(_PLACES)
    in_lines = header in ("classes.txt", "obj.data")
    shown = scene(
        dice, folders=False, ignored=False, fits=str.isprintable if in_lines else _fits_yaml
    )
    files, expected = {}, {}
    for picture in shown.pictures:
        lines, items = [], []
        for item in picture.items:
            line, item = _line(dice, item, picture, shown.classes)
            lines.append(line)
            items.append(item)
        if lines or dice.chance(2):
            files[f"{labels_in}{picture.stem}.txt"] = lines_bytes(dice, lines)
        path = pictures_in + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
    if not any(name.startswith(labels_in) and name.endswith(".txt") for name in files):
        files[f"{labels_in}{shown.pictures[0].stem}.txt"] = b""
    if entry == "list":
        entry = "train.txt"
        before = dice.pick((f"./{pictures_in}", f"/srv/me/set/{pictures_in}", pictures_in))
        names = [before + picture.name for picture in shown.pictures]
        files[entry] = lines_bytes(dice, names)
    if header == "obj.data":
        files["obj.names"] = lines_bytes(dice, shown.classes)
    files[header] = _header(dice, header, entry, shown.classes)
    return Written(files, expected, shown.classes, address)


def _fits_yaml(name: str) -> bool:
    return name.isprintable() and "\u200b" not in name


def _line(dice: Dice, item: Item, picture: Picture, classes: tuple[str, ...]) -> tuple[str, Item]:
    x1, y1, x2, y2 = (
        min(max(value, -0.4 * side), 1.4 * side)
        for value, side in zip(item.box, (picture.width, picture.height) * 2, strict=True)
    )
    sides = (picture.width, picture.height) * 2
    center = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    shares = [round(value / side, 9) for value, side in zip(center, sides, strict=True)]
    x, y, w, h = (share * side for share, side in zip(shares, sides, strict=True))
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    if dice.chance(6):
        shares = [
            round(value / side, 9) for value, side in zip((x1, y1, x2, y2), sides, strict=True)
        ]
        left, top, right, bottom = shares
        box = (left * sides[0], top * sides[1], right * sides[0], bottom * sides[1])
        shares = dice.pick((
            [left, top, right, top, right, bottom, left, bottom],
            [left, top, right, bottom, left, bottom],
            [right, bottom, right, top, left, top, left, bottom, right, bottom],
        ))  # fmt: skip
    label = classes.index(item.name or "")
    first = str(label) if not dice.chance(16) else f"{label}.0"
    gap = dice.pick((" ", " ", " ", "  ", "\t"))
    words = [first, *(number_text(dice, share) for share in shares)]
    return dice.pick(("", "", "", " ")) + gap.join(words), Item(box, item.name)


def _header(dice: Dice, header: str, entry: str, classes: tuple[str, ...]) -> bytes:
    if header == "classes.txt":
        return lines_bytes(dice, classes)
    if header == "obj.data":
        gap = dice.pick((" = ", "=", "= "))
        parts = [f"classes{gap}{len(classes)}", f"train{gap}{entry}", f"names{gap}obj.names"]
        return lines_bytes(dice, [*dice.shuffled(parts), *["backup = backup/"] * dice.chance(2)])
    quoted = [_yaml_text(dice, name) for name in classes]
    parts = [f"train: {entry}" if not dice.chance(3) else f"train: '{entry}'"]
    kind = dice.below(4)
    if kind == 0:
        parts.append(f"names: [{', '.join(quoted)}]")
    elif kind == 1:
        parts.append("names:\n" + "\n".join(f"- {name}" for name in quoted))
    elif kind == 2:
        lines = [f"  {number}: {name}" for number, name in enumerate(quoted)]
        parts.append("names:\n" + "\n".join(dice.shuffled(lines)))
    else:
        parts.append("names:\n" + "\n".join(f"  - {name}" for name in quoted))
    if dice.chance(2):
        parts.append(f"nc: {len(classes)}")
    if dice.chance(3):
        parts.append(dice.pick((
            "path: .", "path: /content/set  # of another machine", "val:", "test: null", "val: ~",
            "roboflow:\n  workspace: a\n  version: 1", "kpt_shape:", "# a comment",
            "download: |\n  a\n  b",
        )))  # fmt: skip
    return lines_bytes(dice, "\n".join(dice.shuffled(parts)).split("\n"), tabs=False)


def _yaml_text(dice: Dice, name: str) -> str:
    """A name as plain YAML where it can be, else in quotes."""
    if name.isalnum() and name.isascii() and dice.chance(2):
        return name
    if dice.chance(2):
        return json.dumps(name, ensure_ascii=dice.chance(2) and all(ord(c) < 0x10000 for c in name))
    return "'" + name.replace("'", "''") + "'"
