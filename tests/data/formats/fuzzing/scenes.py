"""What a made-up data set shows, whatever format writes it: images, boxes, names of all scripts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tests.data.formats.fuzzing.dice import Dice

Box = tuple[float, float, float, float]

CLASS_NAMES = (
    "cell", "Red Blood Cell", "a,b", 'say "x"', "it's", "nan", "null", "no", "007", "1", "Ä ö ß",
    "血细胞", "خلية حمراء", "клетка", "🦠", "a;b", "a|b", "a=b", "#1", "50%", "a/b", "a\\b", "<b>",
    "R&D", "None", "true", "-", "[x]", "{y}", "inf", "e\u0301", "赤血球", "x:y", "@home", "!", "*a",
    "a: b", "a #b", "~", "-1", "0", "Ⅷ", "הבית", "person", "car", "Platelets", "👩‍🔬", "&amp;",
    "`q`",
)  # fmt: skip
STEMS = (
    "a", "IMG_0001", "b c", "d.e.f", "ünï", "图像", "100%", "50%25", "g#h", "i?j", "k&l", "m+n",
    "(1)", "[2]", "{3}", "'q'", "r,s", "t;u", "-v", "~w", "e\u0301", "🦠", "CON", "x=y", "@z",
    "null", "nan", "0", "1e5", "ClAsS", "скан", "صورة", "a_jpg.rf.0123abcd", "000000000009", "A",
    "images", "%20", "a%2Fb", "d=1", "https", "c_drive",
)  # fmt: skip
FOLDERS = ("", "", "", "night", "day 1", "日", "a.b", "50%", "Train", "images", "x/y")
ENDINGS = (".png", ".jpg", ".PNG", ".JPG", ".jpeg", ".webp", ".bmp")
SIZES = ((64, 48), (640, 480), (33, 100), (1200, 900))
LETTERS = "aZ09 _-.,;:!?'\"()[]{}<>|/\\@#$%^&*+=~`äß漢д٣🦠\u00a0\u200b\u0301"


@dataclass(frozen=True)
class Item:
    """One object: its box as it is written, xyxy in pixels; its class, None for every class."""

    box: Box
    name: str | None
    ignored: bool = False


@dataclass
class Picture:
    """An image and the objects in it; the name has slashes between folders."""

    name: str
    width: int
    height: int
    items: list[Item] = field(default_factory=list)

    @property
    def stem(self) -> str:
        return self.name.rpartition("/")[2].rpartition(".")[0]


@dataclass
class Scene:
    """Classes in their order, and images."""

    classes: tuple[str, ...]
    pictures: list[Picture]


@dataclass
class Written:
    """Files of a data set with what must be read from them.

    Attributes:
        files: the content of each annotation file, by its path below the data folder.
        pictures: what each image shows, by its path below the data folder.
        classes: the classes in the order in which they must be read; None where any order will do.
        address: what is read, below the data folder: "", a file, or ":SPLIT".
        told: whether reading must say something, whatever the boxes are.
    """

    files: dict[str, bytes]
    pictures: dict[str, Picture]
    classes: tuple[str, ...] | None = None
    address: str = ""
    told: bool = False


def class_name(dice: Dice) -> str:
    if not dice.chance(6):
        return dice.pick(CLASS_NAMES)
    return "".join(dice.pick(LETTERS) for _ in range(dice.between(1, 6))).strip()


def class_names(dice: Dice, most: int = 4, fits: Callable[[str], bool] = bool) -> tuple[str, ...]:
    """Up to so many different names; `fits` says which a format can hold."""
    names = (class_name(dice) for _ in range(dice.between(1, most)))
    sound = [name for name in names if name and name == name.strip("\u00a0\u200b ") and fits(name)]
    return tuple(dict.fromkeys(sound)) or ("cell",)


def image_names(dice: Dice, count: int, *, folders: bool) -> list[str]:
    """Different names for files; no two have the same stem, whatever the case of letters.

    None has the stem of a file that lists classes or splits.
    """
    names: dict[str, str] = {}
    for _ in range(count):
        stem = dice.pick(STEMS)
        if dice.chance(8):
            stem += "".join(dice.pick(LETTERS) for _ in range(3)).replace("/", "").rstrip()
            stem = stem.replace("\\", "").strip(". \u00a0\u200b") or "b"
        folder = dice.pick(FOLDERS) if folders else ""
        name = (f"{folder}/" if folder else "") + stem + dice.pick(ENDINGS)
        names.setdefault(stem.casefold(), name)
    return list(names.values())


def number(dice: Dice, low: float, high: float) -> float:
    """A number between two, with as many digits as tools write."""
    value = low + (high - low) * dice.below(65536) / 65535
    return round(value, dice.pick((0, 0, 1, 2, 6, 12)))


def box(dice: Dice, width: int, height: int) -> Box:
    """A box inside its image, or now and then one that is not."""
    x1, y1 = number(dice, 0, width - 2), number(dice, 0, height - 2)
    x2 = min(float(width), x1 + max(1.0, number(dice, 1, width / 2)))
    y2 = min(float(height), y1 + max(1.0, number(dice, 1, height / 2)))
    if not dice.chance(16):
        return x1, y1, x2, y2
    return dice.pick((
        (0.0, 0.0, float(width), float(height)),
        (-0.5, -0.25, x2, y2),
        (x1, y1, width + 0.75, height + 0.9),
        (-5.0, y1, x2, height + 30.0),
        (width + 5.0, y1, width + 15.0, y2),
        (x1, y1, x1, y2),
        (x1, y1, x1 + 1e-3, y1 + 1e-3),
        (x1, y1, 1e12, 1e12),
        (-1e30, -1e30, 1e30, 1e30),
    ))  # fmt: skip


def scene(
    dice: Dice,
    *,
    folders: bool = True,
    fits: Callable[[str], bool] = bool,
    ignored: bool = True,
    most_pictures: int = 4,
) -> Scene:
    """A small data set; some images without objects, some data sets without images with objects."""
    classes = class_names(dice, fits=fits)
    pictures = []
    for name in image_names(dice, dice.between(1, most_pictures), folders=folders):
        width, height = dice.pick(SIZES)
        items = [
            Item(box(dice, width, height), dice.pick(classes), ignored and dice.chance(8))
            for _ in range(dice.pick((0, 1, 1, 2, 3, 5)))
        ]
        pictures.append(Picture(name, width, height, items))
    return Scene(classes, pictures)


def kept(item: Item, width: int, height: int) -> tuple[Box | None, bool]:
    """The box that must be read, None where it must be left out, and whether that must be told."""
    with np.errstate(over="ignore"):
        written = np.array(item.box, np.float64)
        narrow = written.astype(np.float32)
    if not np.isfinite(narrow).all() or not _has_area(narrow):
        return None, True
    clipped = np.clip(written, 0, [width, height, width, height])
    if not _has_area(clipped.astype(np.float32)):
        return None, True
    x1, y1, x2, y2 = clipped.tolist()
    return (x1, y1, x2, y2), bool(np.abs(clipped - written).max() > 1.0)


def _has_area(corners: Any) -> bool:
    return bool(corners[2] > corners[0] and corners[3] > corners[1])


def is_whole(value: float) -> bool:
    return math.isfinite(value) and abs(value) < 1e15 and float(value).is_integer()
