"""Training steps on a copy of a model: for the learning-rate and batch-size finders."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from foveal.errors import DeviceMemoryError
from foveal.structures import Batch
from foveal.training.loaders import make_batches
from foveal.training.setup import make_accelerator, make_train_step

if TYPE_CHECKING:
    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.models.retinanet import RetinaNet

_STEPS_TIMED = 3


class Trial:
    """Trains a copy of a model for a few steps; the model itself stays as it is.

    Used as a context, it ends the processes that load images.

    Args:
        model: is copied.
        settings: how it is trained; torch.compile is left out.
        data: the training images; they come again and again.
    """

    def __init__(self, model: RetinaNet, settings: Settings, data: Dataset) -> None:
        self._accelerator = make_accelerator()
        self._batches = make_batches(settings, data, accelerator=self._accelerator)
        self._train_step = make_train_step(
            copy.deepcopy(model),
            settings,
            classes=data.classes,
            accelerator=self._accelerator,
            compiled=False,
        )
        self._parts = self._endless()
        self._number = 0

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._batches.close()

    def step(self, learning_rate: float) -> float:
        """Train one step and give the loss before it, which may be not finite.

        Args:
            learning_rate: for the batch in use, not for the reference batch.
        """
        with torch.random.fork_rng(devices=[]):
            result = self._train_step.step(next(self._parts), learning_rate, number=self._number)
        self._number += 1
        return result.loss if result.applied else math.nan

    def fits(self) -> bool:
        """Train one step; False where the device's memory is too small for it."""
        try:
            self.step(0.0)
        except DeviceMemoryError:
            self._train_step.optimizer.zero_grad(set_to_none=True)
            if self._accelerator.device.type == "cuda":
                torch.cuda.empty_cache()
            return False
        return True

    def seconds(self) -> float | None:
        """How long a step takes once its images are read; None where the memory is too small."""
        if not self.fits():
            return None
        batches = [next(self._parts) for _ in range(_STEPS_TIMED)]
        began = time.perf_counter()
        with torch.random.fork_rng(devices=[]):
            for parts in batches:
                self._train_step.step(parts, 0.0, number=self._number)
        return (time.perf_counter() - began) / _STEPS_TIMED

    def _endless(self) -> Iterator[Sequence[Batch]]:
        epoch = 0
        while True:
            yield from self._batches.epoch(epoch)
            epoch += 1


def seconds_a_step(
    model: RetinaNet, settings: Settings, data: Dataset, *, images: int
) -> float | None:
    """How long a training step over so many images takes; None where they do not fit.

    The images are those of `fits_into_memory`.
    """
    with _trial_of(model, settings, data, images=images) as trial:
        return trial.seconds()


def fits_into_memory(model: RetinaNet, settings: Settings, data: Dataset, *, images: int) -> bool:
    """Whether a training step over so many images fits into the device's memory.

    The images are the data's first ones, repeated where there are too few.
    """
    with _trial_of(model, settings, data, images=images) as trial:
        return trial.fits()


def _trial_of(model: RetinaNet, settings: Settings, data: Dataset, *, images: int) -> Trial:
    """A trial with batches of so many images, which are repeated where there are too few."""
    training = settings.training.model_copy(update={"batch": images, "workers": 0})
    indices = [index % len(data) for index in range(images)]
    changed = settings.model_copy(update={"training": training})
    return Trial(model, changed, data.take(indices))
