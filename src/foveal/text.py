"""How counts, numbers and names are written for people; NaN, which means undefined, is a dash."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

UNDEFINED = "–"
_LONGEST_NAME = 40
"""Letters of a name in a sentence."""
LONGEST_LAYER = 200
"""Letters of a network's layer: what is cut off could not be looked up."""

PLAIN_SIGNS = "foveal.plain_signs"
"""The way of encoding errors that writes our own signs in ASCII, and escapes every other letter.

For `errors=` of streams: a bar of █ becomes one of #, a name that is no text is spelled \\udcf6.
"""
_PLAIN = {
    "✓": "+", "✗": "x", "→": ">", "█": "#", "–": "-", "−": "-", "…": "...", "²": "2",
    "×": "x", "·": ".", "•": "*", "━": "-", "╸": "-", "╺": "-", "≥": ">=", "≤": "<=", "±": "+-",
}  # fmt: skip
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CONTROLS_AND_LINES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DIGITS = re.compile(r"([0-9]+)")
_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def _write_plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    escaped = (c.encode("ascii", "backslashreplace").decode() for c in letters)
    return "".join(_PLAIN.get(c, e) for c, e in zip(letters, escaped, strict=True)), error.end


codecs.register_error(PLAIN_SIGNS, _write_plainly)


def is_text(text: str) -> bool:
    """Whether every letter has a place in Unicode: bytes of a file's name may be none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(text: str) -> str:
    r"""The text with what is no letter spelled out, as \udcf6 for a byte F6: it fits UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str, *, lines: bool = True) -> str:
    """The text with control characters spelled out: in a name they could change the terminal.

    Args:
        text: it may hold names that others gave.
        lines: leave line breaks and tabs as they are.
    """
    controls = _CONTROLS if lines else _CONTROLS_AND_LINES
    return controls.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def as_name(text: str) -> str:
    """The name of a file that `as_text` spelled out."""
    return _ESCAPED_BYTE.sub(lambda match: chr(int(match[1], 16)), text)


def counted(count: int, noun: str) -> str:
    """A count and its noun, in the singular for one: 1 image, 2 images, 1,200 boxes."""
    ending = "es" if noun.endswith(("s", "x", "sh", "tch")) else "s"
    return f"{count:,} {noun}" + ("" if count == 1 else ending)


def percent(value: float, places: int = 0) -> str:
    """A fraction in 0..1 as per cent; none and all, exactly, are 0% and 100% without places."""
    if value != value:
        return UNDEFINED
    return f"{100 * value:.{0 if value in (0, 1) else places}f}%"


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


def duration(seconds: float) -> str:
    """A length of time in the unit that suits it: 40 seconds, 12 minutes, 2.5 hours."""
    if seconds != seconds:
        return UNDEFINED
    if seconds < 9.5:
        shown = f"{seconds:.1f}".removesuffix(".0")
        return f"{shown} second{'' if shown == '1' else 's'}"
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    for unit, length, fewest in (("day", 86400, 2), ("hour", 3600, 1.5)):
        if seconds >= fewest * length:
            return f"{seconds / length:.1f} {unit}s"
    return f"{seconds / 60:.0f} minutes"


def length_in_words(meters: float) -> str:
    """A length in the unit that suits it: 1.8 cm, 10 m, 3.21 km."""
    if meters != meters:
        return UNDEFINED
    for unit, length in (("km", 1000.0), ("m", 1.0)):
        if meters >= 0.9995 * length:
            return f"{meters / length:,.3g} {unit}" if meters < 1e6 else f"{meters / 1000:,.0f} km"
    return f"{100 * meters:.3g} cm"


def between(low: float, high: float, places: int = 3) -> str:
    """Where an interval begins and ends: 0.870 to 0.930."""
    if low != low or high != high:
        return UNDEFINED
    return f"{decimal(low, places)} to {decimal(high, places)}"


def shorten(text: str, longest: int) -> str:
    """The text in one line, without control characters, an ellipsis where it is too long."""
    words = " ".join(as_text(text).split())
    text = "".join(letter for letter in words if letter.isprintable())
    return text if len(text) <= longest else text[: longest - 1] + "…"


def listed(names: Sequence[str], limit: int, *, longest: int = _LONGEST_NAME) -> str:
    """The first names, and how many more there are: a, b and 3 more.

    Args:
        names: all of them.
        limit: how many are named.
        longest: letters of a name; the rest is cut off.
    """
    shown = ", ".join(shorten(name, longest) for name in names[:limit])
    return f"{shown} and {len(names) - limit:,} more" if len(names) > limit else shown


def suggestion(name: str, known: Iterable[str]) -> str:
    """What a misspelt name most likely means, for the end of a message; '' where nothing is near.

    Args:
        name: as it was typed.
        known: the names that there are.
    """
    folded = {each.casefold(): each for each in known}
    near = get_close_matches(name.casefold(), folded, 1)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""


def natural_order(name: str) -> tuple[tuple[str | int, ...], str]:
    """A key that sorts names as people do: 2 before 10, whatever the case of letters."""
    parts = _DIGITS.split(name)
    numbered = (int(part) if i % 2 else part.casefold() for i, part in enumerate(parts))
    return tuple(numbered), name


def sentence(words: str) -> str:
    """The words with a capital at the beginning and a period at the end."""
    return f"{words[:1].upper()}{words[1:]}."


def without_nan(value: Any) -> Any:
    """Plain values with None for every number that is not finite: what JSON can hold.

    Args:
        value: numbers, texts, and mappings, lists and tuples of them; tuples become lists.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return value
