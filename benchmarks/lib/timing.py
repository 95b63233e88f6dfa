"""Times of contestants that run in turn in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Seconds = dict[str, float]


def interleave(
    contestants: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    warmup: int = 1,
    repeat: int = 1,
) -> dict[str, Seconds]:
    """Run the contestants in turn, so that a drifting machine touches all of them alike.

    Args:
        contestants: what is measured, by name.
        rounds: how often each has its turn.
        warmup: turns before those that count.
        repeat: calls in one turn, for what is over too soon to be measured.

    Returns:
        For each name the seconds of one call: min, median, max.
    """

    def run(contestant: Callable[[], object]) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(repeat):
            contestant()
        synchronize()
        return (time.perf_counter() - start) / repeat

    for _ in range(warmup):
        for contestant in contestants.values():
            run(contestant)
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            seconds[name].append(run(contestant))
    return {name: summary(runs) for name, runs in seconds.items()}


def synchronize() -> None:
    """Wait until a GPU, where there is one, has done all that it was asked for."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock() -> float:
    """Seconds, once the device has done all that it was asked for."""
    synchronize()
    return time.perf_counter()


def summary(runs: Sequence[float]) -> Seconds:
    """Least, median and most of several runs."""
    return {"min": min(runs), "median": statistics.median(runs), "max": max(runs)}
