"""Bands of scenes looked at one after another, or in several processes at once.

A band is computed by itself wherever that happens, so what is found does not depend on the number
of processes, nor on which bands were finished before.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from foveal.errors import FovealError, ImageError, MissingExtraError
from foveal.processes import ProcessEndedError, map_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class BandWorker(Protocol):
    """What looks at bands in one process; the model is opened once."""

    def detect(
        self, scene: int, bands: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> Generator[Arrays, None, None]:
        """Look at some bands of a scene, one after another.

        Args:
            scene, bands: numbers from 0.
            progress: is told how many windows were looked at since it was last called.

        Raises:
            ImageError: the scene can't be read there.
        """


class BandJob(Protocol):
    """What is to be done; another process gets it and opens it there."""

    def open(self, *, threads: int | None) -> BandWorker:
        """Open the model.

        Args:
            threads: how many to compute with; None takes as many as the machine has.
        """


@dataclass(frozen=True, slots=True)
class BandTask:
    """A band of a scene, by their numbers from 0."""

    scene: int
    band: int


@dataclass(frozen=True, slots=True)
class BandOutcome:
    """What came of a band.

    Attributes:
        task: which band of which scene.
        arrays: what was found; None where the scene can't be read there.
        error: why not.
    """

    task: BandTask
    arrays: Arrays | None
    error: ImageError | MissingExtraError | None = None


def attempt(worker: BandWorker, task: BandTask) -> BandOutcome:
    """Look at a band; a scene that can't be read is an outcome, anything else an error."""
    try:
        with closing(worker.detect(task.scene, [task.band])) as found:
            return BandOutcome(task, next(found))
    except (ImageError, MissingExtraError) as error:
        return BandOutcome(task, None, error)


def detect_one_by_one(
    worker: BandWorker,
    tasks: Iterable[BandTask],
    progress: Callable[[int], None] | None = None,
) -> Iterator[BandOutcome]:
    """Look at bands in this process; of a scene that broke no further band is looked at.

    Args:
        worker: looks at them.
        tasks: the bands, those of a scene one after another.
        progress: is told how many windows were looked at since it was last called.
    """
    for scene, group in groupby(tasks, key=lambda task: task.scene):
        bands = [task.band for task in group]
        with closing(worker.detect(scene, bands, progress)) as found:
            for band in bands:
                try:
                    arrays = next(found)
                except (ImageError, MissingExtraError) as error:
                    yield BandOutcome(BandTask(scene, band), None, error)
                    break
                yield BandOutcome(BandTask(scene, band), arrays)


def detect_in_processes(
    job: BandJob, tasks: Iterable[BandTask], *, jobs: int
) -> Iterator[BandOutcome]:
    """Look at bands in several processes, each with its share of the cores.

    Args:
        job: is opened once in each process.
        tasks: the bands; outcomes come as they are ready.
        jobs: how many processes.

    Raises:
        FovealError: the model can't be opened there, or a process was ended from outside.
    """
    known = list(tasks)
    jobs = min(jobs, len(known))
    broken: set[int] = set()
    answers = map_in_processes(
        partial(_open, job, max(1, available_cores() // max(1, jobs))),
        (task for task in known if task.scene not in broken),
        processes=jobs,
    )
    try:
        with closing(answers):
            for _, outcome in answers:
                if outcome.error is not None:
                    if outcome.task.scene in broken:
                        continue
                    broken.add(outcome.task.scene)
                yield outcome
    except ProcessEndedError as cause:
        raise FovealError(
            "A process that looked at a scene was ended from outside, as by a lack of memory. "
            "What is finished is kept: go on with --resume, and with fewer --jobs."
        ) from cause


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _open(job: BandJob, threads: int) -> Callable[[BandTask], BandOutcome]:
    """What looks at bands in another process."""
    return partial(attempt, job.open(threads=threads))
