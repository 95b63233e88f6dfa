"""Reporters: objects that a run calls after each step and epoch, and with messages for people."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from foveal.text import counted

logger = logging.getLogger(__name__)

_SECONDS = 10.0
"""So often it is said how many images were looked at."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a run, as it is shown.

    Attributes:
        epoch, epochs: from 1.
        step, steps: of this epoch, from 1.
        classification, box: the step's losses.
        distillation: its loss against a teacher, 0 where there is none.
        learning_rate: of the new layers.
        images_per_second: over the last steps, all processes together, validation left out.
        seconds_left: a guess for the whole run, None before there is one.
        total_steps: of the run.
        memory_bytes: the most in use so far, on the device (on a CPU: of the process).
        best: the highest AP of a validation so far; None before there is one above 0.
        best_epoch: the epoch (from 1) that had it.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    classification: float
    box: float
    learning_rate: float
    images_per_second: float
    seconds_left: float | None
    memory_bytes: int
    total_steps: int = 0
    distillation: float = 0.0
    best: float | None = None
    best_epoch: int = 0


class Reporter(Protocol):
    """Who wants to know how a run goes; called in the main process only."""

    def step(self, progress: Progress) -> None:
        """A step is done."""

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """An epoch is done; the summary is its line in metrics.jsonl."""

    def say(self, text: str) -> None:
        """Something that a person may want to read once."""

    def warn(self, text: str) -> None:
        """Something is not as it should be."""


class LoggingReporter:
    """Tells the logger `foveal.training.reporters`: warnings as such, all else at INFO."""

    def step(self, progress: Progress) -> None:
        """Say nothing: metrics.jsonl has the steps."""

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Log one line an epoch."""
        logger.info(describe_epoch(summary))

    def say(self, text: str) -> None:
        """Log the text."""
        logger.info(text)

    def warn(self, text: str) -> None:
        """Log the text as a warning."""
        logger.warning(text)


class SilentReporter:
    """Says nothing: for all processes but the first."""

    def step(self, progress: Progress) -> None:
        """Say nothing."""

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Say nothing."""

    def say(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""


def describe_epoch(summary: Mapping[str, Any]) -> str:
    """One line about an epoch."""
    parts = [
        f"epoch {summary['epoch']}",
        _describe_losses(summary),
        f"{summary['images_per_second']:.1f} images/s",
    ]
    validation = summary.get("validation") or {}
    parts += [
        f"{name} {value:.3f}" if math.isfinite(value) else f"{name} undefined"
        for name, value in validation.items()
        if name in ("AP", "AP50")
    ]
    if "validation_loss" in validation:
        loss = validation["validation_loss"]
        shown = f"{loss:.4f}" if math.isfinite(loss) else "not finite"
        parts.append(f"validation loss {shown}")
    if summary.get("best"):
        parts.append("best so far")
    elif summary.get("best_AP"):
        parts.append(f"best so far {summary['best_AP']:.3f} in epoch {summary['best_epoch']}")
    return ", ".join(parts)


def _describe_losses(summary: Mapping[str, Any]) -> str:
    """The mean over the steps that were finite, and how many were not."""
    lost, steps = summary.get("nonfinite_steps", 0), summary.get("steps", 0)
    if not math.isfinite(summary["loss"]):
        return (
            f"loss not finite ({lost} of {counted(steps, 'step')})" if lost else "no step trained"
        )
    parts = f"classification {summary['classification']:.4f}, box {summary['box']:.4f}"
    if "distillation" in summary:
        parts += f", distillation {summary['distillation']:.4f}"
    if lost:
        parts += f"; {lost} of {counted(steps, 'step')} not finite, left out"
    return f"loss {summary['loss']:.4f} ({parts})"


def telling_how_far(reporter: Reporter) -> Callable[[int, int], None]:
    """What says now and then how far a search for near-duplicates is.

    Args:
        reporter: gets the sentences.

    Returns:
        Takes (images looked at, images).
    """
    last = time.monotonic()

    def progress(done: int, images: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS:
            last = time.monotonic()
            reporter.say(f"Looking for images that look alike: {done:,} of {images:,}.")

    return progress
