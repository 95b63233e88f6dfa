"""The log of a run: lines in metrics.jsonl, the trackers, and whoever watches.

Each line of metrics.jsonl is an object with `kind`:

- `begin`: time (seconds since 1970) and version of foveal, resumed (whether the run goes on with an
  earlier one), epochs and steps (of an epoch) as planned, images and validation_images;
- `step`: epoch, step (from 1, of the whole run), classification, box, loss, learning_rate,
  gradient_norm, images_per_second, memory_megabytes; with a teacher distillation too, which is a
  part of loss;
- `skipped`: epoch, step and the names of the images whose loss was not finite;
- `epoch`: epoch (from 1), steps, nonfinite_steps, seconds, the means of classification, box and
  loss (and of distillation) over the steps that were finite (null where none was), learning_rate,
  images_per_second, waiting (fraction of the time spent waiting for data) and, where the epoch was
  validated, `validation` (a dictionary of numbers, AP and validation_loss among them),
  validation_seconds, `best` (true for the highest AP so far, if above 0) and, where there is one
  above 0, best_AP and best_epoch;
- `end`: epoch (the last one trained), reason (`last_epoch`, `patience`, `diverged`, `interrupted`
  or `failed`) and text, the reason in words. A process that was killed leaves none.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import TrainingError
from foveal.files import writing
from foveal.text import without_nan
from foveal.training.clock import Clock, peak_memory
from foveal.training.reporters import Progress, Reporter
from foveal.training.run_folder import HOW_TO_GO_ON, TRACKED_AS

if TYPE_CHECKING:
    from io import FileIO

    from accelerate import Accelerator

    from foveal.training.ending import Ending
    from foveal.training.step import StepResult


class MetricsLog:
    """Writes metrics.jsonl; without a path it keeps silent."""

    def __init__(self, path: Path | None, *, keep_bytes: int = 0) -> None:
        """Open the file and forget what lies beyond the first `keep_bytes` bytes.

        Raises:
            TrainingError: the file can't be written.
        """
        self._path = path
        self._file: FileIO | None = None
        if path is not None:
            with self._writing():
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                self._file = os.fdopen(descriptor, "r+b", buffering=0)
                self._file.truncate(keep_bytes)
                self._file.seek(0, os.SEEK_END)

    def write(self, kind: str, **values: Any) -> None:
        """Add a line.

        Raises:
            TrainingError: the file can't be written.
        """
        if self._file is None:
            return
        text = json.dumps(without_nan({"kind": kind, **values}), allow_nan=False) + "\n"
        line = text.encode()
        with self._writing():
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def position(self) -> int:
        """The bytes written so far, brought to the disk."""
        if self._file is None:
            return 0
        with self._writing():
            os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _writing(self) -> AbstractContextManager[None]:
        return writing(self._path or Path(), error=TrainingError, advice=HOW_TO_GO_ON)


class MetricsLogger:
    """Speaks in the main process and is silent in all others.

    Args:
        accelerator: knows the processes and the trackers.
        reporter: whoever watches.
        epochs, steps: of the run; steps of one epoch.
        log_every: steps from one line in metrics.jsonl to the next.
        distills: whether there is a teacher, so that its loss is told too.

    Attributes:
        clock: of the epoch under way.
        total_steps: of the run.
        best, best_epoch: the highest AP so far and its epoch; None before there is one above 0.
        seconds_left: tells how long a run with a given time may still take; None where it has none.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        reporter: Reporter,
        *,
        epochs: int,
        steps: int,
        log_every: int,
        distills: bool = False,
    ) -> None:
        self.accelerator = accelerator
        self.reporter = reporter
        self.epochs = epochs
        self.total_steps = epochs * steps
        self.seconds_left: Callable[[], float] | None = None
        self.steps = steps
        self.log_every = log_every
        self.distills = distills
        self.best: float | None = None
        self.best_epoch = 0
        self.clock = Clock()
        self.file = MetricsLog(None)
        self._tracks = False

    def begin(self, metrics: Path | None, *, keep_bytes: int, config: Mapping[str, Any]) -> None:
        """Open metrics.jsonl behind what it holds of this run, and start the trackers."""
        if metrics and self.accelerator.is_main_process:
            self.file = MetricsLog(metrics, keep_bytes=keep_bytes)
        if self.accelerator.log_with:
            self._tracks = True
            self.accelerator.init_trackers(TRACKED_AS, config=dict(config))

    def close(self) -> None:
        """Close metrics.jsonl and the trackers."""
        self.file.close()
        if self._tracks:
            for tracker in self.accelerator.trackers:
                tracker.finish()

    def begun(self, *, resumed: bool, **planned: int) -> None:
        """Write that a run begins, or goes on, and what is planned."""
        from foveal import __version__

        self.file.write("begin", time=time.time(), version=__version__, resumed=resumed, **planned)

    def say(self, text: str) -> None:
        """Say something that a person should read once; nothing for ''."""
        if text and self.accelerator.is_main_process:
            self.reporter.say(text)

    def warn(self, text: str) -> None:
        """Say that something is not as it should be; nothing for ''."""
        if text and self.accelerator.is_main_process:
            self.reporter.warn(text)

    def step(self, result: StepResult, *, epoch: int, step: int, learning_rate: float) -> None:
        """Tell of a step; epoch from 0, step of the epoch from 1."""
        if not self.accelerator.is_main_process:
            return
        done = epoch * self.steps + step
        progress = Progress(
            epoch=epoch + 1,
            epochs=self.epochs,
            step=step,
            steps=self.steps,
            classification=result.classification,
            box=result.box,
            distillation=result.distillation,
            learning_rate=learning_rate,
            images_per_second=self.clock.images_per_second,
            seconds_left=self.clock.seconds_left(self.total_steps - done)
            if self.seconds_left is None
            else max(0.0, self.seconds_left()),
            memory_bytes=peak_memory(self.accelerator.device),
            total_steps=self.total_steps,
            best=self.best,
            best_epoch=self.best_epoch,
        )
        self.reporter.step(progress)
        if done % self.log_every == 0 and result.applied:
            values = {
                "classification": result.classification,
                "box": result.box,
                **({"distillation": result.distillation} if self.distills else {}),
                "loss": result.loss,
                "learning_rate": learning_rate,
                "gradient_norm": result.gradient_norm,
                "images_per_second": progress.images_per_second,
                "memory_megabytes": progress.memory_bytes / 2**20,
            }
            self.file.write("step", epoch=epoch + 1, step=done, **values)
            self._track(values, step=done)

    def skipped(self, names: list[str], *, epoch: int, step: int) -> None:
        """Tell of a step that was left out, with its images; epoch from 0, step of the epoch."""
        done = epoch * self.steps + step
        if self.accelerator.is_main_process:
            self.reporter.warn(
                f"Step {done}: the loss is not finite and the step is left out. "
                f"Its images: {', '.join(names)}."
            )
        self.file.write("skipped", epoch=epoch + 1, step=done, images=names)

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Tell of an epoch."""
        if self.accelerator.is_main_process:
            self.file.write("epoch", **summary)
            self.reporter.epoch(summary)
            numbers = {**summary, **summary.get("validation", {})}
            self._track(numbers, step=summary["epoch"] * self.steps)

    def end(self, ending: Ending, *, epoch: int) -> None:
        """Write why the run ended, and after how many epochs."""
        self.file.write("end", epoch=epoch, reason=ending.reason, text=ending.text)

    def _track(self, values: Mapping[str, Any], *, step: int) -> None:
        if self._tracks:
            numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
            self.accelerator.log(numbers, step=step)
