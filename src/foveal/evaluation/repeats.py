"""A number of several trainings of one recipe: its mean, and how sure that is.

Two kinds of chance are in it: which images it was measured on, and with which seed it was trained.
The images' part is the variance of the mean under draws of the images (a bootstrap, the same images
for all trainings); the seeds' part is the variance between the trainings over their number. Their
sum has Welch and Satterthwaite's degrees of freedom, and Student's t gives the interval: with three
trainings that differ it is wide, as it has to be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.evaluation.bootstrap import (
    FEWEST_IMAGES,
    draw_weights,
    mean_of_draws,
    student,
    weighted_class_aps,
)
from foveal.evaluation.coco_metrics import make_range_table
from foveal.evaluation.matching import make_pool
from foveal.evaluation.results import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.structures import Detections, Target

RESAMPLES = 500
"""How often the images are drawn again."""
_UNKNOWN = Interval(math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Draws:
    """AP and AP50 of one training under draws of the images it was measured on.

    Attributes:
        ap, ap50: [R] of each draw; NaN where no class has objects in it.
        images: how many images show objects.
    """

    ap: NDArray[np.float64]
    ap50: NDArray[np.float64]
    images: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over trainings.

    Attributes:
        value: the mean; NaN where a training has no such number.
        interval: 95 %; NaN where too few images speak for it.
        lowest, highest: of the trainings.
        trainings: how many.
        freedom: degrees of freedom of the interval.
        variance: of the mean.
    """

    value: float
    interval: Interval
    lowest: float
    highest: float
    trainings: int
    freedom: float
    variance: float


def draw_aps(
    detections: Sequence[Detections],
    targets: Sequence[Target],
    classes: int,
    *,
    max_detections: int = 100,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Draws:
    """AP and AP50, [R] each, when the I images are drawn anew.

    The draws depend on the number of images and the seed alone: those of two detectors on the same
    images go together.

    Args:
        detections: one for each image, with low scores still in; original pixels.
        targets: one for each image, original pixels.
        classes: how many there are.
        max_detections: how many detections of each image and class take part.
        resamples: how many draws.
        seed: of the draws.

    Raises:
        DataError: detections and targets do not fit together.
    """
    pool = make_pool(detections, targets, classes=classes, max_detections=max_detections)
    matches = make_range_table(pool).matches
    weights = draw_weights(pool.images, draws=resamples, seed=seed)
    draws = weighted_class_aps(pool, matches, weights)
    shown = len(np.unique(pool.object_image[matches.counted]))
    return Draws(mean_of_draws(draws.mean(axis=2)), mean_of_draws(draws[:, :, 0]), shown)


def estimate(
    values: Sequence[float], draws: Sequence[NDArray[np.float64]], *, images: int
) -> Estimate:
    """The mean of a number over trainings that were measured on the same images.

    For a difference of two recipes give the differences: of the values of each seed, and of its
    draws. What makes an image hard, or an order of images lucky, then falls out.

    Args:
        values: one for each training.
        draws: of each training [R], of the same images in each draw.
        images: how many of them show objects.
    """
    numbers = np.asarray(values, np.float64)
    value = float(numbers.mean()) if len(numbers) else math.nan
    if math.isnan(value):
        return Estimate(value, _UNKNOWN, math.nan, math.nan, len(numbers), math.nan, math.nan)
    parts = [_Part(_variance(np.mean(np.stack(draws), axis=0)), images - 1)]
    if len(numbers) > 1:
        parts.append(_Part(float(numbers.var(ddof=1)) / len(numbers), len(numbers) - 1))
    known = images >= FEWEST_IMAGES and not math.isnan(parts[0].variance)
    variance, freedom = _together(parts) if known else (math.nan, math.nan)
    return Estimate(
        value,
        _interval(value, variance, freedom) if known else _UNKNOWN,
        float(numbers.min()),
        float(numbers.max()),
        len(numbers),
        freedom,
        variance,
    )


def mean_of_estimates(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of the same number on several data sets, and its interval.

    The interval is about these data sets: how another one would do is not in it.

    Args:
        estimates: one for each data set.
    """
    values = [each.value for each in estimates]
    count = len(values)
    value = math.fsum(values) / count if count else math.nan
    parts = [_Part(each.variance / count**2, each.freedom) for each in estimates]
    known = bool(parts) and not any(math.isnan(each.interval.low) for each in estimates)
    variance, freedom = _together(parts) if known else (math.nan, math.nan)
    return Estimate(
        value,
        _interval(value, variance, freedom) if known else _UNKNOWN,
        min((each.lowest for each in estimates), default=math.nan),
        max((each.highest for each in estimates), default=math.nan),
        sum(each.trainings for each in estimates),
        freedom,
        variance,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a variance, and how well it is known."""

    variance: float
    freedom: float


def _together(parts: Sequence[_Part]) -> tuple[float, float]:
    """The sum of independent variances and its degrees of freedom (Welch and Satterthwaite)."""
    variance = math.fsum(part.variance for part in parts)
    square = math.fsum(part.variance**2 / part.freedom for part in parts if part.variance > 0)
    if square > 0:
        return variance, variance**2 / square
    return variance, min((max(1.0, part.freedom) for part in parts), default=math.nan)


def _interval(value: float, variance: float, freedom: float) -> Interval:
    half = student(max(1.0, freedom)) * math.sqrt(variance)
    return Interval(value - half, value + half)


def _variance(values: NDArray[np.float64]) -> float:
    """Of those of the draws [R] that are defined."""
    defined = values[~np.isnan(values)]
    return float(defined.var(ddof=1)) if len(defined) > 1 else math.nan
