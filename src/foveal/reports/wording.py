"""How numbers are written in a report; NaN, which means undefined, is a dash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.evaluation.results import ClassResult, Evaluation, Interval

UNDEFINED = "–"
MOST_CLASSES = 8
"""So many classes at most have a curve or chart of their own."""


def percent(value: float, places: int = 0) -> str:
    """A share in 0..1 as per cent."""
    return f"{100 * value:.{places}f}%" if value == value else UNDEFINED


def decimal(value: float, places: int = 3) -> str:
    """The number with fixed places."""
    return f"{value:.{places}f}".replace("-", "−") if value == value else UNDEFINED


def plain_number(value: float, *, signed: bool = False) -> str:
    """Two places below ten, one above."""
    if value != value:
        return UNDEFINED
    places = 2 if abs(value) < 10 else 1
    text = f"{value:+.{places}f}" if signed else f"{value:.{places}f}"
    return text.replace("-", "−")


def between(interval: Interval, *, places: int = 3) -> str:
    """Where the interval begins and ends."""
    if interval.low != interval.low or interval.high != interval.high:
        return UNDEFINED
    return f"{interval.low:.{places}f} to {interval.high:.{places}f}"


def largest_classes(evaluation: Evaluation, *, most: int) -> Sequence[tuple[int, ClassResult]]:
    """The classes with the most objects, in the classes' order."""
    numbered = list(enumerate(evaluation.per_class))
    chosen = sorted(numbered, key=lambda pair: -pair[1].objects)[:most]
    return sorted(chosen, key=lambda pair: pair[0])
