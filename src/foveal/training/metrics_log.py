"""What a run tells while it goes: lines in metrics.jsonl, and progress for whoever watches.

Each line of metrics.jsonl is an object with `kind`:

- `step`: epoch, step (from 1, of the whole run), classification, box, loss, learning_rate,
  gradient_norm, images_per_second, memory_megabytes;
- `skipped`: epoch, step and the names of the images whose loss was not finite;
- `epoch`: epoch (from 1), steps, seconds, the means of classification, box and loss over the epoch,
  learning_rate, images_per_second, waiting (share of the time spent waiting for data) and, where
  the epoch was validated, `validation` (a dictionary of numbers) and `best` (true or false).
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from foveal.errors import TrainingError
from foveal.files import writing
from foveal.text import without_nan
from foveal.training.run_folder import HOW_TO_GO_ON

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a run, as it is shown.

    Attributes:
        epoch, epochs: from 1.
        step, steps: of this epoch, from 1.
        classification, box: the step's losses.
        learning_rate: of the new layers.
        images_per_second: over the last steps, all processes together, validation left out.
        seconds_left: a guess for the whole run, None before there is one.
        memory_bytes: the most in use so far, on the device (on a CPU: of the process).
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
    """Tells the logger `foveal.training.metrics_log`: warnings as such, all else at INFO."""

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


class MetricsLog:
    """Writes metrics.jsonl; without a path it keeps silent."""

    def __init__(self, path: Path | None, *, keep_bytes: int = 0) -> None:
        """Open the file and forget what lies beyond the first `keep_bytes` bytes.

        Raises:
            TrainingError: the file can't be written.
        """
        self._path = path
        self._file = None
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


def describe_epoch(summary: Mapping[str, Any]) -> str:
    """One line about an epoch."""
    parts = [
        f"epoch {summary['epoch']}",
        f"loss {summary['loss']:.4f}"
        f" (classification {summary['classification']:.4f}, box {summary['box']:.4f})",
        f"{summary['images_per_second']:.1f} images/s",
    ]
    validation = summary.get("validation") or {}
    parts += [f"{name} {value:.3f}" for name, value in validation.items() if name in ("AP", "AP50")]
    if summary.get("best"):
        parts.append("best so far")
    return ", ".join(parts)
