"""Work in several processes, each with a pipe of its own, so that the end of one is seen.

A pool of the standard library (Python 3.11) waits for ever if a member is killed while another one
is being started.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_TASKS_A_PROCESS = 2
"""So many tasks are handed to a process at once, so that it never waits for the next."""


class ProcessEndedError(Exception):
    """A process ended that should have answered, as one does that is killed for its memory.

    Attributes:
        task: at which it was.
    """

    def __init__(self, task: Any) -> None:
        super().__init__(f"A process was ended from outside while it was at {task}.")
        self.task = task


def map_in_processes(
    make: Callable[[], Callable[[Task], Answer]], tasks: Iterable[Task], *, processes: int
) -> Generator[tuple[Task, Answer], None, None]:
    """Work at tasks in several processes; answers come as they are ready.

    Who asks no further ends the processes, also in the midst of a task: they have nothing of their
    own to lose.

    Args:
        make: is called once in each process, and makes what works at a task there; picklable.
        tasks: are asked for only when a process has room for one; picklable.
        processes: how many.

    Raises:
        ProcessEndedError: one was ended from outside.
    """
    waiting = iter(tasks)
    known: list[_Process] = []
    try:
        known += [_Process.start(make) for _ in range(processes)]
        while True:
            for process in known:
                for task in islice(waiting, _TASKS_A_PROCESS - len(process.under_way)):
                    process.hand(task)
            busy = [each for each in known if each.under_way]
            if not busy:
                return
            ready = connection.wait([each.connection for each in busy])
            for process in (each for each in busy if each.connection in ready):
                yield process.receive()
    finally:
        for process in known:
            process.end()


@dataclass(slots=True)
class _Process:
    """One of them.

    Attributes:
        process: itself.
        connection: takes tasks there and answers back.
        under_way: the tasks that it has not answered, the first of which it is at.
    """

    process: BaseProcess
    connection: Connection
    under_way: deque[Any] = field(default_factory=deque)

    @classmethod
    def start(cls, make: Callable[[], Callable[[Any], Any]]) -> _Process:
        """Start one; it gets ready while this process goes on."""
        context = _context()
        ours, theirs = context.Pipe()
        with theirs:
            process = context.Process(target=_answer, args=(theirs, make), daemon=True)
            process.start()
        return cls(process, ours)

    def hand(self, task: Any) -> None:
        """Give it a task; it need not have answered the one before."""
        self.under_way.append(task)
        try:
            self.connection.send(task)
        except OSError as cause:
            raise ProcessEndedError(self.under_way[0]) from cause

    def receive(self) -> tuple[Any, Any]:
        """A task and its answer; an error there is raised here."""
        try:
            is_error, answer = self.connection.recv()
        except (EOFError, OSError) as cause:
            raise ProcessEndedError(self.under_way[0]) from cause
        if is_error:
            raise answer
        return self.under_way.popleft(), answer

    def end(self) -> None:
        """End it."""
        self.connection.close()
        self.process.terminate()
        self.process.join()


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _answer(tasks: Connection, make: Callable[[], Callable[[Any], Any]]) -> None:
    """Work at the tasks that come: what a process does."""
    # A Ctrl-C reaches all processes of the terminal; the one that asks ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = make()
        while True:
            tasks.send((False, work(tasks.recv())))
    except (EOFError, ConnectionError):
        return
    except Exception as error:
        error.add_note("In a process of its own:\n" + traceback.format_exc())
        tasks.send((True, error))
        # It waits for its end, so that tasks which are on their way here do not hide the error.
        threading.Event().wait()


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, as by a kill."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
