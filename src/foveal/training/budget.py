"""How many steps fit into the minutes that a run may take.

Before the first epoch some steps are tried on a copy of the network. After each epoch the rest is
planned anew by what the steps and the validation really took, so that the run ends in time though
the machine is faster or slower than at first. The plan is kept with the run's state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foveal.data.loading.phases import ONE_PHASE, Phases
from foveal.text import counted, duration

MOST_STEPS = 2**40
LEAST_REST = 0.05
"""A last epoch with a smaller share of its steps is left out: its validation costs more."""

_OVER_WORTH_WORDS = 0.05
"""By so much of its minutes a run may take longer without a word."""

now = time.perf_counter
"""Seconds; time in which the machine sleeps is not counted on Linux."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run goes.

    Attributes:
        step: seconds that a step at the preparation's size takes, waiting for data included.
        validation: seconds that a validation takes; 0 where there is none.
    """

    step: float
    validation: float = 0.0

    def as_values(self) -> dict[str, Any]:
        """The pace as JSON can hold it."""
        return {"step": self.step, "validation": self.validation}

    @staticmethod
    def from_values(values: Mapping[str, Any]) -> Pace:
        """What `as_values` gave."""
        return Pace(values["step"], validation=values["validation"])


@dataclass(frozen=True, slots=True)
class Course:
    """What a run consists of, whatever its length.

    Attributes:
        steps: of an epoch.
        shorter: the preparation's shorter side, input pixels.
        evaluate_every: epochs from one validation to the next.
        phases: which epochs are shown smaller.
    """

    steps: int
    shorter: int
    evaluate_every: int = 1
    phases: Phases = ONE_PHASE

    def cost(self, progress: float) -> float:
        """How long a step takes at a share of the run, by pixels: 1 for one at full size."""
        return float((self.phases.shorter_at(progress, self.shorter) / self.shorter) ** 2)

    def seconds(
        self, total: int, pace: Pace, *, epochs_done: int = 0, steps_done: int = 0
    ) -> float:
        """How long the rest of a run takes.

        Args:
            total: steps of the whole run.
            pace: how fast it goes.
            epochs_done: epochs that were trained and validated.
            steps_done: of the epoch after them.
        """
        epochs = math.ceil(total / self.steps)
        work = 0.0
        for epoch in range(epochs_done, epochs):
            first = epoch * self.steps
            steps = min(self.steps, total - first) - (steps_done if epoch == epochs_done else 0)
            work += steps * self.cost(first / total)
        every = self.evaluate_every
        validations = epochs // every - epochs_done // every
        if epochs % every and epochs > epochs_done:
            validations += 1
        return work * pace.step + validations * pace.validation


def affordable_steps(
    seconds: float, course: Course, pace: Pace, *, epochs_done: int = 0, steps_done: int = 0
) -> int:
    """The most steps that a run may have in all to end within some seconds.

    Args:
        seconds: that are left.
        course: what the run consists of.
        pace: how fast it goes.
        epochs_done: epochs that were trained and validated.
        steps_done: of the epoch after them; no fewer are given than are done.
    """

    def fits(total: int) -> bool:
        return (
            course.seconds(total, pace, epochs_done=epochs_done, steps_done=steps_done) <= seconds
        )

    low = least = max(1, epochs_done * course.steps + steps_done)
    if not fits(low):
        return low
    high = 2 * low
    while high < MOST_STEPS and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    rest = low % course.steps
    whole = low - rest
    if rest < LEAST_REST * course.steps and whole >= least:
        return whole
    return low


class Budget:
    """The time that a run may take.

    Args:
        minutes: for trying steps, training and validating, over all parts of a resumed run.
        spent: seconds that earlier parts took.
    """

    def __init__(self, minutes: float, *, spent: float = 0.0) -> None:
        self.minutes = minutes
        self._before = spent
        self._began = now()

    @property
    def spent(self) -> float:
        """Seconds so far, over all parts of the run."""
        return self._before + now() - self._began

    @property
    def left(self) -> float:
        """Seconds, below 0 where they are over."""
        return 60 * self.minutes - self.spent


def describe_plan(minutes: float, *, total: int, steps: int, pace: Pace, over: float = 0.0) -> str:
    """What fits into the minutes, in words.

    Args:
        minutes: that were given.
        total: steps that were planned.
        steps: of an epoch.
        pace: as it was measured.
        over: seconds by which even that is too long.
    """
    validation = (
        f", and a validation after {'each epoch' if total >= steps else 'them'} of about "
        f"{pace.validation:.2g} s"
        if pace.validation
        else ""
    )
    text = (
        f"There is time for about {_epochs(total, steps)} in {in_minutes(minutes)}: a step takes "
        f"{pace.step:.2g} s{validation}. The number follows what they really take; the report and "
        "the export come afterwards."
    )
    if total < steps:
        text += (
            " So not every image is seen. Give more minutes, or smaller images: --set "
            "preparation.shorter=N."
        )
    if over > _OVER_WORTH_WORDS * 60 * minutes:
        text += (
            f" Even that takes about {duration(over)} longer than {in_minutes(minutes)}: a run has "
            "one step at least, and is measured at its end."
        )
    return text


def describe_spent(
    minutes: float, *, spent: float, tried: float, measured: float, steps: int
) -> str:
    """How long a run took, and where it took longer than it might, what for.

    Args:
        minutes: that were given.
        spent: seconds that it took.
        tried: of these, for trying how long a step takes.
        measured: for validations and saving.
        steps: that were trained; 0 where it was done in several parts, whose times are not known.
    """
    over = spent - 60 * minutes
    if over <= _OVER_WORTH_WORDS * 60 * minutes:
        return f"It took {spent / 60:.1f} of {in_minutes(minutes)}."
    text = f"It took {duration(spent)}, {duration(over)} longer than {in_minutes(minutes)}"
    if not steps:
        return f"{text}."
    rest = spent - tried - measured
    return (
        f"{text}: {duration(tried)} for trying how long a step takes, {duration(rest)} for "
        f"{counted(steps, 'step')}, {duration(measured)} for measuring and saving. A run has one "
        "step at least, and is measured at its end, however long that takes."
    )


def describe_change(*, total: int, before: int, steps: int) -> str:
    """That another number of steps fits than was planned, in words; steps are an epoch's."""
    word = "more" if total > before else "fewer"
    return (
        f"The run will have {_epochs(total, steps)}, {abs(total - before) / steps:.1f} {word} than "
        "was said: that is what its minutes are time for."
    )


def in_minutes(minutes: float) -> str:
    """Minutes that were given, in words."""
    return f"{minutes:g} minute" + ("" if minutes == 1 else "s")


def _epochs(total: int, steps: int) -> str:
    epochs = total / steps
    if total < steps:
        return f"{total:,} of the {counted(steps, 'step')} of an epoch"
    shown = f"{epochs:.0f}" if total % steps == 0 else f"{epochs:.1f}"
    return f"{shown} {'epoch' if shown == '1' else 'epochs'}"
