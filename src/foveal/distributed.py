"""Which of a run's processes this one is, as torchrun, accelerate launch or MPI say it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from foveal.errors import FovealError, TrainingError

Item = TypeVar("Item")
Result = TypeVar("Result")

RANK_NAMES = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""The environment's variables in which accelerate looks, too."""
LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")


def rank() -> int:
    """The process's number, 0 where there is only one; needs no torch."""
    values = (os.environ.get(name, "").strip() for name in RANK_NAMES)
    return next((int(number) for number in values if number.isdecimal()), 0)


def is_first_process() -> bool:
    """Whether this is the process that speaks and writes files; needs no torch."""
    return rank() == 0


def parallel_map(items: Sequence[Item], work: Callable[[list[Item]], list[Result]]) -> list[Result]:
    """Divide items among the processes, work on them, and give all results to all processes.

    Args:
        items: the same in all processes.
        work: gives one result for each item.

    Returns:
        The results in the items' order, the same in all processes.

    Raises:
        Exception: whatever `work` raises, and in the other processes a FovealError in its place,
            so that none waits for one that has failed.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return work(list(items))
    processes = distributed.get_world_size()
    own: list[Result] | FovealError
    raised: Exception | None = None
    try:
        own = work(list(items[distributed.get_rank() :: processes]))
    except Exception as error:
        raised, own = error, _for_others(error)
    parts: list[list[Result] | FovealError] = [[] for _ in range(processes)]
    distributed.all_gather_object(parts, own)
    if raised is not None:
        raise raised
    done: list[list[Result]] = []
    for part in parts:
        if isinstance(part, FovealError):
            raise part
        done.append(part)
    return [done[index % processes][index // processes] for index in range(len(items))]


def broadcast(value: Item) -> Item:
    """The first process's value, in all of them."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


@contextmanager
def explaining_lost_processes(processes: int) -> Iterator[None]:
    """Where another process has ended, say that instead of what the connection to it says.

    Raises:
        TrainingError: another process has ended while this one waited for it.
    """
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or not _is_lost_process(error):
            raise
        raise TrainingError(
            "Another process of this run has ended, so that this one can't go on. "
            "That process's own message says why."
        ) from error


def end_processes() -> None:
    """Leave the group of processes, after work in which none failed."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def _for_others(error: Exception) -> FovealError:
    """What the other processes raise where this one raises an error."""
    if isinstance(error, FovealError):
        return error
    return TrainingError(
        f"Process {rank()} of this run has failed: {type(error).__name__}: {error}"
    )


def _is_lost_process(error: RuntimeError) -> bool:
    from torch import distributed

    known = isinstance(error, distributed.DistError)
    return known or any(words in str(error) for words in LOST_PEER)
