"""Trainings that take no time: what a run would write, made of what is known of its images."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.training.conftest import TINY

from foveal.config import make_settings
from foveal.data.dataset import Dataset
from foveal.detector import Detector
from foveal.errors import TrainingInterrupted
from foveal.experiments.recipe import Recipe
from foveal.outputs.files import write_coco
from foveal.structures import Detections


def make_recipe(*overrides: str, **training: object) -> Recipe:
    settings = make_settings(
        preset="retinanet", overrides=(*TINY, "anchors.scales=[1]", *overrides)
    )
    return Recipe(settings=settings, training=training)


class StandIn:
    """In place of `train_part`: remembers what each run was given, and detects what is there.

    Every box is moved by a pixel or two, by the image, and the last object of every second image is
    missed.
    """

    def __init__(self, *, stop_at: str = "", error: Exception | None = None) -> None:
        self.stop_at = stop_at
        self.error = error or TrainingInterrupted("Stopped.")
        self.runs: dict[str, tuple[Detector, Dataset, Dataset]] = {}

    def __call__(self, detector, *, valid, folder, file, reporter) -> None:
        if folder.path.name == self.stop_at:
            folder.state.parent.mkdir(parents=True, exist_ok=True)
            folder.state.write_text("half a run")
            raise self.error
        self.runs[folder.path.name] = (detector, detector._data, valid)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.best.write_bytes(_model_of(detector, folder.best))
        write_coco(file, [self.detect(valid, index) for index in range(len(valid))])

    def detect(self, data: Dataset, index: int) -> Detections:
        record, target = data.records[index], data.target(index)
        number = sum(map(ord, record.path.stem))
        boxes, labels = target.boxes, target.labels
        if number % 2:
            boxes, labels = boxes[:-1], labels[:-1]
        return Detections(
            boxes + np.float32(number % 3),
            np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
            labels,
            classes=data.classes,
            width=record.width,
            height=record.height,
            path=record.path,
        )


def fit_at_once(detector: Detector, *, out: Path, resume: bool, reporter: object) -> Detector:
    """In place of `Detector.fit`."""
    out.mkdir(parents=True, exist_ok=True)
    return detector


_models: dict[tuple[str, ...], bytes] = {}


def _model_of(detector: Detector, path: Path) -> bytes:
    """A model file of the detector's classes: building a network takes its time."""
    if detector.classes not in _models:
        detector.save(path)
        _models[detector.classes] = path.read_bytes()
    return _models[detector.classes]


def files_of(folder: Path) -> list[Path]:
    """All files below a folder, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def is_killed_at_write(number: int, run: Callable[[], object]) -> bool:
    """Whether something that is killed before its nth file takes its place comes that far."""

    def run_until_then() -> None:
        _die_at_write(number)
        run()

    return is_killed(run_until_then)


def is_killed(run: Callable[[], object]) -> bool:
    """Run something in a process of its own, which may kill itself; whether it did."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def _die_at_write(number: int) -> None:
    put, left = Path.replace, number

    def replace(path: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return put(path, target)

    Path.replace = replace  # type: ignore[method-assign]
