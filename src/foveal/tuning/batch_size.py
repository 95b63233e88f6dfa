"""The batch size: the largest that fits into the device's memory, or the one to train with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foveal.errors import TrainingError
from foveal.text import counted

MAX_BATCH = 1024
USUAL_BATCH = 8
LEAST_STEPS = 16
"""A batch is not made so large that an epoch has fewer steps."""
_WORTH_DOUBLING = 1.1
"""Twice the images a step must bring so many times the images a second."""


def find_batch_size(
    fits: Callable[[int], bool], *, start: int = 1, max_batch: int = MAX_BATCH
) -> int:
    """The largest batch that fits among `start`, twice that, four times that and so on.

    Powers of two leave some memory free, which images with more objects need.

    Args:
        fits: trains one step on so many images; False where the memory is too small.
        start: the first batch tried; the other ones are multiples of it.
        max_batch: no larger batch is tried.

    Raises:
        TrainingError: not even `start` images fit.
    """
    if not fits(start):
        raise _no_room(start)
    size = start
    while 2 * size <= max_batch and fits(2 * size):
        size *= 2
    return size


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """A batch to train with.

    Attributes:
        batch: images a step.
        speeds: images a second by the batches that were tried.
        reason: why it is no larger one, as the end of a sentence.
    """

    batch: int
    speeds: dict[int, float]
    reason: str

    @property
    def text(self) -> str:
        """What was chosen and why."""
        return (
            f"Batches of {counted(self.batch, 'image')}, at {self.speeds[self.batch]:.3g} images/s:"
            f" {self.reason}. The learning rate follows."
        )


def choose_batch(
    seconds: Callable[[int], float | None], *, images: int, start: int = USUAL_BATCH
) -> BatchChoice:
    """The batch to train with: the usual one, or a larger one where that is faster.

    It is doubled as long as it fits, brings clearly more images a second and leaves an epoch
    enough steps, and halved where the memory is too small.

    Args:
        seconds: how long a step over so many images takes; None where the memory is too small.
        images: of the training data.
        start: the usual batch.

    Raises:
        TrainingError: not even one image fits.
    """
    batch = start
    while (taken := seconds(batch)) is None:
        if batch == 1:
            raise _no_room(1)
        batch //= 2
    speeds = {batch: batch / taken}
    if batch < start:
        reason = f"{2 * batch} do not fit into the memory"
        return BatchChoice(batch, speeds, reason)
    while True:
        double = 2 * batch
        if images < LEAST_STEPS * double:
            reason = (
                f"with {double} an epoch of {counted(images, 'image')} would have fewer than "
                f"{LEAST_STEPS} steps"
            )
            break
        taken = seconds(double)
        if taken is None:
            reason = f"{double} do not fit into the memory"
            break
        speeds[double] = double / taken
        if speeds[double] < _WORTH_DOUBLING * speeds[batch]:
            reason = f"{double} bring {speeds[double]:.3g}, too little more for half the steps"
            break
        batch = double
    return BatchChoice(batch, speeds, reason)


def _no_room(images: int) -> TrainingError:
    return TrainingError(
        f"Not even a batch of {images} fits into the memory. Make the images smaller, --set "
        "preparation.shorter=N --set preparation.longer=N, or choose a smaller network, --set "
        "model.backbone=NAME."
    )
