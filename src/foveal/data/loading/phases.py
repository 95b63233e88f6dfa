"""What changes in the course of a run: strong augmentation stops, small inputs become large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Phases:
    """Which images each share of a run is to show.

    An epoch belongs to the share of the run that is done when it begins, so that whoever makes its
    batches needs to know nothing else.

    Attributes:
        strong_until: the share of the run, 0..1, after which samples are no longer made of several
            images; 1: never.
        sizes: pairs of a share of the run, ascending, and the shorter side in input pixels until
            then; after the last one it is the preparation's.
    """

    strong_until: float = 1.0
    sizes: tuple[tuple[float, int], ...] = ()

    def is_strong(self, progress: float) -> bool:
        """Whether samples may be made of several images at a share of the run, 0..1."""
        return self.strong_until >= 1 or progress < self.strong_until - _ROUNDING

    def shorter_at(self, progress: float, shorter: int) -> int:
        """The shorter side at a share of the run.

        Args:
            progress: the share, 0..1.
            shorter: the preparation's, which the run ends with.
        """
        for until, size in self.sizes:
            if progress < until - _ROUNDING:
                return size
        return shorter

    def sides_at(self, progress: float, shorter: int, sides: Sequence[int]) -> tuple[int, ...]:
        """The shorter sides to draw from for each batch at a share of the run.

        Args:
            progress: the share, 0..1.
            shorter: the preparation's.
            sides: those to draw from at the end, which are in proportion before; empty: `shorter`.
        """
        now = self.shorter_at(progress, shorter)
        if now == shorter:
            return tuple(sides)
        return tuple(max(1, round(side * now / shorter)) for side in sides or (shorter,))

    def largest(self, shorter: int, sides: Sequence[int]) -> int:
        """The largest shorter side of the whole run; arguments as for `sides_at`."""
        starts = (*(until for until, _ in self.sizes), 0.0)
        drawn = [
            side for start in starts for side in self.sides_at(start, shorter, sides) or (shorter,)
        ]
        return max(drawn)


ONE_PHASE = Phases()
"""Nothing changes."""
