"""Steps tried before a run begins, on its own network; `TrainStep.trying` undoes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from foveal.training import budget
from foveal.training.budget import Pace

if TYPE_CHECKING:
    from foveal.config import TrainingSettings
    from foveal.training.loaders import RunBatches
    from foveal.training.step import TrainStep

_FIRST_STEPS = 2
"""So many steps tried count for nothing: the first ones are slower."""
_MOST_STEPS = 30
_MOST_SECONDS = 20.0
_MOST_OF_MINUTES = 0.015


def try_full_size(train_step: TrainStep, batches: RunBatches) -> None:
    """Try a step at the size that comes last: if it fails, then before the run has begun.

    Raises:
        DeviceMemoryError: the device's memory is too small for it.
    """
    with train_step.trying():
        for parts in batches.epoch(0, progress=1.0):
            train_step.step(parts, 0.0)
            break


def try_pace(
    train_step: TrainStep,
    batches: RunBatches,
    training: TrainingSettings,
    *,
    stop_requested: Callable[[], bool],
    validation_images: int,
) -> Pace:
    """How fast steps at full size go; the validation's time is a guess.

    Args:
        train_step: of the run.
        batches: of the run.
        training: settings with minutes.
        stop_requested: whether a signal asks to end.
        validation_images: that a validation looks at.
    """
    assert training.minutes is not None
    longest = min(_MOST_SECONDS, _MOST_OF_MINUTES * 60 * training.minutes)
    with train_step.trying():
        step = _try_steps(train_step, batches, longest=longest, stop_requested=stop_requested)
    return Pace(step, validation=validation_images * step / training.batch / 2)


def _try_steps(
    train_step: TrainStep,
    batches: RunBatches,
    *,
    longest: float,
    stop_requested: Callable[[], bool],
) -> float:
    """Seconds that a step takes at full size, by steps of so many seconds at the longest."""
    began = budget.now()
    ends = []
    shown = (parts for epoch in range(_MOST_STEPS) for parts in batches.epoch(epoch, progress=1.0))
    with contextlib.closing(shown):
        for number, parts in enumerate(shown):
            taken = budget.now() - began
            enough = (
                number + 1 >= _MOST_STEPS
                or (number >= 2 * _FIRST_STEPS and taken > longest)
                or (number > 0 and taken > 2 * longest)
            )
            stop = enough or stop_requested()
            result = train_step.step(parts, 0.0, number=number, stop=stop)
            ends.append(budget.now())
            if result.stop:
                break
    if len(ends) > _FIRST_STEPS:
        return max(1e-6, ends[-1] - ends[_FIRST_STEPS - 1]) / (len(ends) - _FIRST_STEPS)
    return max(1e-6, budget.now() - began) / max(1, len(ends))
