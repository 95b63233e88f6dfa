"""How counts are written."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A count and its noun, in the singular for one: 1 image, 2 images, 1,200 boxes."""
    ending = "es" if noun.endswith(("s", "x", "sh", "tch")) else "s"
    return f"{count:,} {noun}" + ("" if count == 1 else ending)
