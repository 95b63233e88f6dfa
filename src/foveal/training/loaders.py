"""A run's batches: from the settings to what each process computes at each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.data.loading.loader import TrainingBatches, training_batches
from foveal.data.loading.phases import Phases
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.preparation import make_pixel_range, make_preparation
from foveal.data.transforms.user import Change, load_augmentation
from foveal.errors import SettingsError
from foveal.structures import Batch
from foveal.text import counted, percent

if TYPE_CHECKING:
    from accelerate import Accelerator

    from foveal.config import PreparationSettings, Settings
    from foveal.data.dataset import Dataset
    from foveal.data.loading.windows import WindowPlan


class RunBatches:
    """This process's batches, each in the parts of gradient accumulation.

    Attributes:
        steps: batches an epoch.
        images: an epoch has so many, the repeated ones several times.
        windows: which windows an epoch has; None where images are shown whole.
    """

    def __init__(self, batches: TrainingBatches, *, accumulate: int) -> None:
        self._batches = batches
        self._accumulate = accumulate
        self.steps = batches.steps
        self.images = batches.images
        self.windows = batches.windows

    def epoch(
        self, epoch: int, *, start_step: int = 0, progress: float = 1.0
    ) -> Iterator[Sequence[Batch]]:
        """The steps of an epoch, from one of them on.

        Args:
            epoch: from 0.
            start_step: the first one wanted.
            progress: the share of the run that is done when the epoch begins, 0..1.

        Raises:
            ImageError: an image can't be read.
        """
        for batch in self._batches.epoch(epoch, start_step=start_step, progress=progress):
            yield split_batch(batch, self._accumulate)

    def close(self) -> None:
        """End the processes that load images."""
        self._batches.close()


def make_batches(
    settings: Settings, data: Dataset, *, accelerator: Accelerator, augment: Change | None = None
) -> RunBatches:
    """The batches that the settings describe, in the parts of gradient accumulation.

    Args:
        settings: all of them.
        data: the training images.
        accelerator: knows the processes.
        augment: takes the place of the settings' augmentation.

    Raises:
        ImageError, SettingsError: as for `open_batches`.
    """
    batches = open_batches(
        settings,
        data,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        augment=augment,
    )
    return RunBatches(batches, accumulate=settings.training.accumulate)


def open_batches(
    settings: Settings,
    data: Dataset,
    *,
    rank: int = 0,
    processes: int = 1,
    augment: Change | None = None,
) -> TrainingBatches:
    """The batches that the settings describe.

    Args:
        settings: all of them.
        data: the training images.
        rank, processes: which process this is, of how many.
        augment: takes the place of the settings' augmentation.

    Raises:
        ImageError: there is no image, or one of unknown size is broken.
        SettingsError: the batch can't be divided among the processes, or windows are to be shown
            in smaller inputs.
    """
    training, preparation = settings.training, settings.preparation
    return training_batches(
        data,
        make_preparation(preparation),
        augment or _augmentation(settings),
        batch=training.batch,
        seed=training.seed,
        rank=rank,
        processes=processes,
        workers=training.workers,
        cache_megabytes=training.cache_megabytes,
        sizes=training.sizes,
        bad_images=training.bad_images,
        pixel_range=make_pixel_range(settings.model, preparation),
        repeat_threshold=training.repeat_threshold
        if training.sampling == "repeat_factor"
        else None,
        background_fraction=training.background_fraction,
        min_visibility=settings.augmentation.min_visibility,
        phases=make_phases(settings),
    )


def make_phases(settings: Settings) -> Phases:
    """What changes in the course of the run.

    Raises:
        SettingsError: windows are to be shown in smaller inputs.
    """
    schedule = settings.training.size_schedule
    if schedule and settings.preparation.mode == "windows":
        raise SettingsError(
            f"training.size_schedule = {[list(pair) for pair in schedule]}: windows have one size, "
            "so that smaller inputs would save no time. Leave it out, or choose smaller windows "
            "for the whole run: --set preparation.shorter=N."
        )
    return Phases(strong_until=settings.augmentation.strong_until, sizes=schedule)


def describe_phases(settings: Settings) -> str:
    """What changes in the course of the run, in words; '' where nothing does."""
    shown = []
    before = 0.0
    for until, size in settings.training.size_schedule:
        shown.append(f"at {size} pixels until {percent(until)} of the run")
        before = until
    text = ""
    if before:
        text = (
            f"Images are shown {', then '.join(shown)}, then at {settings.preparation.shorter} "
            "pixels, with which the validation measures."
        )
    strong, until = settings.augmentation, settings.augmentation.strong_until
    if (strong.mosaic or strong.copy_paste) and until < 1 and strong.custom is None:
        text += f" After {percent(until)} of the run no more samples are made of several images."
    if settings.training.unfreeze:
        shares = ", ".join(percent(share) for share in settings.training.unfreeze)
        text += f" The backbone's stages are trained from {shares} of the run on, the last first."
    return text.strip()


def describe_windows(plan: WindowPlan, preparation: PreparationSettings) -> str:
    """Which windows an epoch has, in words.

    Args:
        plan: of the epoch.
        preparation: says how large a window is.
    """
    side = preparation.shorter / preparation.scale
    scaled = "" if preparation.scale == 1 else f", shown at {preparation.scale:g} times their size"
    parts = [
        f"{counted(number, noun)} {words}"
        for number, noun, words in (
            (plan.around_objects, "window", "around objects"),
            (plan.background, "window", "where there are none"),
            (plan.shown_whole, "image", "shown whole"),
        )
        if number
    ]
    return (
        f"An epoch has {' and '.join([', '.join(parts[:-1])] * (len(parts) > 1) + parts[-1:])}. "
        f"A window is {side:,.4g} x {side:,.4g} pixels of an image{scaled}."
    )


def _augmentation(settings: Settings) -> Augmentation | Change:
    custom = settings.augmentation.custom
    if custom is not None:
        return load_augmentation(custom)
    return Augmentation(**settings.augmentation.model_dump(exclude={"custom", "strong_until"}))


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """The images of a batch in at most so many parts of nearly the same number."""
    if parts == 1:
        return [batch]
    size = math.ceil(len(batch) / parts)
    cuts = [slice(first, first + size) for first in range(0, len(batch), size)]
    return [
        replace(
            batch,
            images=batch.images[cut],
            boxes=batch.boxes[cut],
            labels=batch.labels[cut],
            ignored=batch.ignored[cut],
            counts=batch.counts[cut],
            placements=batch.placements[cut],
            names=batch.names[cut],
            indices=batch.indices[cut],
        )
        for cut in cuts
    ]
