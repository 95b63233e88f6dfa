"""How far anchors of any shape can overlap an object, given only where they may stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_STEPS = np.linspace(-1.0, 1.0, 9)
"""Where between covering just the object's far edge and being covered a length is tried."""


def center_gaps(
    boxes: NDArray[Any],
    *,
    steps: NDArray[np.float64],
    counts: NDArray[np.float64],
    offset: float,
) -> NDArray[np.float64]:
    """Distance in x and y from each box's center to the nearest location of each level.

    Args:
        boxes: [N, 4] xyxy, input pixels.
        steps: [N, L, 2] distances between locations in x and y, input pixels.
        counts: [N, L, 2] how many locations there are.
        offset: where in its cell a location lies, in steps.

    Returns:
        [N, L, 2] input pixels.
    """
    centers = (boxes[:, None, :2].astype(np.float64) + boxes[:, None, 2:]) / 2
    nearest = np.rint(centers / steps - offset).clip(0, counts - 1)
    result: NDArray[np.float64] = np.abs((nearest + offset) * steps - centers)
    return result


def reachable_ious(sides: NDArray[np.float64], gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The IoU that the best anchor of any shape at the nearest locations could have with each box.

    Along one side the best length lies between the one that the box covers and the one that covers
    the box: those are tried in nine steps, which errs by less than 0.01.

    Args:
        sides: [N, 2] widths and heights of the boxes, input pixels.
        gaps: [N, L, 2] distances from the centers to the nearest locations.

    Returns:
        [N].
    """
    best = np.zeros(len(sides))
    for level in range(gaps.shape[1]):
        overlaps = []
        lengths = []
        for axis in (0, 1):
            side, gap = sides[:, axis, None], gaps[:, level, axis, None]
            length = np.maximum(side + 2 * gap * _STEPS, 1e-3)
            overlaps.append(np.minimum(np.minimum(side, length), (side + length) / 2 - gap).clip(0))
            lengths.append(length)
        shared = overlaps[0][:, :, None] * overlaps[1][:, None, :]
        areas = lengths[0][:, :, None] * lengths[1][:, None, :] + sides.prod(axis=1)[:, None, None]
        best = np.maximum(best, (shared / (areas - shared)).max(axis=(1, 2)))
    return best


def within_reach(
    sides: NDArray[np.float64], gaps: NDArray[np.float64], *, iou: float
) -> NDArray[np.bool_]:
    """Whether `reachable_ious` is at least `iou`, for many boxes in a fraction of its time.

    Most boxes are reached by an anchor of their own shape already: only the others are searched.

    Args:
        sides: [N, 2] widths and heights of the boxes, input pixels.
        gaps: [N, L, 2] distances from the centers to the nearest locations.
        iou: what an anchor has to reach.

    Returns:
        [N].
    """
    shared = (sides[:, None] - gaps).clip(0).prod(axis=2).max(axis=1, initial=0)
    reached: NDArray[np.bool_] = shared >= iou * (2 * sides.prod(axis=1) - shared)
    rest = np.flatnonzero(~reached)
    reached[rest] = reachable_ious(sides[rest], gaps[rest]) >= iou
    return reached


def level_locations(
    inputs: NDArray[np.int64], strides: Sequence[int], *, divided: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and counts of locations for `center_gaps`.

    Args:
        inputs: [N, 2] width and height of each box's input, pixels.
        strides: of the L levels.
        divided: take the input's size // the level's size for a level's step, not its stride.

    Returns:
        Two arrays [N, L, 2]: steps and counts.
    """
    wide = np.array(strides, np.float64)[:, None]
    sides = inputs[:, None].astype(np.float64)
    counts = np.ceil(sides / wide)
    steps = np.floor(sides / counts) if divided else np.broadcast_to(wide, counts.shape)
    return steps, counts
