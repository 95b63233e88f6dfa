"""Which of very many boxes overlap, and which of them stay: nothing here is quadratic in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_PAIRS_AT_ONCE = 2**21


def overlapping_pairs(
    boxes: NDArray[np.float32], seeds: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of a seed and another box that share an area, some at a time.

    Boxes are entered into the cells of a grid that they cover, and compared within a cell. A pair
    is given once for each seed in it: in the cell of the upper left corner of what they share.

    Args:
        boxes: [N, 4] xyxy.
        seeds: [N].

    Yields:
        [P] indices of seeds and [P] of the others.
    """
    if not seeds.any():
        return
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).astype(np.float64)
    cell = max(1.0, 2 * float(sides.mean()))
    while True:
        low = np.floor(boxes[:, :2] / cell).astype(np.int64)
        spans = np.floor(boxes[:, 2:] / cell).astype(np.int64) - low + 1
        spans = np.maximum(spans, 1)
        covered = spans.prod(axis=1)
        if covered.sum() <= 16 * len(boxes):
            break
        cell *= 2
    low -= low.min(axis=0)
    columns = int((low + spans)[:, 0].max())
    entry = np.repeat(np.arange(len(boxes)), covered)
    position = np.arange(len(entry)) - np.repeat(np.cumsum(covered) - covered, covered)
    row, column = np.divmod(position, spans[entry, 0])
    key = (low[entry, 1] + row) * columns + low[entry, 0] + column
    order = np.argsort(key, kind="stable")
    entry, key = entry[order], key[order]
    at = np.flatnonzero(seeds[entry])
    first = np.searchsorted(key, key[at], side="left")
    counts = np.searchsorted(key, key[at], side="right") - first
    ends = np.cumsum(counts)
    start = 0
    while start < len(at):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        part = slice(start, stop)
        one = np.repeat(at[part], counts[part])
        inside = np.arange(len(one)) - np.repeat(ends[part] - counts[part] - done, counts[part])
        other = np.repeat(first[part], counts[part]) + inside
        cells, one, other = key[one], entry[one], entry[other]
        corner = np.maximum(boxes[one, :2], boxes[other, :2])
        end = np.minimum(boxes[one, 2:], boxes[other, 2:])
        corner_low = np.maximum(low[one], low[other])
        home = corner_low[:, 1] * columns + corner_low[:, 0]
        real = (one != other) & (corner < end).all(axis=1) & (home == cells)
        yield one[real], other[real]
        start = stop


def keep_greedily(
    alive: NDArray[np.bool_], better: NDArray[np.int64], worse: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Greedy NMS where it is known which pairs overlap, without a loop over boxes.

    A box is kept once all better ones that it overlaps are known to go, and goes once one of them
    is kept. Each turn decides at least the best that is open; chains are short.

    Args:
        alive: [N] those that take part.
        better, worse: [P] the two boxes of each pair.

    Returns:
        [N] kept.
    """
    both = alive[better] & alive[worse]
    better, worse = better[both], worse[both]
    kept = alive.copy()
    is_open = np.zeros(len(alive), np.bool_)
    is_open[worse] = True
    while is_open.any():
        sure = kept & ~is_open
        gone = np.zeros(len(alive), np.bool_)
        gone[worse[sure[better]]] = True
        gone &= is_open
        kept &= ~gone
        is_open &= ~gone
        waits = np.zeros(len(alive), np.bool_)
        waits[worse[is_open[better]]] = True
        is_open &= waits
    return kept
