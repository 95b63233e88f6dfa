"""Which part of a large image to show, so that its objects can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE_SIDE = 1024
"""Pixels of an image that is always shown whole."""
LARGEST_SIDE = 4096
"""Pixels of a picture before it is shrunk for the page."""
_WINDOW_SIDE = 320
_OBJECTS_ACROSS = 25
"""So many times as wide as its objects is the part of an image that is shown."""


def window_side(boxes: NDArray[np.float32], width: int, height: int) -> int | None:
    """The side of the parts to show of an image much larger than its objects; None: all of it.

    Args:
        boxes: [N, 4] xyxy, pixels of the image.
        width, height: of the image.
    """
    if max(width, height) <= WHOLE_SIDE or not len(boxes):
        return None
    size = float(np.median((boxes[:, 2:] - boxes[:, :2]).max(axis=1)))
    side = int(max(_OBJECTS_ACROSS * size, _WINDOW_SIDE))
    return min(side, LARGEST_SIDE) if 2 * side <= max(width, height) else None


def fullest_windows(
    boxes: NDArray[np.float32], side: int, width: int, height: int, *, most: int
) -> list[tuple[int, int, int, int]]:
    """The windows (left, top, right, bottom) in which most boxes lie, the fullest first.

    Args:
        boxes: [N, 4] xyxy, pixels of the image.
        side: of a window, pixels; at the image's rim it may be less.
        width, height: of the image.
        most: at most so many windows.
    """
    centers = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    _, cell, counts = np.unique(centers // side, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)
    room = np.maximum(0, np.asarray((width, height)) - side)
    windows = []
    for fullest in np.argsort(-counts, kind="stable")[:most].tolist():
        middle = centers[cell == fullest].mean(axis=0)
        left, top = np.clip(middle - side / 2, 0, room).astype(int).tolist()
        windows.append((left, top, min(left + side, width), min(top + side, height)))
    return windows
