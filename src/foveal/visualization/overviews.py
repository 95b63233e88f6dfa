"""A whole scene in one small picture, with all that was found in it.

A scene of 30,000 pixels is shrunk to 2,000: an object of 20 pixels becomes one of 1.3. So objects
are drawn as boxes where they are large enough, else as dots, whose size follows how near they lie
to one another, and where even those would run into one another, as shades of the ground.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.visualization import colors
from foveal.visualization.boxes import class_rows, draw_boxes, scored_names, to_rgb
from foveal.visualization.labels import LegendRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.structures import Detections

_MIN_BOX = 12.0
"""Pixels of the picture that a box's longer side has at least."""
_CELL = 32
"""Pixels of the picture: how near objects lie to one another is asked in squares of this side."""
_MAX_RADIUS = 7.0
_MIN_SPACING = 3.0
"""Pixels from one object to the next, below which dots would be a blot."""
_MIN_LABELED = 48.0
"""Pixels of the picture that the longer side of a box has whose label would not outshine it."""
_SHADE_CELL = 8
_DIMMED = 0.6
_RINGED = 2.5
"""Pixels of room beside a dot from which it has a dark ring, to show on bright ground too."""
_RING = 30
"""Its gray."""


def draw_overview(
    image: NDArray[np.uint8],
    detections: Detections,
    *,
    labels: bool = True,
    legend: bool = True,
) -> NDArray[np.uint8]:
    """Draw what was found in a scene on a picture of the whole of it, shrunk.

    Args:
        image: [h, w] or [h, w, C] uint8, the whole scene; of more than three bands the first three
            are shown.
        detections: boxes in the scene's pixels, best first; where its width is unknown, in the
            picture's.
        labels: write class and score beside boxes that are large enough, where there is room.
        legend: write how many were found of each class, whether a limit of detections was reached,
            and how much the scene is shrunk.

    Returns:
        [h, w, 3] uint8 RGB, a new array.

    Raises:
        ValueError: the image is not uint8 or has no pixels.
    """
    picture = to_rgb(image)
    height, width = picture.shape[:2]
    shrink = _shrink(detections, width, height)
    boxes = (detections.boxes / np.tile(shrink, 2)).astype(np.float32)
    sides = boxes[:, 2:] - boxes[:, :2]
    large = sides.max(axis=1, initial=0) >= _MIN_BOX
    small = ~large
    spacing = _spacing(boxes[small], width, height)
    shaded = bool(small.any()) and spacing < _MIN_SPACING
    if shaded:
        _shade(picture, boxes[small], detections.labels[small])
    else:
        _dot(picture, boxes[small], detections.labels[small], radius=spacing / 2.5)
    rows: list[LegendRow] = []
    if legend:
        mostly_dots = bool(small.sum() > large.sum())
        rows = class_rows(
            detections.labels, detections.classes, style="dot" if mostly_dots else "solid"
        )
        if detections.capped:
            rows.append(LegendRow("limit reached", len(detections), colors.IGNORED))
        if shrink[0] >= 1.05:
            rows.append(LegendRow(f"shown at 1:{shrink[0]:.3g}", None))
        if shaded:
            rows.append(LegendRow("stronger where more", None))
    shown = detections[large]
    wide = sides[large].max(axis=1, initial=0) >= _MIN_LABELED
    words = [word if fits else "" for word, fits in zip(scored_names(shown), wide, strict=True)]
    return draw_boxes(
        Image.fromarray(picture),
        boxes[large],
        [colors.class_color(int(label)) for label in shown.labels],
        ["solid"] * len(shown),
        words if labels else [],
        rows,
        obstacles=boxes[small],
    )


def _shrink(detections: Detections, width: int, height: int) -> NDArray[np.float64]:
    """[2] pixels of the scene that one of the picture is wide and high."""
    scene = (detections.width or width, detections.height or height)
    return np.asarray(scene, np.float64) / (width, height)


def _spacing(boxes: NDArray[np.float32], width: int, height: int) -> float:
    """From one object to the next where they are crowded, pixels of the picture.

    Three quarters of the objects have at least so much room in their square.
    """
    if not len(boxes):
        return float("inf")
    columns, rows = _cells(boxes, width, height, side=_CELL)
    across = width // _CELL + 1
    _, cell, counts = np.unique(rows * across + columns, return_inverse=True, return_counts=True)
    crowd = np.quantile(counts[cell], 0.75)
    return float(_CELL / np.sqrt(crowd))


def _cells(
    boxes: NDArray[np.float32], width: int, height: int, *, side: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[N] columns and rows of the squares of the picture in which the boxes' centers lie."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = np.clip(centers, 0, (width - 1, height - 1)).astype(np.int64)
    return inside[:, 0] // side, inside[:, 1] // side


def _dot(
    picture: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    radius: float,
) -> None:
    """Draw a dot at each box's center, the best above the others.

    Where there is room they have a dark ring; else the picture becomes gray and dim.
    """
    if not len(boxes):
        return
    height, width = picture.shape[:2]
    columns, rows = _cells(boxes[::-1], width, height, side=1)
    ringed = radius >= _RINGED
    radius = float(np.clip(radius, 1.0, min(_MAX_RADIUS, max(1.5, np.hypot(width, height) / 250))))
    discs = [(radius, _palette(labels)[labels[::-1]])]
    if ringed:
        discs.insert(0, (radius + 1.0, np.full((1, 3), _RING, np.uint8)))
    else:
        _dim(picture)
    for reach, ink in discs:
        span = np.arange(-int(reach), int(reach) + 1)
        for y, x in ((y, x) for y in span for x in span if x * x + y * y <= reach * reach):
            at_row, at_column = rows + y, columns + x
            seen = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            picture[at_row[seen], at_column[seen]] = ink if len(ink) == 1 else ink[seen]


def _shade(
    picture: NDArray[np.uint8], boxes: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    """Dim the picture and color its squares by their most frequent class, more where it is more."""
    height, width = picture.shape[:2]
    columns, rows = _cells(boxes, width, height, side=_SHADE_CELL)
    down, across = -(-height // _SHADE_CELL), -(-width // _SHADE_CELL)
    total = np.bincount(rows * across + columns, minlength=down * across)
    most, winner = np.zeros(down * across, np.int64), np.zeros(down * across, np.int64)
    for label in np.unique(labels):
        own = labels == label
        counts = np.bincount(rows[own] * across + columns[own], minlength=down * across)
        winner[counts > most] = label
        most = np.maximum(most, counts)
    strength = np.where(total > 0, 0.25 + 0.65 * total / max(1, total.max()), 0.0)
    spread = np.ones((_SHADE_CELL, _SHADE_CELL))
    shade = np.kron(strength.reshape(down, across), spread)[:height, :width, None]
    ink = _palette(labels)[winner].reshape(down, across, 3)
    ink = ink.repeat(_SHADE_CELL, axis=0).repeat(_SHADE_CELL, axis=1)[:height, :width]
    _dim(picture)
    picture[:] = np.rint(picture * (1 - shade) + ink * shade)


def _dim(picture: NDArray[np.uint8]) -> None:
    """Leave gray and darkness to the ground, and colors to the objects."""
    picture[:] = np.rint(_DIMMED * picture.mean(axis=2, keepdims=True))


def _palette(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[K, 3] the color of each class up to the last that there is."""
    count = int(labels.max(initial=0)) + 1
    return np.asarray([colors.class_color(label) for label in range(count)], np.uint8)
