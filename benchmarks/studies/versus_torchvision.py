"""The same training twice, epoch by epoch in turn: foveal's and torchvision's RetinaNet.

    python -m benchmarks.studies.versus_torchvision --epochs 12

Same images, backbone (MobileNetV2), ImageNet weights, input size, batch, epochs, memory layout and
precision (bf16 where the processor has a matrix unit for it, else float32; or --precision).
torchvision's half is its public API as its reference scripts use it: BackboneWithFPN, its default
anchors, frozen batch norm, SGD with a learning rate of 0.01 for 8 images and in proportion, or
--rate, cosine after 100 steps of warm-up, gradients of a norm of at most 10, flips both ways.
foveal's half is `Detector.fit` with its defaults and the same flips. Both are measured by the same
evaluation on the images that neither saw, with the last weights.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import foveal
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import BCCD
from benchmarks.lib.torchvision_detectors import make_retinanet
from benchmarks.lib.torchvision_training import (
    RATE,
    RATE_BATCH,
    TorchvisionRun,
    TorchvisionTraining,
)
from benchmarks.lib.training import EpochLog, add_training_options, training_settings
from foveal.acceleration.precision import choose_precision
from foveal.config import Settings
from foveal.evaluation.evaluate import evaluate


class Interleaved(EpochLog):
    """Runs an epoch of torchvision's training after each of foveal's."""

    def __init__(self, other: TorchvisionRun | None) -> None:
        super().__init__()
        self.other = other

    def epoch(self, summary: Mapping[str, Any]) -> None:
        """Keep foveal's epoch and run torchvision's."""
        super().epoch(summary)
        if self.other is not None:
            self.other.epoch()
            print(f"  torchvision: {self.other.seconds[-1]:.0f} s, loss {self.other.loss:.3f}")


def plan(options: argparse.Namespace) -> tuple[Settings, TorchvisionTraining | None]:
    """The settings of foveal's training, and what torchvision's is asked for."""
    settings = training_settings(
        options,
        [
            "model.backbone=mobilenetv2_100",
            f"training.batch={options.batch}",
            f"training.precision={options.precision}",
            "augmentation.flip_vertical=true",
        ],
        preset="standard",
    )
    if options.only_foveal:
        return settings, None
    return settings, TorchvisionTraining(
        epochs=options.epochs,
        batch=options.batch,
        rate=options.rate or RATE * options.batch / RATE_BATCH,
        precision=choose_precision(options.precision, "cpu"),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    settings, asked = plan(options)
    torch.manual_seed(0)
    training = foveal.read(f"{options.data}:train+val")
    test = foveal.read(f"{options.data}:test")
    other = None
    if asked is not None:
        model = make_retinanet(
            Path(options.weights), classes=len(training.classes), size=options.size
        )
        other = TorchvisionRun(model, training, asked)
    detector = foveal.Detector(training, settings=settings)
    log = Interleaved(other)
    detector.fit(valid=test, reporter=log)
    contestants = {"foveal": (detector.evaluate(test), log.seconds)}
    if other is not None:
        evaluation = evaluate(other.detect(test), test.targets, test.classes)
        contestants["torchvision"] = evaluation, other.seconds
    rows = [
        {
            "": name,
            "AP": evaluation.ap,
            "AP from": evaluation.ap_interval.low,
            "AP to": evaluation.ap_interval.high,
            "AP50": evaluation.ap50,
            "images/s": len(training) / statistics.median(seconds),
            "minutes": sum(seconds) / 60,
        }
        for name, (evaluation, seconds) in contestants.items()
    ]
    print_table(rows)
    name = f"versus_torchvision_{options.epochs}"
    path = write_result(name, rows, folder=options.out, options=vars(options))
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_options(parser, data=BCCD, epochs=12, size=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, help="torchvision's learning rate")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bf16"])
    parser.add_argument("--only-foveal", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
