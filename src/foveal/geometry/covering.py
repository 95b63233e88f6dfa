"""What is left of boxes that others lie upon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def uncovered_parts(
    boxes: NDArray[np.float32], covers: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """How much of boxes is seen beside the boxes that cover them, exactly.

    The covers' sides divide the plane into cells, each of which is covered or not. Memory and time
    go with the square of the number of covers, which are meant to be few.

    Args:
        boxes: [N, 4] xyxy.
        covers: [M, 4] xyxy in the same frame; they may overlap one another.

    Returns:
        [N] the share of each box that no cover lies upon, 0 for boxes without an area, and [N, 4]
        the box around that part, zeros where nothing is left.
    """
    low = []
    high = []
    sizes = []
    edges = []
    for axis in (0, 1):
        inner = np.unique(covers[:, axis::2].astype(np.float64))
        line = np.concatenate([[-np.inf], inner, [np.inf]])
        first, last = (boxes[:, axis + end, None].astype(np.float64) for end in (0, 2))
        low.append(np.clip(line[None, :-1], first, last))
        high.append(np.clip(line[None, 1:], first, last))
        sizes.append(np.maximum(high[axis] - low[axis], 0))
        edges.append(line)
    inside = [
        (covers[:, axis, None] <= edges[axis][None, :-1])
        & (edges[axis][None, 1:] <= covers[:, axis + 2, None])
        for axis in (0, 1)
    ]
    covered = (inside[1][:, :, None] & inside[0][:, None, :]).any(axis=0)
    seen = sizes[1][:, :, None] * sizes[0][:, None, :] * ~covered
    areas = sizes[0].sum(axis=1) * sizes[1].sum(axis=1)
    shares = np.divide(seen.sum(axis=(1, 2)), areas, out=np.zeros(len(boxes)), where=areas > 0)
    bounds = np.zeros((len(boxes), 4), np.float32)
    shown = seen > 0
    some = shown.any(axis=(1, 2))
    for axis, others in ((0, 1), (1, 2)):
        cells = shown.any(axis=others)
        first = np.where(cells, low[axis], np.inf).min(axis=1)
        last = np.where(cells, high[axis], -np.inf).max(axis=1)
        bounds[some, axis], bounds[some, axis + 2] = first[some], last[some]
    return shares, bounds
