"""A training of some library's, done: how long it took, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import foveal
from benchmarks.lib.torchvision_detectors import DETECTORS
from benchmarks.lib.torchvision_training import TorchvisionRun, TorchvisionTraining
from benchmarks.lib.training import EpochLog
from foveal.acceleration.precision import NAMES, choose_precision
from foveal.config import Settings
from foveal.data.dataset import Dataset
from foveal.evaluation.evaluate import evaluate
from foveal.evaluation.results import Evaluation
from foveal.structures import Detections
from foveal.training.self_training import SelfTrainingFolder

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Trained:
    """A network with its last weights.

    Attributes:
        seconds: of each epoch.
        evaluate: measures it by foveal's evaluation.
        detect: from an image's file to detections; None where it can't be asked for one image.
        facts: further columns of its row.
        save: writes foveal's model file; None for the others.
    """

    seconds: list[float]
    evaluate: Callable[[Dataset], Evaluation]
    detect: Callable[[Path], Detections] | None
    facts: dict[str, Any] = field(default_factory=dict)
    save: Callable[[Path], None] | None = None


def epochs_in(minutes: float, seconds: float) -> int:
    """How many epochs of so many seconds fit into the minutes, at least one."""
    return max(1, round(60 * minutes / seconds))


def train_foveal(training: Dataset, settings: Settings) -> Trained:
    """foveal's training; nothing is chosen in it, the last weights stay."""
    detector, log = foveal.Detector(training, settings=settings), EpochLog()
    # Something must be validated with, and no test image may be: it chooses nothing here.
    detector.fit(valid=training[:1], reporter=log)
    return _as_trained(detector, log)


def self_train_foveal(
    training: Dataset, unlabeled: Dataset, settings: Settings, *, valid: Dataset, out: Path
) -> Trained:
    """foveal's self-training of one round; the better of both trainings stays.

    Args:
        training: the images with labels.
        unlabeled: images whose labels are not looked at.
        settings: of both trainings, which share `training.minutes`.
        valid: says which detections are sure, and which training is better.
        out: the folder of the rounds.
    """
    detector, log = foveal.Detector(training, settings=settings), EpochLog()
    detector.self_train(unlabeled, out=out, valid=valid, reporter=log)
    rounds = json.loads(SelfTrainingFolder(out).log.read_text())["rounds"]
    return _as_trained(detector, log, **{"AP of the rounds": [each["AP"] for each in rounds]})


def _as_trained(detector: foveal.Detector, log: EpochLog, **more: Any) -> Trained:
    """A detector that was trained; `more` are further columns of its row."""
    found = detector.settings
    predictor = detector.predictor(score_threshold=found.decoding.score_threshold)
    device = next(detector.model.parameters()).device
    facts = {
        "first stride": found.anchors.strides[0],
        "input": found.preparation.shorter,
        "precision": NAMES[choose_precision(found.training.precision, device)],
        "parameters": count_parameters(detector.model),
        "begins from": f"{found.model.backbone}, {Path(found.model.weights).name}",
        **more,
    }
    return Trained(
        log.seconds,
        detector.evaluate,
        lambda path: predictor.detect_many([path])[0],
        facts,
        detector.save,
    )


def train_torchvision(
    name: str,
    training: Dataset,
    asked: TorchvisionTraining,
    *,
    weights: Path,
    size: int,
    seed: int,
) -> Trained:
    """Training of one of `torchvision_detectors.DETECTORS`."""
    torch.manual_seed(seed)
    classes = training.classes
    model = DETECTORS[name](weights, classes=len(classes), size=size)
    run = TorchvisionRun(model, training, asked)
    for number in range(asked.epochs):
        run.epoch()
        print(f"  epoch {number + 1}: {run.seconds[-1]:.0f} s, loss {run.loss:.3f}", flush=True)
    facts = {
        "first stride": 4 if name == "faster-rcnn" else 16 if name == "ssdlite" else 8,
        "input": size,
        "precision": NAMES[asked.precision],
        "parameters": count_parameters(model),
        "begins from": f"mobilenet_v2, {weights.name}",
    }
    return Trained(
        run.seconds,
        lambda test: evaluate(run.detect(test), test.targets, test.classes),
        lambda path: run.detect_file(path, classes),
        facts,
    )


def count_parameters(model: nn.Module) -> int:
    """Numbers that a training could change, frozen ones included."""
    return sum(weights.numel() for weights in model.parameters())
