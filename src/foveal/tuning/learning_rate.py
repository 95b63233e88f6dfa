"""The learning-rate finder: train a little at every learning rate, watch the loss (Smith 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.errors import TrainingError
from foveal.files import write_file
from foveal.text import counted

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 100
SMOOTHING = 0.9
DIVERGENCE = 4.0
"""The sweep ends where the smoothed loss is so many times its lowest value."""

FRACTION_OF_LOWEST = 0.1
MIN_FALL = 0.02
"""A loss that falls by less than this share has not been trained at all."""


@dataclass(frozen=True, slots=True)
class LearningRateCurve:
    """What a sweep found; all sequences have one entry a step.

    Attributes:
        learning_rates: growing by a constant factor, for the batch in use.
        losses: as they came.
        smoothed: their moving average, on which the suggestion rests.
        suggestion: the learning rate to use, for the batch in use.
        lowest: the learning rate at which the smoothed loss was lowest.
        diverged: whether the sweep ended because the loss grew.
        rule: how the suggestion was found, in words.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float
    lowest: float
    diverged: bool
    rule: str

    def to_svg(self) -> str:
        """The curve as a drawing, the suggestion marked; a notebook shows it by itself."""
        from foveal.visualization.charts import draw_learning_rates

        return draw_learning_rates(
            np.asarray(self.learning_rates), np.asarray(self.smoothed), chosen=self.suggestion
        )

    _repr_svg_ = to_svg

    def to_table(self) -> list[dict[str, float]]:
        """One row for each step: learning_rate, loss and smoothed, its moving average."""
        return [
            {"learning_rate": learning_rate, "loss": loss, "smoothed": smoothed}
            for learning_rate, loss, smoothed in zip(
                self.learning_rates, self.losses, self.smoothed, strict=True
            )
        ]

    def __repr__(self) -> str:
        return (
            f"<LearningRateCurve suggests {self.suggestion:.2g} ({self.rule}); "
            f"{counted(len(self.losses), 'step')} from {self.learning_rates[0]:.2g} to "
            f"{self.learning_rates[-1]:.2g}>"
        )

    def save(self, path: str | Path) -> None:
        """Write the drawing as an SVG file.

        Raises:
            FovealError: it can't be written.
        """
        write_file(path, self.to_svg())


def find_learning_rate(
    step: Callable[[float], float],
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    steps: int = STEPS,
    smoothing: float = SMOOTHING,
    divergence: float = DIVERGENCE,
) -> LearningRateCurve:
    """Raise the learning rate from step to step until the loss grows, and suggest one.

    The suggestion is the learning rate at which the smoothed loss falls steepest (per factor of the
    learning rate), but at most a tenth of the one at which it is lowest.

    Args:
        step: trains one step with a learning rate and gives the loss before it.
        lowest, highest: the sweep's ends.
        steps: the most steps taken.
        smoothing: decay of the moving average.
        divergence: where the sweep ends early, as a multiple of the lowest smoothed loss.

    Raises:
        TrainingError: the loss never fell.
    """
    learning_rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    for number, learning_rate in enumerate(np.geomspace(lowest, highest, steps)):
        loss = step(float(learning_rate))
        diverged = not math.isfinite(loss)
        if diverged:
            break
        average = smoothing * average + (1 - smoothing) * loss
        learning_rates.append(float(learning_rate))
        losses.append(loss)
        smoothed.append(average / (1 - smoothing ** (number + 1)))
        diverged = smoothed[-1] > divergence * min(smoothed)
        if diverged:
            break
    suggestion, at_lowest, rule = suggest(learning_rates, smoothed)
    return LearningRateCurve(
        tuple(learning_rates),
        tuple(losses),
        tuple(smoothed),
        suggestion,
        at_lowest,
        diverged,
        rule,
    )


def suggest(learning_rates: Sequence[float], smoothed: Sequence[float]) -> tuple[float, float, str]:
    """Read a learning rate off a curve: (suggestion, where the loss is lowest, the rule used).

    Raises:
        TrainingError: the curve has fewer than three points or does not fall.
    """
    values = np.asarray(smoothed)
    bottom = int(values.argmin()) if len(values) else 0
    if len(values) < 3 or values[bottom] > (1 - MIN_FALL) * values[0]:
        raise TrainingError(
            "No learning rate lowered the loss, so none can be suggested. Look at the data "
            "(foveal data check), or sweep over more steps."
        )
    slopes = np.gradient(values, np.log(learning_rates))[: bottom + 1]
    steepest = learning_rates[int(slopes.argmin())]
    tenth = FRACTION_OF_LOWEST * learning_rates[bottom]
    if tenth < steepest:
        return tenth, learning_rates[bottom], "a tenth of where the loss is lowest"
    return steepest, learning_rates[bottom], "where the loss falls steepest"
