"""How far a command is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from foveal.cli.console import make_console, say
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Progress, TaskID


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

    def advance(self) -> None:
        """One step more is done."""
        self.update(self._done + 1, self._total)

    def update(self, done: int, total: int) -> None:
        """So many steps are done."""
        before, self._done = self._done, done
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, completed=done, total=total)
        elif done * 10 // total > before * 10 // total:
            say(f"{done} of {counted(total, self._noun)}", stderr=True)

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
