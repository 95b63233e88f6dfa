"""The batch-size finder: double the batch until it no longer fits into the device's memory."""

from __future__ import annotations

from collections.abc import Callable

from foveal.errors import TrainingError

MAX_BATCH = 1024


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
        raise TrainingError(
            f"Not even a batch of {start} fits into the memory. Make the images smaller, --set "
            "preparation.shorter=N --set preparation.longer=N, or choose a smaller network, --set "
            "model.backbone=NAME."
        )
    size = start
    while 2 * size <= max_batch and fits(2 * size):
        size *= 2
    return size
