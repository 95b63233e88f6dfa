"""What a machine computes and moves at best, by a large matrix product and a large copy."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.lib.networks import PRECISIONS
from benchmarks.lib.timing import clock

PRODUCT = {"cpu": 3072, "cuda": 8192}
"""Side of the square matrices."""
COPIED = {"cpu": 2**28, "cuda": 2**32}
"""Bytes."""


class Roofline:
    """The best operations and bytes a second so far; measured now and again beside other work."""

    def __init__(self, device: str, precision: str) -> None:
        side, dtype = PRODUCT[device], PRECISIONS[precision]
        self._matrices = [torch.randn(side, side, device=device).to(dtype) for _ in range(2)]
        self._source = torch.ones(COPIED[device], dtype=torch.uint8, device=device)
        self._copy = torch.empty_like(self._source)
        self.operations = self.bandwidth = 0.0

    def measure(self, rounds: int = 3) -> None:
        """Keep the best of what was measured so far."""
        left, right = self._matrices
        work = 2.0 * len(left) ** 3
        self.operations = max(self.operations, _rate(lambda: left @ right, work, rounds))
        moved = 2.0 * len(self._source)
        copied = _rate(lambda: self._copy.copy_(self._source), moved, rounds)
        self.bandwidth = max(self.bandwidth, copied)


def _rate(work: Callable[[], object], amount: float, rounds: int) -> float:
    work()
    seconds = []
    for _ in range(rounds):
        start = clock()
        work()
        seconds.append(clock() - start)
    return amount / min(seconds)
