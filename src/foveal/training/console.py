"""Telling what happens in a run: to metrics.jsonl, to the trackers and to whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foveal.training.clock import Clock, peak_memory
from foveal.training.metrics_log import MetricsLog, Progress, Reporter
from foveal.training.run_folder import TRACKED_AS

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from foveal.training.step import StepResult


class MetricsLogger:
    """Speaks in the main process and is silent in all others.

    Args:
        accelerator: knows the processes and the trackers.
        reporter: whoever watches.
        epochs, steps: of the run; steps of one epoch.
        log_every: steps from one line in metrics.jsonl to the next.

    Attributes:
        clock: of the epoch under way.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        reporter: Reporter,
        *,
        epochs: int,
        steps: int,
        log_every: int,
    ) -> None:
        self.accelerator = accelerator
        self.reporter = reporter
        self.epochs = epochs
        self.steps = steps
        self.log_every = log_every
        self.clock = Clock()
        self.journal = MetricsLog(None)
        self._tracks = False

    def begin(self, metrics: Path | None, *, keep_bytes: int, config: Mapping[str, Any]) -> None:
        """Open the journal behind what it holds of this run, and start the trackers."""
        if metrics and self.accelerator.is_main_process:
            self.journal = MetricsLog(metrics, keep_bytes=keep_bytes)
        if self.accelerator.log_with:
            self._tracks = True
            self.accelerator.init_trackers(TRACKED_AS, config=dict(config))

    def close(self) -> None:
        """Close the journal and the trackers."""
        self.journal.close()
        if self._tracks:
            for tracker in self.accelerator.trackers:
                tracker.finish()

    def say(self, text: str) -> None:
        """Say something that a person should read once; nothing for ''."""
        if text and self.accelerator.is_main_process:
            self.reporter.say(text)

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
            learning_rate=learning_rate,
            images_per_second=self.clock.images_per_second,
            seconds_left=self.clock.seconds_left(self.epochs * self.steps - done),
            memory_bytes=peak_memory(self.accelerator.device),
        )
        self.reporter.step(progress)
        if done % self.log_every == 0 and result.applied:
            values = {
                "classification": result.classification,
                "box": result.box,
                "loss": result.loss,
                "learning_rate": learning_rate,
                "gradient_norm": result.gradient_norm,
                "images_per_second": progress.images_per_second,
                "memory_megabytes": progress.memory_bytes / 2**20,
            }
            self.journal.write("step", epoch=epoch + 1, step=done, **values)
            self._track(values, step=done)

    def skipped(self, names: list[str], *, epoch: int, step: int) -> None:
        """Tell of a step that was left out, with its images; epoch from 0, step of the epoch."""
        done = epoch * self.steps + step
        if self.accelerator.is_main_process:
            self.reporter.warn(
                f"Step {done}: the loss is not finite and the step is left out. "
                f"Its images: {', '.join(names)}."
            )
        self.journal.write("skipped", epoch=epoch + 1, step=done, images=names)

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Tell of an epoch."""
        if self.accelerator.is_main_process:
            self.journal.write("epoch", **summary)
            self.reporter.epoch(summary)
            numbers = {**summary, **summary.get("validation", {})}
            self._track(numbers, step=summary["epoch"] * self.steps)

    def _track(self, values: Mapping[str, Any], *, step: int) -> None:
        if self._tracks:
            numbers = {name: v for name, v in values.items() if isinstance(v, int | float)}
            self.accelerator.log(numbers, step=step)
