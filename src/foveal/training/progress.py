"""How training shows itself: a bar on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from foveal.distributed import is_first_process
from foveal.training.reporters import (
    LoggingReporter,
    Progress,
    Reporter,
    SilentReporter,
    describe_epoch,
)

if TYPE_CHECKING:
    from rich.console import Console

SECONDS_BETWEEN_LINES = 30.0


@contextlib.contextmanager
def watching(console: Console | None = None) -> Iterator[Reporter]:
    """A reporter that writes to the console; in all processes but the first a silent one.

    Args:
        console: None takes the standard error output, or the notebook's cell.
    """
    from rich.console import Console

    if not is_first_process():
        yield SilentReporter()
        return
    console = console or Console(stderr=True, highlight=False, emoji=False)
    if not _can_move(console):
        yield LineReporter(console)
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    with Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        transient=True,
    ) as bars:
        yield BarReporter(bars)


def reporting_to(
    reporter: Reporter | None, *, progress: bool
) -> contextlib.AbstractContextManager[Reporter]:
    """The given reporter, else one that shows the run, else one that writes to the log.

    In all processes but the first it is a silent one.
    """
    if reporter is None and progress:
        return watching()
    listener = reporter or LoggingReporter()
    return contextlib.nullcontext(listener if is_first_process() else SilentReporter())


class LineReporter:
    """A line for each epoch, and one every half minute in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def step(self, progress: Progress) -> None:
        """Write a line if the last one is long ago."""
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._write(
                f"epoch {progress.epoch}/{progress.epochs} "
                f"step {progress.step}/{progress.steps}: {describe_step(progress)}"
            )

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Write a line."""
        self._write(describe_epoch(summary))

    def say(self, text: str) -> None:
        """Write the text."""
        self._write(text)

    def warn(self, text: str) -> None:
        """Write the text."""
        self._write(text)

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


class BarReporter:
    """A bar for the whole run, with the step's numbers; epochs stay above it as lines."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None

    def step(self, progress: Progress) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bars.add_task("", total=progress.total_steps, numbers="")
        done = (progress.epoch - 1) * progress.steps + progress.step
        self._bars.update(
            self._task,
            completed=done,
            total=progress.total_steps,
            description=f"epoch {progress.epoch}/{progress.epochs}",
            numbers=describe_step(progress),
        )

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Leave a line."""
        self.say(describe_epoch(summary))

    def say(self, text: str) -> None:
        """Leave the text."""
        self._bars.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def warn(self, text: str) -> None:
        """Leave the text."""
        self.say(text)


def _can_move(console: Console) -> bool:
    """Whether a bar can be drawn in place; in a notebook that takes ipywidgets."""
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal


def describe_step(progress: Progress) -> str:
    """One step's numbers."""
    losses = [progress.classification, progress.box]
    if progress.distillation:
        losses.append(progress.distillation)
    parts = [
        f"loss {sum(losses):.3f} ({' + '.join(f'{loss:.3f}' for loss in losses)})",
        f"rate {progress.learning_rate:.2g}",
        f"{progress.images_per_second:.1f} images/s",
        f"{progress.memory_bytes / 2**30:.1f} GB",
    ]
    if progress.best is not None:
        parts.append(f"best AP {progress.best:.3f} (epoch {progress.best_epoch})")
    if progress.seconds_left is not None:
        parts.append(f"{describe_time(progress.seconds_left)} left")
    return "  ".join(parts)


def describe_time(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes}:{rest:02}"
