"""How sure a number is, given these few images: 95 % intervals by resampling the images.

Images are drawn with replacement, as many as there are; a draw is a weight of each image, how often
it came up. The matches within an image do not depend on other images, so they are computed once and
only the sums over images are done again for each draw.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.average_precision import RECALLS
from foveal.evaluation.results import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.evaluation.matching import Matches, MatchTable

CELLS = 1_000_000
"""Most numbers in one temporary array."""
FEWEST_IMAGES = 6
"""Of fewer images no test can tell a difference from chance: five that all speak for the same side
do so by chance in 2 of 32 cases, which is more than 5 %."""

_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764)
"""The 97.5 % points of Student's t for 1 to 4 degrees of freedom."""


def draw_weights(images: int, *, draws: int, seed: int) -> NDArray[np.float32]:
    """How often each image comes up in each draw, [R, I]; a row sums to the number of images."""
    generator = np.random.default_rng(seed)
    if images == 0:
        return np.zeros((draws, 0), np.float32)
    return generator.multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float32)


def interval(values: NDArray[np.float64]) -> Interval:
    """The middle 95 % of those of [n] values that are defined."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high))


def expanded_interval(values: NDArray[np.float64], *, images: int) -> Interval:
    """The 95 % interval of a number that few images speak for.

    The middle 95 % of the draws are too narrow for few images, as the normal distribution is beside
    Student's; so a little more than 95 % is taken ("expanded percentile", Hesterberg 2015, "What
    Teachers Should Know About the Bootstrap", section 4.3).

    Args:
        values: [n] of the draws; those that are not defined are NaN.
        images: how many speak for the number.

    Returns:
        NaN where they are fewer than `FEWEST_IMAGES`.
    """
    defined = values[~np.isnan(values)]
    if images < FEWEST_IMAGES or defined.size == 0:
        return Interval(float("nan"), float("nan"))
    outside = NormalDist().cdf(-math.sqrt(images / (images - 1)) * student(images - 1))
    low, high = np.percentile(defined, [100 * outside, 100 * (1 - outside)])
    return Interval(float(low), float(high))


def student(freedom: float) -> float:
    """The 97.5 % point of Student's t.

    Args:
        freedom: degrees of freedom, 1 or more. From 5 on by Abramowitz and Stegun 26.7.5, to 0.005;
            below that of the whole number under it, exactly, so that intervals are rather too wide.
    """
    if freedom < len(_STUDENT) + 1:
        return _STUDENT[int(freedom) - 1]
    z = NormalDist().inv_cdf(0.975)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))


def mean_of_draws(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes of each draw, [R, K] to [R]; NaN where no class has objects."""
    defined = ~np.isnan(values)
    number = defined.sum(axis=1)
    sums = np.where(defined, values, 0.0).sum(axis=1)
    return np.asarray(np.where(number > 0, sums / np.maximum(number, 1), np.nan))


def weighted_class_aps(
    pool: MatchTable, matches: Matches, weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """AP of each class at each IoU threshold, each image counted as often as its weight says.

    With all weights 1 these are COCO's.

    Args:
        pool: all images.
        matches: at T thresholds.
        weights: [R, I] float32, whole numbers.

    Returns:
        [R, K, T]; NaN where a class has no objects in a draw.
    """
    aps = np.full((len(weights), pool.classes, len(matches.ious)), np.nan)
    true_positives, ignored = matches.true_positives, matches.ignored
    for label in np.flatnonzero(pool.objects_of_class(matches.counted)).tolist():
        own = matches.counted & (pool.object_labels == label)
        shown = np.bincount(pool.object_image[own], minlength=pool.images)
        objects = weights @ shown.astype(np.float32)
        order = pool.of_class(label)
        # What is ignored at every threshold changes nothing: most detections, in a range of areas.
        order = order[~ignored[:, order].all(axis=0)]
        image = pool.image[order]
        step = max(1, CELLS // max(1, len(order)))
        for start in range(0, len(weights), step):
            draw = slice(start, start + step)
            aps[draw, label] = _weighted_aps(
                weights[draw].take(image, axis=1),
                objects[draw],
                true_positives[:, order],
                ignored[:, order],
            )
    return aps


def _weighted_aps(
    weights: NDArray[np.float32],
    objects: NDArray[np.float32],
    true_positives: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """AP [R, T] of one class.

    Precision rises at right detections only, so that it is needed there only; and it is needed as
    the highest from each of the 101 recalls on.

    Args:
        weights: [R, D] of each detection's image, best detection first.
        objects: [R] weighted number.
        true_positives, ignored: [T, D].
    """
    aps = np.zeros((len(weights), len(true_positives)))
    everything = np.cumsum(weights, axis=1)
    needed = _hits_needed(objects)
    for level, (hit, skip) in enumerate(zip(true_positives, ignored, strict=True)):
        places = np.flatnonzero(hit)
        if len(places) == 0:
            continue
        counted = everything.take(places, axis=1)
        if skip.any():
            out = np.flatnonzero(skip)
            gone = np.cumsum(weights.take(out, axis=1), axis=1)
            before = np.searchsorted(out, places)
            counted[:, before > 0] -= gone.take(before[before > 0] - 1, axis=1)
        hits = np.cumsum(weights.take(places, axis=1), axis=1, dtype=np.float64)
        aps[:, level] = _mean_best(hits, hits / np.maximum(counted, 1), needed)
    aps[objects == 0] = np.nan
    return aps


def _hits_needed(objects: NDArray[np.float32]) -> NDArray[np.float64]:
    """The least number of right detections that reaches each recall of `RECALLS`, [R, 101]."""
    total = np.maximum(objects.astype(np.float64), 1)[:, None]
    needed = np.ceil(RECALLS * total)
    # hits / total >= recall must hold as computed: rounding may be off by one either way.
    needed = np.where((needed - 1) / total >= RECALLS, needed - 1, needed)
    return np.asarray(np.where(needed / total < RECALLS, needed + 1, needed))


def _mean_best(
    hits: NDArray[np.float64], precision: NDArray[np.float64], needed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean over the needed hits of the best precision from there on, [R]; 0 where not reached.

    All rows are searched at once, laid end to end and each raised above the one before.

    Args:
        hits: [R, N] rising.
        precision: [R, N] at those hits.
        needed: [R, 101] rising from 0.
    """
    rows, columns = hits.shape
    first = np.arange(rows)[:, None]
    height = max(float(hits[:, -1].max()), float(needed.max())) + 1
    line = (hits + first * height).ravel()
    places = np.searchsorted(line, needed + first * height, side="left") - first * columns
    # One more column, without precision, is where recalls that are not reached end up.
    padded = np.pad(precision, ((0, 0), (0, 1))).ravel()
    between = np.maximum.reduceat(padded, (places + first * (columns + 1)).ravel())
    best = np.maximum.accumulate(between.reshape(needed.shape)[:, ::-1], axis=1)
    return np.asarray(best.mean(axis=1))
