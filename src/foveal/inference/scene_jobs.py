"""Bands of scenes looked at one after another, or in several processes at once.

A band is computed by itself wherever that happens, so what is found does not depend on the number
of processes, nor on which bands were finished before.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Protocol

from foveal.errors import FovealError, ImageError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

_TASKS_A_PROCESS = 2
"""So many bands are handed to a process at once, so that it never waits for the next."""


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
    waiting = deque(tasks)
    jobs = min(jobs, len(waiting))
    processes: list[_BandProcess] = []
    broken: set[int] = set()
    try:
        while len(processes) < jobs:
            processes.append(_BandProcess.start(job, threads=max(1, available_cores() // jobs)))
        while True:
            for process in processes:
                while waiting and process.under_way < _TASKS_A_PROCESS:
                    task = waiting.popleft()
                    if task.scene not in broken:
                        process.hand(task)
            busy = [each for each in processes if each.under_way]
            if not busy:
                return
            ready = connection.wait([each.connection for each in busy])
            for process in (each for each in busy if each.connection in ready):
                outcome = process.receive()
                if outcome.error is not None:
                    if outcome.task.scene in broken:
                        continue
                    broken.add(outcome.task.scene)
                yield outcome
    except _EndedError as cause:
        raise FovealError(
            "A process that looked at a scene was ended from outside, as by a lack of memory. "
            "What is finished is kept: go on with --resume, and with fewer --jobs."
        ) from cause
    finally:
        for process in processes:
            process.end()


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


class _EndedError(Exception):
    """A process ended that should have answered."""


@dataclass(slots=True)
class _BandProcess:
    """A process that looks at bands.

    A pool of the standard library waits for ever if a member is killed while another one starts.

    Attributes:
        process: itself.
        connection: takes tasks there and outcomes back.
        under_way: how many tasks it has not answered.
    """

    process: BaseProcess
    connection: Connection
    under_way: int = 0

    @classmethod
    def start(cls, job: BandJob, *, threads: int) -> _BandProcess:
        """Start one; the model is opened there while this process goes on."""
        context = _context()
        ours, theirs = context.Pipe()
        with theirs:
            process = context.Process(target=_answer, args=(theirs, job, threads), daemon=True)
            process.start()
        return cls(process, ours)

    def hand(self, task: BandTask) -> None:
        """Give it a task; it need not have answered the one before."""
        try:
            self.connection.send(task)
        except OSError as cause:
            raise _EndedError from cause
        self.under_way += 1

    def receive(self) -> BandOutcome:
        """What came of a task; an error that is no outcome is raised here."""
        try:
            answer: BandOutcome | Exception = self.connection.recv()
        except (EOFError, OSError) as cause:
            raise _EndedError from cause
        if isinstance(answer, Exception):
            raise answer
        self.under_way -= 1
        return answer

    def end(self) -> None:
        """End it, also in the midst of a task: it has nothing of its own to lose."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _answer(tasks: Connection, job: BandJob, threads: int) -> None:
    """Look at the bands that are asked for; what a process of `_BandProcess` does."""
    # A Ctrl-C reaches all processes of the terminal; the one that asks ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = job.open(threads=threads)
        while True:
            tasks.send(attempt(worker, tasks.recv()))
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        error.add_note("In the process that looked at the scene:\n" + traceback.format_exc())
        tasks.send(error)
        # It waits for its end, so that tasks which are on their way here do not hide the error.
        threading.Event().wait()


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, as by a kill."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
