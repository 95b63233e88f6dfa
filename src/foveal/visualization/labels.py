"""Where the words go in a picture: labels beside their boxes, a legend in the emptiest corner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.geometry.arrays import areas, intersections
from foveal.text import shorten
from foveal.visualization.colors import Color, ink_on
from foveal.visualization.fonts import font

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw

MIN_TEXT = 9
"""Pixels below which letters can't be read."""
_PANEL = (16, 18, 22, 205)
_MAX_LETTERS = 28
_MAX_COVERED = 0.35
"""Fraction of a box that a label may cover."""


@dataclass(frozen=True, slots=True)
class Label:
    """Words that belong to a box ([4] xyxy, pixels of the picture)."""

    text: str
    box: NDArray[np.float32]
    color: Color


@dataclass(frozen=True, slots=True)
class LegendRow:
    """One line of the legend: a swatch of the style, a name, how many.

    A row without a count says something of the picture, and has no swatch.
    """

    name: str
    count: int | None
    color: Color = (255, 255, 255)
    style: Literal["solid", "dashed", "dot"] = "solid"

    @property
    def number(self) -> str:
        """The count as it is written."""
        return "" if self.count is None else f"{self.count:,}"


def text_height(width: int, height: int) -> int:
    """The letters' height in pixels that suits a picture of this size."""
    return max(MIN_TEXT, round(math.sqrt(width * height) / 42))


def draw_labels(
    draw: ImageDraw,
    labels: list[Label],
    *,
    size: int,
    obstacles: NDArray[np.float32],
    taken: NDArray[np.float32],
) -> int:
    """Write each label where it is inside the picture, off other labels and off small objects.

    A label for which there is no such location is left out; its box still has its color.

    Args:
        draw: of the picture, blending.
        labels: the most important first.
        size: height of the letters in pixels.
        obstacles: [N, 4] xyxy boxes that should not be hidden.
        taken: [M, 4] xyxy areas that are written on already.

    Returns:
        How many were written.
    """
    width, height = draw.im.size
    written = 0
    allowed = _MAX_COVERED * areas(obstacles)
    pad = max(1, size // 5)
    for label in labels:
        text = shorten(label.text, _MAX_LETTERS)
        letters = font(size, text)
        left, _, right, _ = letters.getbbox(text)
        w, h = round(right - left) + 2 * pad, size + 2 * pad
        locations = _locations(label.box, w, h, gap=max(1, size // 8))
        inside = (locations[:, 0] >= 0) & (locations[:, 1] >= 0)
        inside &= (locations[:, 2] <= width) & (locations[:, 3] <= height)
        for location in locations[inside]:
            if intersections(location, taken).any():
                continue
            if (intersections(location, obstacles) > allowed).any():
                continue
            x, y = float(location[0]), float(location[1])
            draw.rectangle((x, y, x + w - 1, y + h - 1), fill=(*label.color, 225))
            middle = y + h / 2
            draw.text(
                (x + pad - left, middle), text, font=letters, fill=ink_on(label.color), anchor="lm"
            )
            taken = np.concatenate([taken, location[None]])
            written += 1
            break
    return written


def draw_legend(
    draw: ImageDraw, rows: list[LegendRow], *, size: int, boxes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Write the legend into the corner with the fewest objects.

    It shrinks, then shows the total only, then is left out, so that it never takes more than a
    quarter of the picture.

    Returns:
        [1, 4] xyxy, where it stands, or [0, 4].
    """
    if not rows:
        return np.zeros((0, 4), np.float32)
    width, height = draw.im.size
    total = [LegendRow("", sum(row.count or 0 for row in rows))]
    for lines, letters in ((rows, size), (rows, MIN_TEXT), (total, MIN_TEXT)):
        w, h = _legend_size(lines, letters)
        if w <= width and h <= height and w * h <= 0.25 * width * height:
            location = _emptiest_corner(w, h, width, height, boxes, margin=letters // 2)
            _write_legend(draw, lines, location, letters)
            return location[None]
    return np.zeros((0, 4), np.float32)


def _locations(box: NDArray[np.float32], w: int, h: int, *, gap: int) -> NDArray[np.float32]:
    """[6 or 8, 4] xyxy: above, below, beside and, where the box is large, inside it."""
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    corners = [
        (x0 - gap, y0 - h - gap),
        (x0 - gap, y1 + gap),
        (x1 + gap - w, y0 - h - gap),
        (x1 + gap - w, y1 + gap),
        (x1 + gap, y0 - gap),
        (x0 - gap - w, y0 - gap),
    ]
    if x1 - x0 > w and y1 - y0 > 3 * h:
        corners += [(x0, y0), (x0, y1 - h)]
    starts = np.asarray(corners, np.float32)
    return np.concatenate([starts, starts + np.asarray((w, h))], axis=1).astype(np.float32)


def _legend_size(rows: list[LegendRow], size: int) -> tuple[int, int]:
    names = max((_length(shorten(row.name, _MAX_LETTERS), size) for row in rows), default=0)
    counts = max((_length(row.number, size) for row in rows), default=0)
    swatch = 0 if not any(row.name for row in rows) else round(2.6 * size)
    return round(1.2 * size + swatch + names + counts), round((1.45 * len(rows) + 0.5) * size)


def _length(text: str, size: int) -> float:
    return float(font(size, text).getlength(text))


def _emptiest_corner(
    w: int, h: int, width: int, height: int, boxes: NDArray[np.float32], *, margin: int
) -> NDArray[np.float32]:
    right, bottom = max(0, width - w - margin), max(0, height - h - margin)
    left, top = min(margin, width - w), min(margin, height - h)
    corners = [(left, top), (right, top), (left, bottom), (right, bottom)]
    locations = [np.asarray((x, y, x + w, y + h), np.float32) for x, y in corners]
    sizes = np.maximum(areas(boxes), 1)
    covered = [float((intersections(location, boxes) / sizes).sum()) for location in locations]
    return locations[int(np.argmin(np.round(covered, 2)))]


def _write_legend(
    draw: ImageDraw, rows: list[LegendRow], location: NDArray[np.float32], size: int
) -> None:
    x0, y0, x1, y1 = (float(value) for value in location)
    draw.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=size * 0.4, fill=_PANEL)
    for index, row in enumerate(rows):
        middle = y0 + (1.45 * index + 0.97) * size
        start = x0 + 0.6 * size
        if row.name:
            if row.count is not None:
                _write_swatch(draw, row, (start, middle), size)
                start += 1.7 * size
            name = shorten(row.name, _MAX_LETTERS)
            letters = font(size, name)
            draw.text((start, middle), name, font=letters, fill=(255,) * 3, anchor="lm")
        end = x1 - 0.6 * size
        draw.text((end, middle), row.number, font=font(size), fill=(255,) * 3, anchor="rm")


def _write_swatch(draw: ImageDraw, row: LegendRow, where: tuple[float, float], size: int) -> None:
    x, middle = where
    half = 0.42 * size
    line = max(1, round(size / 6))
    if row.style == "dot":
        center = x + 0.6 * size
        corners = (center - half, middle - half, center + half, middle + half)
        draw.ellipse(corners, fill=(*row.color, 255))
        return
    if row.style == "solid":
        draw.rectangle(
            (x, middle - half, x + 1.2 * size, middle + half),
            outline=(*row.color, 255),
            fill=(*row.color, 110),
            width=line,
        )
        return
    for piece in range(2):
        begin = x + piece * 0.75 * size
        draw.rectangle(
            (begin, middle - line / 2, begin + 0.45 * size, middle + line / 2),
            fill=(*row.color, 255),
        )
