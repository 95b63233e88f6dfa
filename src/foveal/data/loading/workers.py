"""Processes that make batches ahead of time."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import torch
from torch.utils.data import DataLoader, Sampler

from foveal.data.loading.plan import BatchTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from foveal.data.loading.batches import BatchMaker
    from foveal.structures import Batch

logger = logging.getLogger(__name__)

_MAX_WORKERS = 8
_SHARED_MEMORY_TO_USE = 0.8


class WorkerPool:
    """Lets workers make the batches of one list of tasks after another, always the same workers."""

    def __init__(self, maker: BatchMaker, *, workers: int, prefetch: int, pin_memory: bool) -> None:
        """Take a maker; workers start with the first batch wanted."""
        self._tasks = _Tasks()
        self._logged: set[int] = set()
        self._loader: DataLoader[Any] = DataLoader(
            maker,  # pyrefly: ignore[bad-argument-type]
            batch_size=None,
            sampler=self._tasks,
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            pin_memory=pin_memory and torch.cuda.is_available(),
            persistent_workers=workers > 0,
            worker_init_fn=_start_worker,
            multiprocessing_context=_start_method() if workers else None,
        )

    def batches(self, tasks: Sequence[BatchTask]) -> Iterator[Batch]:
        """The tasks' batches in order; one of broken images only is left out.

        Raises:
            ImageError: an image can't be read, and is not to be skipped.
        """
        self._tasks.tasks = list(tasks)
        with warnings.catch_warnings():  # workers fork before they do anything else
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            loaded = iter(self._loader)
        for made in loaded:
            for index, reason in made.skipped:
                if index not in self._logged:
                    self._logged.add(index)
                    logger.warning("Skipped: %s", reason)
            if made.error is not None:
                raise made.error
            if made.batch is not None:
                yield made.batch

    def close(self) -> None:
        """End the workers."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._loader._iterator = None


def choose_workers(workers: int | None, *, processes: int = 1) -> int:
    """How many loading processes to start: as asked, but not more than there are cores.

    None leaves a core to this process, divides the others among `processes`, and takes 8 at most.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if workers is None:
        return min(_MAX_WORKERS, max(0, cores - processes) // processes)
    if workers > cores:
        logger.warning("training.workers = %d is more than the %d cores: %d start.",
                       workers, cores, cores)  # fmt: skip
    return min(workers, cores)


def workers_that_fit(workers: int, *, prefetch: int, batch_bytes: int) -> int:
    """As many of the workers as have room for their batches in the system's shared memory.

    Containers often have only 64 MB of it; a worker that wants more is killed without a word.
    """
    if sys.platform != "linux" or not workers:
        return workers
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError:
        return workers
    fitting = int(_SHARED_MEMORY_TO_USE * free / ((prefetch + 1) * max(1, batch_bytes)))
    if fitting < workers:
        logger.warning(
            "Shared memory (/dev/shm) has %d MB free, room for the batches of %d of %d workers: "
            "%d start. Give a container more with --shm-size=2g or --ipc=host.",
            free // 1_000_000, fitting, workers, fitting,
        )  # fmt: skip
    return min(workers, fitting)


class _Tasks(Sampler[BatchTask]):
    """The tasks of the epoch at hand; workers get them one by one."""

    def __init__(self) -> None:
        self.tasks: list[BatchTask] = []

    def __iter__(self) -> Iterator[BatchTask]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def _as_it_is(made: Any) -> Any:
    return made


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # threads of OpenCV do not survive a fork, and workers are enough
    # A signal to the whole group (Ctrl-C, a batch system's end) is for the main process: it still
    # needs its workers to finish the step, and ends them itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _start_method() -> str:
    return "fork" if sys.platform == "linux" else "spawn"
