"""CVAT for images, version 1.1."""

from __future__ import annotations

import math

from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.scenes import Item, Picture, Written, scene
from tests.data.formats.fuzzing.texts import number_text, xml_bytes, xml_text


def make(dice: Dice) -> Written:
    shown = scene(dice)
    end = dice.pick(("\n", "\n", "\r\n", ""))
    pictures_in = dice.pick(("", "images/"))
    subset = dice.pick(("", "", "train"))
    expected, images = {}, []
    told = False
    for number, picture in enumerate(shown.pictures):
        shapes, items = [], []
        for item in picture.items:
            text, item = _shape(dice, item)
            shapes.append(text)
            items.append(item)
        if dice.chance(12):
            shapes.append(dice.pick((
                '<points label="x" points="1,2" occluded="0"></points>',
                '<polyline label="x" points="1,2;3,4"/>',
            )))  # fmt: skip
            told = True
        if dice.chance(8):
            shapes.append('<tag label="x" source="manual"></tag>')
        attributes = dice.shuffled([
            f'id="{number}"', f'name="{_attribute(picture.name)}"',
            *([f'width="{picture.width}"', f'height="{picture.height}"'] * (not dice.chance(8))),
            *([f'subset="{subset}"'] if subset else []),
        ])  # fmt: skip
        images.append(f"<image {' '.join(attributes)}>{end}{end.join(shapes)}</image>")
        path = pictures_in + picture.name
        expected[path] = Picture(picture.name, picture.width, picture.height, items)
    meta, classes = "", None
    if dice.chance(2):
        kind = dice.pick(("task", "job", "project"))
        labels = "".join(
            f"<label><name>{xml_text(dice, name)}</name><color>#ff0000</color><attributes/></label>"
            for name in shown.classes
        )
        meta = f"<meta><{kind}><labels>{labels}</labels></{kind}><dumped>2024</dumped></meta>"
        classes = shown.classes
    parts = ["<version>1.1</version>", meta, *images]
    body = f"<annotations>{end}{end.join(parts)}{end}</annotations>"
    file = dice.pick(("annotations.xml", "annotations.xml", "task_1.xml"))
    address = dice.pick(("", file))
    if subset and dice.chance(2):
        address = ":train"
    return Written({file: xml_bytes(dice, body)}, expected, classes, address, told=told)


def _attribute(text: str) -> str:
    return xml_text(Dice(b""), text, quotes=True)


def _shape(dice: Dice, item: Item) -> tuple[str, Item]:
    x1, y1, x2, y2 = item.box
    box = item.box
    kind = dice.pick(("box", "box", "box", "polygon", "ellipse", "turned"))
    if max(map(abs, box)) > 1e5:
        kind = "box"  # no tool writes such numbers for other shapes
    marks = {"label": item.name or "", "occluded": dice.pick(("0", "1")), "source": "manual"}
    if kind == "polygon":
        corners = dice.shuffled([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
        marks["points"] = ";".join(f"{x!r},{y!r}" for x, y in corners)
    elif kind == "ellipse":
        cx, cy, rx, ry = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
        marks |= {"cx": repr(cx), "cy": repr(cy), "rx": repr(rx), "ry": repr(ry)}
        box = (cx - rx, cy - ry, cx + rx, cy + ry)
    else:
        sides = ("xtl", "ytl", "xbr", "ybr")
        marks |= {name: number_text(dice, v) for name, v in zip(sides, box, strict=True)}
    if kind == "turned":
        degrees = dice.pick((90.0, 45.0, 12.34))
        marks["rotation"] = repr(degrees)
        cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
        x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2
        w, h = w * cos + h * sin, w * sin + h * cos
        box = (x - w, y - h, x + w, y + h)
    if dice.chance(2):
        marks["z_order"] = "0"
    tag = "box" if kind == "turned" else kind
    text = " ".join(
        f'{key}="{_attribute(value)}"' for key, value in dice.shuffled([*marks.items()])
    )
    inner = ""
    if item.ignored:
        inner = f'<attribute name="ignored">{dice.pick(("true", "1", "True"))}</attribute>'
    elif dice.chance(4):
        inner = dice.pick(
            ("\n", '<attribute name="color">red</attribute>', '<attribute name="x"/>')
        )
    return f"<{tag} {text}>{inner}</{tag}>", Item(box, item.name, item.ignored)
