"""Many small files looked at in threads, which wait together; each gets many of them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_THREADS = 8
_CHUNK = 128
"""Items that a thread gets at once: handing over one costs more than looking at a file's size."""


def map_in_threads(
    function: Callable[[_Item], _Result], items: Sequence[_Item]
) -> Iterator[_Result]:
    """The function's result for each item, in their order; what it raises is raised here."""
    chunk = max(1, min(_CHUNK, len(items) // (4 * _THREADS)))
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    if len(items) < 2:
        yield from map(function, items)
        return

    def results(part: Sequence[_Item]) -> list[_Result]:
        return [*map(function, part)]

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from chain.from_iterable(pool.map(results, chunks))
