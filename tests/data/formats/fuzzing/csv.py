"""CSV tables as keras-retinanet, DeepForest, spreadsheets and scripts make them."""

from __future__ import annotations

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import lines_bytes, number_text, table_bytes

_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"), ("XMin", "YMin", "XMax", "YMax"),
)  # fmt: skip
_IMAGE = ("image_path", "image", "path", "filename", "file_name", "Image", "FileName")
_LABEL = ("label", "class", "class_name", "name", "category", "Class")
_NO_OBJECT = ("", "nan", "NaN")


def make(dice: Dice) -> Written:
    shown = scene(dice, fits=_fits)
    header = not dice.chance(4)
    delimiter = dice.pick((",", ",", ",", ";", "\t")) if header else ","
    comma = delimiter == ";" and dice.chance(2)
    folder = dice.pick(("", "images/", "data/"))
    named = folder if dice.chance(2) else ""
    with_ignored = header and dice.chance(2)
    with_size = header and dice.chance(2)
    expected, rows = {}, []
    for picture in shown.pictures:
        items = []
        common = {"image": named + picture.name}
        if dice.chance(8):
            common["image"] = f"./{common['image']}"
        common["width"], common["height"] = str(picture.width), str(picture.height)
        for item in picture.items:
            ignored = item.ignored and with_ignored
            items.append(Item(item.box, item.name, ignored))
            corners = [number_text(dice, value, comma=comma) for value in item.box]
            row = common | dict(zip(_CORNERS[0], corners, strict=True)) | {"label": item.name or ""}
            row["ignored"] = dice.pick(("1", "true", "True")) if ignored else dice.pick(("0", ""))
            rows.append(row)
        if not picture.items:
            nothing = dice.pick(_NO_OBJECT)
            rows.append(common | dict.fromkeys((*_CORNERS[0], "label", "ignored"), nothing))
        path = folder + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
    places = ["image", *_CORNERS[0], "label"]
    if header:
        places += ["ignored"] * with_ignored + ["width", "height"] * with_size
        places += ["extra"] * dice.chance(4)
        places = dice.shuffled(places)
    corners = dict(zip(_CORNERS[0], dice.pick(_CORNERS), strict=True))
    titles = corners | {"image": dice.pick(_IMAGE), "label": dice.pick(_LABEL)}
    table = [[row.get(place, "") for place in places] for row in rows]
    if header:
        table.insert(0, [titles.get(place, place) for place in places])
    file = dice.pick(("annotations.csv", "a b.csv", "train.csv", "labels.CSV"))
    declared = header and dice.chance(12)
    files = {file: table_bytes(dice, table, delimiter, declared=declared)}
    classes = None
    if dice.chance(4):
        files["classes.csv"] = lines_bytes(dice, [
            _quoted(name) + f",{number}" for number, name in enumerate(shown.classes)
        ])  # fmt: skip
        classes = shown.classes
    address = dice.pick(("", file)) if file.endswith(".csv") else file
    return Written(files, expected, classes, ":train" if file == "train.csv" else address)


def _fits(name: str) -> bool:
    return name.isprintable() and name.lower() not in ("nan", "null", "none", "inf")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',;"\t') else name
