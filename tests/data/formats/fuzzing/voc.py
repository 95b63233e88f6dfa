"""Pascal VOC XML as LabelImg, CVAT, Roboflow and others make it."""

from __future__ import annotations

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import lines_bytes, number_text, xml_bytes, xml_text

_ANNOTATION, _PICTURES, _ADDRESS = range(3)
_PLACES = (
    ("Annotations/", "JPEGImages/", ""),
    ("Annotations/", "JPEGImages/", ":train"),
    ("", "", ""),
    ("annotations/", "images/", ""),
    ("Annotations/", "", ""),
    ("train/", "train/", ":train"),
)


def make(dice: Dice) -> Written:
    shown = scene(dice, folders=False)
    place = dice.pick(_PLACES)
    listed = place[_ADDRESS] == ":train" and place[_ANNOTATION] != "train/"
    files, expected, lines = {}, {}, []
    mark = dice.chance(3)
    for picture in shown.pictures:
        text, items = _annotation(dice, picture)
        files[f"{place[_ANNOTATION]}{picture.stem}.xml"] = xml_bytes(dice, text)
        path = place[_PICTURES] + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
        lines.append(picture.stem + (dice.pick((" 1", "  1", " 0")) if mark else ""))
    if listed:
        files["ImageSets/Main/train.txt"] = lines_bytes(dice, lines)
    return Written(files, expected, None, place[_ADDRESS])


def _annotation(dice: Dice, picture: Picture) -> tuple[str, list[Item]]:
    end, indent = dice.pick((("\n", "\t"), ("\n", "  "), ("\r\n", "    "), ("", "")))
    items = []
    parts = [_leaf(dice, "folder", dice.pick(("", "JPEGImages", "C:\\data")))] * dice.chance(2)
    parts.append(_leaf(dice, "filename", _file_name(dice, picture)))
    if dice.chance(2):
        path = dice.pick(("/srv/me/data/", "C:\\Users\\Me\\", "../", "file:///x/"))
        parts.append(_leaf(dice, "path", path + picture.name))
    if dice.chance(3):
        source = "<source><database>Unknown</database><annotation>a</annotation></source>"
        parts.append(
            dice.pick((source, "<source/>", "<segmented>0</segmented>", "<owner></owner>"))
        )
    parts.append(_size(dice, picture))
    objects = []
    for item in picture.items:
        text, item = _object(dice, item)
        objects.append(text)
        items.append(item)
    parts = [part for part in dice.shuffled(parts) if part] + objects
    body = end + end.join(indent + part for part in parts) + end
    attributes = dice.pick(("", "", ' verified="yes"', ' xmlns:x="urn:x"'))
    return f"<annotation{attributes}>{body}</annotation>", items


def _leaf(dice: Dice, tag: str, text: str) -> str:
    around = dice.pick(("", "", "", " ", "\n\t"))
    return f"<{tag}>{around}{xml_text(dice, text)}{around}</{tag}>"


def _file_name(dice: Dice, picture: Picture) -> str:
    kind = dice.below(10)
    if kind == 0:
        return ""
    if kind == 1:
        return picture.name if "." in picture.stem else picture.stem
    if kind == 2:
        return f"C:\\data\\{picture.name}"
    if kind == 3:
        return f"/srv/me/data/{picture.name}"
    return picture.name


def _size(dice: Dice, picture: Picture) -> str:
    kind = dice.below(8)
    if kind == 0:
        return ""
    width, height, depth = str(picture.width), str(picture.height), "<depth>3</depth>"
    if kind == 1:
        width = height = "0"
    elif kind == 2:
        width, height = f"{width}.0", f"{height}.0"
    elif kind == 3:
        depth = dice.pick(("", "<depth/>", "<depth>Unspecified</depth>"))
    parts = dice.shuffled([f"<width>{width}</width>", f"<height>{height}</height>", depth])
    return f"<size>{''.join(parts)}</size>"


def _object(dice: Dice, item: Item) -> tuple[str, Item]:
    tags = ("xmin", "ymin", "xmax", "ymax")
    comma = dice.chance(24)
    written = [number_text(dice, value, comma=comma) for value in item.box]
    box = "".join(
        dice.shuffled([_leaf(dice, tag, text) for tag, text in zip(tags, written, strict=True)])
    )
    parts = [_leaf(dice, "name", item.name or ""), f"<bndbox>{box}</bndbox>"]
    if item.ignored:
        parts.append(f"<difficult>{dice.pick(('1', ' 1 ', 'true', 'True'))}</difficult>")
    elif dice.chance(2):
        parts.append(dice.pick(("<difficult>0</difficult>", "<difficult/>")))
    if dice.chance(3):
        parts.append(dice.pick((
            "<pose>Unspecified</pose>", "<truncated>1</truncated>", "<occluded>0</occluded>",
            "<truncated>Unspecified</truncated>", "<attributes><attribute><name>rotation</name>"
            "<value>0.0</value></attribute></attributes>", "<confidence>0.5</confidence>",
            "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax>"
            "<ymax>2</ymax></bndbox></part>",
            "<polygon><x1>1</x1><y1>1</y1><x2>2</x2><y2>1</y2><x3>2</x3><y3>2</y3></polygon>",
        )))  # fmt: skip
    return f"<object>{''.join(dice.shuffled(parts))}</object>", item
