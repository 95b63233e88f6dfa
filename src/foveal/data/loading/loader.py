"""Batches for training and evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.loading.batches import BadImages, BatchMaker, open_source
from foveal.data.loading.cache import ImageCache
from foveal.data.loading.object_pool import pool_objects
from foveal.data.loading.phases import ONE_PHASE, Phases
from foveal.data.loading.plan import BatchTask, part_of_process, plan_training
from foveal.data.loading.sampling import draw_repeated, images_an_epoch, repeat_factors
from foveal.data.loading.windows import WindowPlan, plan_window_batches, plan_windows
from foveal.data.loading.workers import WorkerPool, choose_workers, workers_that_fit
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.user import Change
from foveal.errors import ImageError
from foveal.structures import RGB, PixelRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.data.transforms.preparation import Preparation
    from foveal.structures import Batch


class TrainingBatches:
    """A training run's batches: the same for the same seed, whatever the workers and processes.

    Attributes:
        steps: batches an epoch.
        images: an epoch has so many, without those that fill up the last batch.
        windows: which windows an epoch has; None where images are shown whole.
    """

    def __init__(
        self,
        pool: WorkerPool,
        plan: Callable[[int, float], list[BatchTask]],
        *,
        steps: int,
        images: int,
        windows: WindowPlan | None = None,
    ) -> None:
        """Take a pool and what plans an epoch; see `training_batches`."""
        self._pool, self._plan, self.steps, self.images = pool, plan, steps, images
        self.windows = windows

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, *, start_step: int = 0, progress: float = 1.0) -> Iterator[Batch]:
        """This process's part of each batch of an epoch, from one of its steps on.

        Args:
            epoch: from 0.
            start_step: the first one wanted.
            progress: the share of the run that is done when the epoch begins, 0..1; it matters
                where the run has phases.

        Raises:
            ImageError: an image can't be read, and is not to be skipped.
        """
        return self._pool.batches(self._plan(epoch, progress)[start_step:])

    def close(self) -> None:
        """End the workers."""
        self._pool.close()


def training_batches(
    dataset: Dataset,
    preparation: Preparation,
    augmentation: Augmentation | Change | None,
    *,
    batch: int,
    seed: int = 0,
    rank: int = 0,
    processes: int = 1,
    workers: int | None = None,
    prefetch: int = 2,
    pin_memory: bool = True,
    cache_megabytes: int = 0,
    sizes: Sequence[int] = (),
    bad_images: BadImages = "stop",
    pixel_range: PixelRange = RGB,
    repeat_threshold: float | None = None,
    background_fraction: float = 0.2,
    min_visibility: float = 0.25,
    phases: Phases = ONE_PHASE,
) -> TrainingBatches:
    """Batches of random images of one input size, in which every image comes once an epoch.

    With a preparation of windows they are windows of the images, see `plan_windows`.

    The batches are drawn from the seed and the epoch for all processes together, and each process
    makes its part of each. Every random choice about an image follows from the seed, the epoch and
    the image. See `plan_training` for images that are left over.

    Args:
        dataset: the records; images whose size they do not say are looked at.
        preparation: gives the input sizes.
        augmentation: changes the samples.
        batch: images in a batch of all processes together.
        seed: of all random choices.
        rank, processes: which process this is, of how many.
        workers: processes that make batches; None: chosen from the machine's cores; 0: this one.
        prefetch: batches that each worker makes ahead of time.
        pin_memory: put batches into page-locked memory where there is a CUDA device.
        cache_megabytes: memory of this process and its workers for decoded images.
        sizes: shorter sides to draw from for each batch; empty: the preparation's.
        bad_images: "stop" makes a broken image an error; "skip" logs it, puts another image in
            its place.
        pixel_range: the bands and limits of the pixels.
        repeat_threshold: of `repeat_factors`, by which images of rare classes come more than once;
            None leaves that out.
        background_fraction: with windows, the share of those without objects.
        min_visibility: with windows, an object of which one shows less becomes a region to ignore.
        phases: what changes in the course of the run.

    Raises:
        ImageError: no image, or one whose size is unknown is broken and not to be skipped.
        SettingsError: the batch can't be divided among the processes.
    """
    source = open_source(dataset, pixel_range, bad_images=bad_images)
    usable = np.flatnonzero(source.sizes.all(axis=1))
    if not len(usable):
        raise ImageError(f"{dataset.name or dataset.root}: has no image to train with.")
    part_of_process([], batch=batch, rank=rank, processes=processes)
    largest = preparation.with_shorter(phases.largest(preparation.shorter, sizes))
    workers = workers_that_fit(
        choose_workers(workers, processes=processes),
        prefetch=prefetch,
        batch_bytes=batch
        // processes
        * _largest_input(source.sizes[usable], largest)
        * pixel_range.bands,
    )
    if cache_megabytes:
        cache = ImageCache(
            source.sizes, bands=pixel_range.bands, megabytes=cache_megabytes, shares=max(1, workers)
        )
        source = replace(source, cache=cache)
    pool_of_objects = None
    if isinstance(augmentation, Augmentation) and augmentation.copy_paste:
        found = pool_objects(dataset.records, usable)
        pool_of_objects = found if len(found) else None
    maker = BatchMaker(
        source, preparation, augmentation, usable, bad_images, min_visibility, pool_of_objects
    )
    turning = isinstance(augmentation, Augmentation) and augmentation.quarter_turns

    factors = None
    if repeat_threshold is not None:
        factors = repeat_factors(
            [dataset.records[index] for index in usable],
            classes=len(dataset.classes),
            threshold=repeat_threshold,
        )

    windows = None
    if preparation.mode == "windows":
        repeated = np.ones(len(source.sizes))
        repeated[usable] = 1 if factors is None else factors
        windows = plan_windows(
            dataset,
            source.sizes,
            preparation,
            background_fraction=background_fraction,
            factors=repeated,
        )

    def plan(epoch: int, progress: float) -> list[BatchTask]:
        sides = phases.sides_at(progress, preparation.shorter, sizes)
        strong = phases.is_strong(progress)
        if windows is not None:
            tasks = plan_window_batches(
                windows,
                preparation,
                batch=batch,
                seed=seed,
                epoch=epoch,
                quarter_turns=turning,
                shorter_sides=sides,
            )
            tasks = [replace(task, strong=strong) for task in tasks]
            return part_of_process(tasks, batch=batch, rank=rank, processes=processes)
        tasks = plan_training(
            source.sizes[usable],
            preparation,
            batch=batch,
            seed=seed,
            epoch=epoch,
            quarter_turns=turning,
            shorter_sides=sides,
            chosen=None if factors is None else draw_repeated(factors, seed=seed, epoch=epoch),
        )
        tasks = [
            replace(t, indices=tuple(int(usable[i]) for i in t.indices), strong=strong)
            for t in tasks
        ]
        return part_of_process(tasks, batch=batch, rank=rank, processes=processes)

    pool = WorkerPool(maker, workers=workers, prefetch=prefetch, pin_memory=pin_memory)
    if windows is not None:
        images = windows.windows
    else:
        images = len(usable) if factors is None else images_an_epoch(factors)
    return TrainingBatches(pool, plan, steps=-(-images // batch), images=images, windows=windows)


def _largest_input(sizes: NDArray[np.int64], preparation: Preparation) -> int:
    """Pixels of the largest input that images of these sizes [N, 2], either way round, may need."""
    shapes = np.unique(np.sort(sizes, axis=1), axis=0)
    inputs = [preparation.size_for(int(width), int(height)) for width, height in shapes]
    return max((height * width for height, width in inputs), default=0)
