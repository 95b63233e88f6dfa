"""Choices taken from bytes: whatever bytes there are, something is built of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


class Dice:
    """Choices, each from one or two bytes; where the bytes end, every choice is the first."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._next = 0

    def below(self, count: int) -> int:
        """A number from 0 to count - 1."""
        width = 1 if count <= 256 else 2
        taken = self._content[self._next : self._next + width]
        self._next += width
        return int.from_bytes(taken, "big") * count >> 8 * width

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def pick(self, options: Sequence[Thing]) -> Thing:
        return options[self.below(len(options))]

    def chance(self, one_in: int) -> bool:
        """Yes once in so many times."""
        return self.below(one_in) == one_in - 1

    def shuffled(self, things: Sequence[Thing]) -> list[Thing]:
        """All of them, in their own order or in another."""
        rest = list(things)
        if not self.chance(2):
            return rest
        return [rest.pop(self.below(len(rest))) for _ in range(len(rest))]

    def some(self, things: Sequence[Thing], one_in: int = 2) -> list[Thing]:
        """Those that chance keeps, in their order."""
        return [thing for thing in things if self.chance(one_in)]
