"""What studies that train have in common: options, settings, and what a run is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.networks import LONGER
from benchmarks.lib.shared_data import MOBILENET
from foveal.config import Settings, make_settings
from foveal.training.reporters import LoggingReporter


def add_training_options(
    parser: argparse.ArgumentParser, *, data: Path, epochs: int, size: int
) -> None:
    """The options of every study that trains, with its own defaults."""
    parser.add_argument("--data", type=Path, default=data, help="the data set's folder")
    parser.add_argument("--weights", default=str(MOBILENET), help="a file, 'pretrained' or 'none'")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--size", type=int, default=size, help="shorter side of the input, pixels")
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")


def training_settings(
    options: argparse.Namespace, overrides: Sequence[str] = (), *, preset: str
) -> Settings:
    """Settings of a run that is validated once, at its end.

    Args:
        options: of `add_training_options`; its --set come last.
        overrides: of the study, such as 'loss.gamma=1.0'.
        preset: to begin with.

    Raises:
        SettingsError: an override is none.
    """
    return make_settings(
        preset=preset,
        overrides=[
            f"model.weights={options.weights}",
            f"preparation.shorter={options.size}",
            f"preparation.longer={round(LONGER * options.size)}",
            f"training.epochs={options.epochs}",
            f"training.evaluate_every={options.epochs}",
            *overrides,
            *options.set,
        ],
    )


class EpochLog(LoggingReporter):
    """Keeps what each epoch of a run logs."""

    def __init__(self) -> None:
        self.summaries: list[Mapping[str, Any]] = []

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Keep one epoch's summary and say how long it took."""
        self.summaries.append(summary)
        print(
            f"  epoch {summary['epoch']}: {summary['seconds']:.0f} s, loss {summary['loss']:.3f}",
            flush=True,
        )

    @property
    def seconds(self) -> list[float]:
        """Of each epoch."""
        return [float(summary["seconds"]) for summary in self.summaries]
