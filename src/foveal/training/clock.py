"""How fast a run goes, how long it waits for data, and how much memory it takes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator

import torch

WINDOW = 30
"""The speed that is shown is the mean over so many steps."""


class Clock:
    """Counts images and time of one epoch in this process; time outside training is left out."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self.start()

    def start(self) -> None:
        """An epoch, or what is left of it, starts."""
        self._began = self._last = time.perf_counter()
        self._waited = 0.0
        self._images = 0
        self._count = 0

    def count(self, images: int) -> None:
        """A step over so many images is done."""
        now = time.perf_counter()
        self._steps.append((now - self._last, images))
        self._last = now
        self._images += images
        self._count += 1

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the time counts as waiting for data."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    @property
    def images_per_second(self) -> float:
        """Over the last steps."""
        return sum(images for _, images in self._steps) / max(1e-9, self._seconds)

    def seconds_left(self, steps: int) -> float | None:
        """How long so many steps will take; None before the first one is done."""
        return steps * self._seconds / len(self._steps) if self._steps else None

    @property
    def seconds_a_step(self) -> float:
        """Since `start`, or over the last steps where there were more; the first may be slow."""
        count = min(self._count, len(self._steps))
        return sum(seconds for seconds, _ in list(self._steps)[-count:]) / count if count else 0.0

    @property
    def elapsed(self) -> float:
        """Seconds from `start` to the last step."""
        return self._last - self._began

    @property
    def steps(self) -> int:
        """Since `start`."""
        return self._count

    def seconds_after(self, skipped: int) -> float:
        """What a step took since `start`, of the last steps, the first `skipped` left out."""
        taken = list(self._steps)[-max(1, self._count - skipped) :]
        return sum(seconds for seconds, _ in taken) / max(1, len(taken))

    def summary(self) -> dict[str, float]:
        """Seconds, images a second and fraction of time spent waiting since `start`."""
        seconds = max(1e-9, self._last - self._began)
        return {
            "seconds": seconds,
            "images_per_second": self._images / seconds,
            "waiting": self._waited / seconds,
        }

    @property
    def _seconds(self) -> float:
        return sum(seconds for seconds, _ in self._steps)


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: on a GPU by torch, else by this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
