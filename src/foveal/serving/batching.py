"""Dynamic batching: what comes in one by one is computed together, up to a number or a time.

Items are grouped by a key, such as the input size: a group is computed when it is full, or when its
first item has waited long enough. One thread computes; who hands something in gets a future.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Never, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

KeyT = TypeVar("KeyT", bound="Hashable")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[ItemT, ResultT]):
    item: ItemT
    future: Future[ResultT]
    since: float


class Batcher(Generic[KeyT, ItemT, ResultT]):
    """Computes items of one key together, in a thread of its own.

    Items of a batch that fails are computed again one by one, so that a bad one harms only itself.

    Args:
        compute: is given a key and its items, and gives a result for each.
        batch: items at most in one batch.
        wait: seconds that an item waits for others of its key; longer only while others are
            computed.
        name: of the thread.
    """

    def __init__(
        self,
        compute: Callable[[KeyT, Sequence[ItemT]], Sequence[ResultT]],
        *,
        batch: int,
        wait: float,
        name: str = "foveal-batches",
    ) -> None:
        self._compute, self._batch, self._wait = compute, batch, wait
        self._groups: dict[KeyT, deque[_Waiting[ItemT, ResultT]]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, key: KeyT, item: ItemT) -> Future[ResultT]:
        """Hand an item in; a future that is canceled in time is not computed.

        Raises:
            RuntimeError: the batcher is closed.
        """
        future: Future[ResultT] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the batcher is closed")
            group = self._groups.setdefault(key, deque())
            group.append(_Waiting(item, future, time.monotonic()))
            self._changed.notify()
        return future

    @property
    def waiting(self) -> int:
        """How many items wait."""
        with self._changed:
            return sum(map(len, self._groups.values()))

    def close(self) -> None:
        """Compute all that waits, and end the thread; nothing can be handed in any more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()
            self._compute = _nothing  # what computed may be large: it goes with its last user

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            key, waiting = taken
            waiting = [each for each in waiting if each.future.set_running_or_notify_cancel()]
            if waiting:
                self._run(key, waiting)
            del taken, waiting  # while it waits for the next, nothing is kept

    def _take(self) -> tuple[KeyT, list[_Waiting[ItemT, ResultT]]] | None:
        """The next batch, as soon as there is one; None where nothing comes any more."""
        with self._changed:
            while True:
                key, left = self._next(time.monotonic())
                if key is not None and left <= 0:
                    group = self._groups[key]
                    taken = [group.popleft() for _ in range(min(self._batch, len(group)))]
                    if not group:
                        del self._groups[key]
                    return key, taken
                if key is None and self._closing:
                    return None
                self._changed.wait(None if key is None else left)

    def _next(self, now: float) -> tuple[KeyT | None, float]:
        """Which key's turn it is, and how many seconds it still waits."""
        oldest: KeyT | None = None
        left = 0.0
        since = float("inf")
        for key, group in self._groups.items():
            is_due = self._closing or len(group) >= self._batch
            waits = 0.0 if is_due else group[0].since + self._wait - now
            if oldest is None or (max(waits, 0.0), group[0].since) < (max(left, 0.0), since):
                oldest, left, since = key, waits, group[0].since
        return oldest, left

    def _run(self, key: KeyT, waiting: Sequence[_Waiting[ItemT, ResultT]]) -> None:
        try:
            results = self._compute(key, [each.item for each in waiting])
        except BaseException as error:
            if len(waiting) == 1:
                waiting[0].future.set_exception(error)
                return
            for each in waiting:
                self._run(key, [each])
            return
        for each, result in zip(waiting, results, strict=True):
            each.future.set_result(result)


def _nothing(_key: object, _items: Sequence[object]) -> Sequence[Never]:
    raise AssertionError("a closed batcher takes nothing")
