"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foveal.cli.console import make_console, say
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Progress, TaskID


_WORTH_TELLING = 5.0
"""Seconds that are left which a line names."""
_UNITS = (("hour", 3600), ("minute", 60), ("second", 1))


class ProgressBar:
    """Steps that are done, of a number that is known.

    Args:
        console: on standard error.
        bar: the terminal's bar and its task; None writes lines.
        total: how many steps there are.
        noun: what a step is, such as 'image'.
    """

    def __init__(
        self, console: Console, bar: tuple[Progress, TaskID] | None, *, total: int, noun: str
    ) -> None:
        self._console, self._bar, self._total, self._noun = console, bar, total, noun
        self._done = 0
        self._begun, self._done_at_begin = time.monotonic(), 0

    def advance(self, steps: int = 1) -> None:
        """So many steps more are done."""
        self.update(self._done + steps, self._total)

    def begin_at(self, done: int) -> None:
        """So many steps were done before; they do not count in the time that is left."""
        self.update(done, self._total)
        self._begun, self._done_at_begin = time.monotonic(), done
        if self._bar is not None:
            bar, task = self._bar
            bar.reset(task, total=self._total, completed=done)

    def update(self, done: int, total: int) -> None:
        """So many steps are done."""
        before, self._done = self._done, done
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=done, total=total)
        elif total and done * 10 // total > before * 10 // total:
            left = self._left(done, total)
            say(f"{done:,} of {counted(total, self._noun)}{left}", stderr=True)

    def _left(self, done: int, total: int) -> str:
        """The time that is left, in words; nothing where it is short or not known."""
        made = done - self._done_at_begin
        if made <= 0:
            return ""
        seconds = (time.monotonic() - self._begun) / made * (total - done)
        if seconds < _WORTH_TELLING:
            return ""
        unit, length = next(each for each in _UNITS if seconds >= 1.5 * each[1])
        return f", about {counted(round(seconds / length), unit)} left"

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, soft_wrap=True)


@contextmanager
def progress_bar(total: int, noun: str = "image") -> Iterator[ProgressBar]:
    """Show how many of so many steps are done, on standard error."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = make_console(stderr=True)
    if not console.is_terminal:
        yield ProgressBar(console, None, total=total, noun=noun)
        return
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"{noun}s", total=total)
        yield ProgressBar(console, (bar, task), total=total, noun=noun)
