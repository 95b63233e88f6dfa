"""What detections look like: histograms of their scores, sizes and classes, and how two differ."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from foveal.structures import SCORE_EDGES, SIZE_EDGES, DetectionProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from foveal.structures import Detections


def make_profile(
    detections: Sequence[Detections], *, classes: int, score_threshold: float
) -> DetectionProfile:
    """Count the detections of many images.

    Args:
        detections: one for each image, original pixels.
        classes: K.
        score_threshold: detections of at least this score are counted.
    """
    scores = np.zeros(len(SCORE_EDGES) - 1, np.int64)
    sizes = np.zeros(len(SIZE_EDGES) - 1, np.int64)
    labels = np.zeros(classes, np.int64)
    for each in detections:
        kept = each.above(score_threshold)
        scores += count_scores(kept.scores)
        sizes += count_sizes(kept.boxes)
        labels += np.bincount(kept.labels, minlength=classes)
    return DetectionProfile(
        len(detections),
        score_threshold,
        tuple(scores.tolist()),
        tuple(sizes.tolist()),
        tuple(labels.tolist()),
    )


def count_scores(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many of the scores [N] are in each bin of `SCORE_EDGES`, as [bins]."""
    return _count(scores, SCORE_EDGES)


def count_sizes(boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many boxes [N, 4] xyxy, original pixels, are in each bin of `SIZE_EDGES`, as [bins]."""
    return _count(box_sizes(boxes), SIZE_EDGES)


def box_sizes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The square roots [N] of the areas of boxes [N, 4] xyxy, in the boxes' unit."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(np.sqrt(sides.prod(axis=1)))


def _count(values: NDArray[np.float32], edges: tuple[float, ...]) -> NDArray[np.int64]:
    inner = np.asarray(edges[1:-1], np.float32)
    return np.bincount(np.searchsorted(inner, values, side="right"), minlength=len(edges) - 1)


def distance(one: ArrayLike, other: ArrayLike) -> float:
    """The Jensen-Shannon distance of two histograms: 0 where they are alike, 1 where disjoint.

    The square root of the Jensen-Shannon divergence to base 2 (Lin, 1991; Endres and Schindelin,
    2003). It needs no guess for empty bins.

    Args:
        one, other: [bins] counts.

    Returns:
        0 to 1; NaN where a histogram is empty.
    """
    counts = np.array([one, other], np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    if not sums.all():
        return math.nan
    shares = counts / sums
    mean = shares.mean(axis=0)
    ratio = np.divide(shares, mean, out=np.ones_like(shares), where=shares > 0)
    divergence = float((shares * np.log2(ratio)).sum() / 2)
    return math.sqrt(min(1.0, max(0.0, divergence)))


def distance_by_chance(one: ArrayLike, other: ArrayLike) -> float:
    """How far two samples of the same distribution are apart, since samples are never alike.

    For large samples 8 ln 2 times the divergence is the sum of (p - q)^2 / p over the bins, whose
    expectation is (bins - 1) (1 / n + 1 / m).

    Args:
        one, other: [bins] counts; n and m in sum.

    Returns:
        0 to 1; NaN where a histogram is empty.
    """
    counts = np.array([one, other], np.float64)
    sums = counts.sum(axis=1)
    if not sums.all():
        return math.nan
    bins = int((counts.sum(axis=0) > 0).sum())
    return math.sqrt(min(1.0, (bins - 1) * float((1 / sums).sum()) / (8 * math.log(2))))
