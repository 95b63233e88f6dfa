"""Many small pictures as one large one, with what they are below each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw

from foveal.text import shorten
from foveal.visualization.fonts import font

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.visualization.colors import Color

_INK, _MUTED, _GROUND = (29, 39, 51), (99, 112, 131), (255, 255, 255)
_EDGE, _GAP = 24, 18
_TITLE, _TEXT, _SMALL = 24, 15, 13
_LINE = 1.4
"""From one line of text to the next, in its height."""
_LONGEST = 400


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A picture of a sheet.

    Attributes:
        image: [h, w, 3] uint8 RGB.
        title: the name of the file.
        caption: what is in it.
    """

    image: NDArray[np.uint8]
    title: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What a color means: a swatch with words."""

    color: Color
    meaning: str
    style: Literal["solid", "dashed"] = "solid"


def draw_contact_sheet(
    tiles: Sequence[Tile],
    *,
    title: str,
    lines: Sequence[str] = (),
    key: Sequence[KeyRow] = (),
    columns: int | None = None,
) -> NDArray[np.uint8]:
    """Draw pictures in rows, on white.

    Args:
        tiles: in order; all get the room of the widest and the highest.
        title: stands above all.
        lines: sentences below the title.
        key: what the colors mean.
        columns: how many pictures a row has; None: half as many rows again.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    wide = max((tile.image.shape[1] for tile in tiles), default=300)
    wide = max(wide, 200)
    if columns is None:
        columns = max(1, math.ceil(math.sqrt(1.5 * len(tiles))))
    columns = max(1, min(columns, len(tiles)))
    width = max(2 * _EDGE + columns * (wide + _GAP) - _GAP, 640)
    room = width - 2 * _EDGE
    head: list[tuple[str, int, Color]] = [
        (line, _TITLE, _INK) for line in _wrapped(title, _TITLE, room)
    ]
    head += [(line, _TEXT, _MUTED) for text in lines for line in _wrapped(text, _TEXT, room)]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    captions = [[_wrapped(tile.caption, _SMALL, wide)[:3] for tile in row] for row in rows]
    heights = [
        max(tile.image.shape[0] for tile in row)
        + _height(_SMALL) * (1 + max(len(lines) for lines in said))
        + _GAP
        for row, said in zip(rows, captions, strict=True)
    ]
    places = _key_places(key, room)
    key_height = (places[-1][1] + _height(_TEXT) + _GAP // 2) if places else 0
    top = _EDGE + sum(_height(size) for _, size, _ in head) + _GAP // 2
    sheet = Image.new("RGB", (width, top + key_height + sum(heights) + _EDGE), _GROUND)
    draw = ImageDraw.Draw(sheet)
    y = _EDGE
    for line, size, ink in head:
        draw.text((_EDGE, y), line, fill=ink, font=font(size, line))
        y += _height(size)
    for row_of_key, (x, down) in zip(key, places, strict=True):
        _draw_key(draw, row_of_key, _EDGE + x, top + down)
    y = top + key_height
    for row, said, height in zip(rows, captions, heights, strict=True):
        tallest = max(tile.image.shape[0] for tile in row)
        for column, (tile, words) in enumerate(zip(row, said, strict=True)):
            x = _EDGE + column * (wide + _GAP)
            sheet.paste(Image.fromarray(tile.image), (x, y))
            down = y + tallest + 4
            name = _fitting(tile.title, _SMALL, wide)
            draw.text((x, down), name, fill=_INK, font=font(_SMALL, name))
            for number, line in enumerate(words, start=1):
                where = (x, down + number * _height(_SMALL))
                draw.text(where, line, fill=_MUTED, font=font(_SMALL, line))
        y += height
    return np.asarray(sheet).copy()


def _key_places(key: Sequence[KeyRow], room: int) -> list[tuple[int, int]]:
    """Where each row of the key begins, from the left and from the top of the key."""
    places = []
    x = y = 0
    for row in key:
        length = 30 + round(_length(row.meaning, _TEXT)) + 22
        if x and x + length > room:
            x, y = 0, y + _height(_TEXT) + 4
        places.append((x, y))
        x += length
    return places


def _draw_key(draw: ImageDraw.ImageDraw, row: KeyRow, x: int, y: int) -> None:
    box = (x, y + 2, x + 22, y + 16)
    draw.rectangle(box, fill=(120, 124, 130), outline=row.color, width=3)
    if row.style == "dashed":
        for gap in (x + 5, x + 13):
            draw.rectangle((gap, y + 2, gap + 3, y + 16), fill=(120, 124, 130))
    draw.text((x + 30, y), row.meaning, fill=_INK, font=font(_TEXT, row.meaning))


def _height(size: int) -> int:
    return round(_LINE * size)


def _length(text: str, size: int) -> float:
    return float(font(size, text).getlength(text))


def _fitting(text: str, size: int, room: int) -> str:
    """The text, its end cut off where it is too long."""
    text = shorten(text, _LONGEST)
    while len(text) > 1 and _length(text, size) > room:
        text = shorten(
            text, max(1, min(len(text) - 1, int(len(text) * room / _length(text, size))))
        )
    return text


def _wrapped(text: str, size: int, room: int) -> list[str]:
    """The text in lines of at most so many pixels; a word that is longer is cut."""
    lines: list[str] = []
    for word in shorten(text, _LONGEST).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _length(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(_fitting(word, size, room))
    return lines
