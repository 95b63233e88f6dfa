"""Boxes as numpy arrays: the twin of `boxes` where no torch is; xyxy in continuous pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def areas(boxes: Floats) -> Floats:
    """Area of each box.

    Args:
        boxes: [..., 4] xyxy.

    Returns:
        [...] in square pixels; a box turned inside out has area 0.
    """
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    product: Floats = sides[..., 0] * sides[..., 1]
    return product


def intersections(boxes: Floats, others: Floats) -> Floats:
    """Area that two boxes share, broadcasting; no temporary is larger than the result.

    Args:
        boxes: [..., 4] xyxy.
        others: [..., 4] xyxy, same frame; [A, 1, 4] against [N, 4] gives all pairs.

    Returns:
        [...] broadcast, in square pixels.
    """
    x1, y1, x2, y2 = (boxes[..., side] for side in range(4))
    u1, v1, u2, v2 = (others[..., side] for side in range(4))
    width = np.maximum(np.minimum(x2, u2) - np.maximum(x1, u1), 0)
    height = np.maximum(np.minimum(y2, v2) - np.maximum(y1, v1), 0)
    product: Floats = width * height
    return product


def iou(boxes: Floats, others: Floats) -> Floats:
    """Intersection over union, broadcasting like `intersections`; 0 where both boxes are empty.

    Args:
        boxes: [..., 4] xyxy.
        others: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..1.
    """
    shared = intersections(boxes, others)
    return _divide(shared, areas(boxes) + areas(others) - shared)


def coverage(boxes: Floats, others: Floats) -> Floats:
    """Intersection over a box's own area, broadcasting like `intersections`; 0 where it is empty.

    COCO asks for it instead of the IoU where the other box is a crowd, a region to ignore.

    Args:
        boxes: [..., 4] xyxy, whose areas divide.
        others: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..1.
    """
    return _divide(intersections(boxes, others), areas(boxes))


def iou_apart(sides: Floats, others: Floats, *, gaps: Floats) -> Floats:
    """Intersection over union of boxes of which the sides are known, and how far they are apart.

    Args:
        sides: [..., 2] widths and heights, positive.
        others: [..., 2] widths and heights of the other boxes, positive.
        gaps: [..., 2] distances between the centers in x and y, not negative.

    Returns:
        [...] broadcast, in 0..1.
    """
    width, height = (
        np.minimum(np.minimum(one, other), (one + other) / 2 - gap).clip(0)
        for one, other, gap in (
            (sides[..., axis], others[..., axis], gaps[..., axis]) for axis in range(2)
        )
    )
    shared = width * height
    return _divide(shared, sides.prod(axis=-1) + others.prod(axis=-1) - shared)


def _divide(shared: Floats, area: Floats) -> Floats:
    """Areas that are shared over areas that hold them; 0 where these are empty."""
    result: Floats = shared / np.maximum(area, np.finfo(area.dtype).tiny)
    return result


def clip(boxes: Floats, extents: Floats) -> Floats:
    """Cut boxes off at the edges of their image.

    Args:
        boxes: [..., N, 4] xyxy.
        extents: [..., 4] xyxy, where the image lies in the boxes' frame.

    Returns:
        [..., N, 4].
    """
    low = extents[..., None, [0, 1, 0, 1]]
    high = extents[..., None, [2, 3, 2, 3]]
    return np.minimum(np.maximum(boxes, low), high)
