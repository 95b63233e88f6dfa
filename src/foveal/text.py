"""How counts and numbers are written for people; NaN, which means undefined, is a dash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

UNDEFINED = "–"


def counted(count: int, noun: str) -> str:
    """A count and its noun, in the singular for one: 1 image, 2 images, 1,200 boxes."""
    ending = "es" if noun.endswith(("s", "x", "sh", "tch")) else "s"
    return f"{count:,} {noun}" + ("" if count == 1 else ending)


def percent(value: float, places: int = 0) -> str:
    """A fraction in 0..1 as per cent."""
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


def without_nan(value: Any) -> Any:
    """Plain values with None for every number that is not finite: what JSON can hold.

    Args:
        value: numbers, texts, and mappings, lists and tuples of them; tuples become lists.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return value
