"""AP by how many images were learned from, and what twice as many would bring.

The share that is missing to AP 1 falls as a power of the number of images, a * n ** -b, over the
range that a data set has (Hestness et al. 2017, "Deep Learning Scaling is Predictable,
Empirically"). Where the power law leads beyond the last point is a guess. Its interval counts two
kinds of chance: which images AP is measured on (the same draws for all points), and how a training
happens to turn out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.bootstrap import FEWEST_IMAGES, interval
from foveal.evaluation.results import Interval
from foveal.text import counted, decimal

TRAINING_SPREAD = 0.01
"""Standard deviation of AP between trainings alike, where the points do not show a larger one."""
HARDLY = 0.01
"""AP that is next to nothing."""
_LEAST_MISSING = 1e-3
_POINTS = 33


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Where the curve leads.

    Attributes:
        images: twice the most images that were learned from.
        gain: AP at that less AP at the most images, both by the fitted curve.
        interval: 95 % of the gain.
        spread: standard deviation of a training's AP that it counts.
        line: [P, 4], the fitted curve: images, AP, and the ends of its 95 % interval.
    """

    images: int
    gain: float
    interval: Interval
    spread: float
    line: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LearningCurve:
    """AP by how many images were learned from.

    Attributes:
        images: how many, rising.
        aps: AP of each; NaN where undefined.
        intervals: 95 % of each, by resampling the validation images.
        speaking: how many validation images show objects.
        forecast: where it leads; None where that can't be told.
    """

    images: tuple[int, ...]
    aps: tuple[float, ...]
    intervals: tuple[Interval, ...]
    speaking: int
    forecast: Forecast | None

    def describe(self) -> list[str]:
        """What twice the images would bring, in a few careful sentences."""
        most = self.images[-1]
        if self.forecast is None:
            why = (
                f"only {counted(self.speaking, 'validation image')} "
                f"{'shows' if self.speaking == 1 else 'show'} objects"
                if self.speaking < FEWEST_IMAGES
                else "AP is undefined or 0 somewhere on the curve"
            )
            return [f"What twice the {most:,} images would bring can't be told: {why}."]
        said = self.forecast
        about = f"{_signed(said.gain)} AP ({_signed(said.interval.low)} to "
        about += f"{_signed(said.interval.high)}, 95 %)"
        twice = f"twice the images, {said.images:,} in place of {most:,},"
        if said.interval.high < HARDLY:
            first = f"More images like these would hardly help: {twice} would bring about {about}."
        elif said.interval.low > 0:
            first = f"{twice.capitalize()} would bring about {about}."
        elif said.gain <= 0:
            first = f"AP did not rise with the images, so that {twice} promise nothing: {about}."
        else:
            first = f"Whether {twice} would help can't be told from these trainings: about {about}."
        lines = [
            first,
            f"That holds if the curve goes on as it did from {self.images[0]:,} to {most:,} "
            "images, with images of the same kind. The interval counts which images validate, and "
            f"that a training may turn out better or worse by {decimal(said.spread)} AP "
            + (
                "(assumed)."
                if said.spread == TRAINING_SPREAD
                else "(so far the points lie off the curve)."
            ),
        ]
        if len(self.images) == 2:
            lines.append(
                "Two points always lie on such a curve. A third fraction would show whether it is "
                "one."
            )
        return lines


def make_learning_curve(
    images: Sequence[int],
    aps: Sequence[float],
    draws: NDArray[np.float64],
    *,
    speaking: int,
    seed: int,
) -> LearningCurve:
    """Put points together, and fit the power law where enough speaks for it.

    Args:
        images: how many each training learned from, rising; two or more.
        aps: AP of each on the same validation images.
        draws: [points, R] AP of each under the same draws of those images; NaN where undefined.
        speaking: how many validation images show objects.
        seed: of what is drawn for the interval.
    """
    known = np.asarray(aps, np.float64)
    defined = draws[:, ~np.isnan(draws).any(axis=0)]
    can_tell = (
        speaking >= FEWEST_IMAGES and defined.size > 0 and bool((known > 0).all())
    )  # NaN is not above 0
    return LearningCurve(
        tuple(images),
        tuple(known.tolist()),
        tuple(interval(row) for row in draws),
        speaking,
        _forecast(np.asarray(images, np.float64), known, defined, seed=seed) if can_tell else None,
    )


def _forecast(
    images: NDArray[np.float64],
    aps: NDArray[np.float64],
    draws: NDArray[np.float64],
    *,
    seed: int,
) -> Forecast:
    most = images[-1]
    grid = np.append(np.geomspace(images[0], 2 * most, _POINTS - 1), most)
    grid.sort()
    last, end = int(np.searchsorted(grid, most)), len(grid) - 1
    fitted = _fit(images, aps[:, None], grid)[:, 0]
    spread = TRAINING_SPREAD
    if len(images) > 2:
        residuals = aps - _fit(images, aps[:, None], images)[:, 0]
        spread = max(spread, math.sqrt(float(residuals @ residuals) / (len(images) - 2)))
    chance = np.random.default_rng(seed).normal(0, spread, draws.shape)
    curves = _fit(images, draws + chance, grid)
    low, high = np.percentile(curves, [2.5, 97.5], axis=1)
    return Forecast(
        images=2 * int(most),
        gain=float(fitted[end] - fitted[last]),
        interval=interval(curves[end] - curves[last]),
        spread=spread,
        line=np.stack([grid, fitted, low, high], axis=1),
    )


def _fit(
    images: NDArray[np.float64], aps: NDArray[np.float64], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The power law through points, by least squares of logarithms.

    Args:
        images: [points].
        aps: [points, R], a fit for each column.
        grid: [P] numbers of images.

    Returns:
        AP at those, [P, R].
    """
    x, y = np.log(images), np.log(np.maximum(1 - aps, _LEAST_MISSING))
    centered = x - x.mean()
    slopes = centered @ y / (centered @ centered)
    middle = y.mean(axis=0)
    return np.asarray(1 - np.exp(middle + np.outer(np.log(grid) - x.mean(), slopes)))


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
