"""What a command writes on the screen: signs and names that its encoding lacks never stop it."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

from foveal.text import PLAIN_SIGNS, is_text, printable

if TYPE_CHECKING:
    from rich.console import Console


def prepare_streams() -> None:
    """Let standard output and error take every letter: what they lack is written in plain signs.

    Such as ✓ on a console of an old code page, and names of files that are no text in any encoding.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN_SIGNS)


def make_console(*, stderr: bool = False) -> Console:
    """A console that prints names as they are: no markup, colors or emoji are read into them.

    Args:
        stderr: it writes to standard error.
    """
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def say(text: str, *, stderr: bool = False) -> None:
    """Write a line on the screen."""
    stream = sys.stderr if stderr else sys.stdout
    stream.write(f"{printable(text)}\n")
    stream.flush()


def say_json(value: Any) -> None:
    """Write JSON on the screen, in ASCII alone where the screen's encoding is no Unicode one."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if not (encoding.lower().startswith("utf") and is_text(text)):
        text = json.dumps(value, indent=2)
    say(text)
