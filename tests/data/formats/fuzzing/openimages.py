"""OpenImages' tables."""

from __future__ import annotations

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import number_text, table_bytes

_NAMES = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_EXTRA = ("Source", "Confidence", "IsOccluded", "IsTruncated", "IsDepiction", "IsInside")


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False, fits=str.isprintable)
    described = dice.chance(2)
    codes = {name: f"/m/0{number:04x}" for number, name in enumerate(shown.classes)}
    grouped = dice.chance(2)
    ended = dice.chance(2)
    titles = dice.shuffled([*_NAMES, *dice.some(_EXTRA), *["IsGroupOf"] * grouped])
    prefix, address = dice.pick((("", ""), ("train-", ":train"), ("validation-", ":validation")))
    pictures_in = dice.pick(("", "images/", address[1:] + "/" if address else "images/"))
    rows, expected = [], {}
    for picture in shown.pictures:
        items = []
        for item in picture.items:
            row, item = _row(dice, item, picture, grouped=grouped)
            row["ImageID"] = picture.name if ended else picture.stem
            row["LabelName"] = codes[item.name or ""] if described else item.name or ""
            rows.append([row.get(title, "0") for title in titles])
            items.append(item)
        path = pictures_in + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
    files = {f"{prefix}annotations-bbox.csv": table_bytes(dice, [titles, *rows])}
    names = [[picture.name if ended else picture.stem] for picture in shown.pictures]
    files[f"{prefix}images.csv"] = table_bytes(dice, [["ImageID"], *names])
    if described:
        listed = [[code, name] for name, code in codes.items()]
        files["class-descriptions-boxable.csv"] = table_bytes(dice, listed)
    return Written(files, expected, shown.classes if described else None, address)


def _row(dice: Dice, item: Item, picture: Picture, *, grouped: bool) -> tuple[dict[str, str], Item]:
    sides = (picture.width, picture.height) * 2
    shares = [
        min(max(round(value / side, 9), -1.0), 2.0)
        for value, side in zip(item.box, sides, strict=True)
    ]
    x1, y1, x2, y2 = (share * side for share, side in zip(shares, sides, strict=True))
    row = {
        name: number_text(dice, share)
        for name, share in zip(("XMin", "YMin", "XMax", "YMax"), shares, strict=True)
    }
    ignored = item.ignored and grouped
    row["IsGroupOf"] = "1" if ignored else dice.pick(("0", "0", "-1"))
    return row, Item((x1, y1, x2, y2), item.name, ignored)
