"""The box around what tools draw: turned boxes, ellipses, outlines and masks written as runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.formats.parsing import as_number, complete

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Box = tuple[float, float, float, float]
"""xyxy, in the unit of what it was made of."""

_LONGEST_COUNT = 7
"""Characters of one number in compressed runs: five bits each, more than any image has pixels."""


def turned_box(box: Sequence[float], degrees: float) -> Box:
    """The extent of a box xyxy that is turned about its center by an angle."""
    left, top, right, bottom = box
    if not degrees or not math.isfinite(degrees):
        return left, top, right, bottom
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    half_x = ((right - left) * cos + (bottom - top) * sin) / 2
    half_y = ((right - left) * sin + (bottom - top) * cos) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half_x, y - half_y, x + half_x, y + half_y


def box_turned_about_its_corner(box: Sequence[float], degrees: float) -> Box:
    """The extent of a box xyxy that is turned clockwise about its upper left corner."""
    left, top, right, bottom = box
    if not degrees or not math.isfinite(degrees):
        return left, top, right, bottom
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = right - left, bottom - top
    xs = (0.0, width * cos, -height * sin, width * cos - height * sin)
    ys = (0.0, width * sin, height * cos, width * sin + height * cos)
    return left + min(xs), top + min(ys), left + max(xs), top + max(ys)


def ellipse_box(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Box:
    """The extent of an ellipse around (x, y) whose radii are turned by an angle."""
    angle = math.radians(degrees) if degrees and math.isfinite(degrees) else 0.0
    half_x = math.hypot(rx * math.cos(angle), ry * math.sin(angle)) if angle else abs(rx)
    half_y = math.hypot(rx * math.sin(angle), ry * math.cos(angle)) if angle else abs(ry)
    return x - half_x, y - half_y, x + half_x, y + half_y


def box_of_points(xs: Sequence[float], ys: Sequence[float]) -> Box | None:
    """The extent of points; not finite where one of them is not; None without a point."""
    if not xs or len(xs) != len(ys):
        return None
    if any(map(math.isnan, (*xs, *ys))):
        return math.nan, math.nan, math.nan, math.nan
    return min(xs), min(ys), max(xs), max(ys)


def box_of_segmentation(value: Any, height: int = 0) -> Box | None:
    """The extent of what COCO calls a segmentation; None where it is none.

    Read are outlines (a list of lists x, y, x, y ..., one such list, or a list of points) and runs
    (`counts`, as numbers or compressed into text).

    Args:
        value: the segmentation.
        height: of the image in pixels, for runs that do not state their size.
    """
    if isinstance(value, dict):
        return _box_of_mask(value, height)
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(part, dict) and "counts" in part for part in value):
        boxes = [_box_of_mask(part, height) for part in value]
        return _union(box for box in boxes if box is not None)
    flat: list[float] = []
    for part in value if isinstance(value[0], (list, dict)) else [value]:
        numbers = _numbers(part)
        if numbers is None or len(numbers) % 2:
            return None
        flat += numbers
    return box_of_points(flat[::2], flat[1::2]) if len(flat) >= 4 else None


def runs_of(text: str) -> list[int] | None:
    """The numbers of COCO's compressed runs; None where the text is none.

    Each character holds five bits, the lowest first, and whether another one follows; the last
    one's fifth bit is the sign. From the fourth number on, each is the difference to the one two
    before it.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift >= 5 * _LONGEST_COUNT:
            return None
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return None if shift else runs


def box_of_runs(runs: Sequence[int], height: int) -> Box | None:
    """The extent of a mask written as runs, column by column, first of what lies outside it.

    Args:
        runs: pixels outside, inside, outside ... by turns.
        height: of the mask in pixels.

    Returns:
        xyxy around the pixels, None where there are none or the runs are none.
    """
    if height <= 0 or not len(runs):
        return None
    counts = np.asarray(runs, np.int64)
    if (counts < 0).any() or (counts >= 2**40).any():
        return None
    ends = np.cumsum(counts)
    inside = (np.arange(len(counts)) % 2 == 1) & (counts > 0)
    if not inside.any():
        return None
    starts, last = (ends - counts)[inside], ends[inside] - 1
    several = starts // height != last // height
    return (
        float((starts // height).min()),
        float(np.where(several, 0, starts % height).min()),
        float((last // height).max() + 1),
        float(np.where(several, height, last % height + 1).max()),
    )


def _box_of_mask(value: dict[str, Any], height: int) -> Box | None:
    counts, size = value.get("counts"), value.get("size")
    if isinstance(size, list) and size:
        stated = as_number(size[0])
        if stated is None or not 0 < stated < 2**31:
            return None
        height = int(stated)
    if isinstance(counts, str):
        runs = runs_of(counts)
    else:
        numbers = _numbers(counts)
        whole = numbers is not None and all(map(math.isfinite, numbers))
        runs = [int(number) for number in numbers or ()] if whole else None
    if runs is None or any(abs(run) >= 2**40 for run in runs):
        return None
    return box_of_runs(runs, height)


def _numbers(value: Any) -> list[float] | None:
    """The numbers of a list, or of a point {"x": 1, "y": 2}."""
    if isinstance(value, dict) and {"x", "y"} <= set(value):
        value = [value["x"], value["y"]]
    if not isinstance(value, list):
        return None
    return complete(as_number(number) for number in value)


def _union(boxes: Iterable[Box]) -> Box | None:
    corners = list(zip(*boxes, strict=True))
    if not corners:
        return None
    left, top, right, bottom = corners
    return min(left), min(top), max(right), max(bottom)
