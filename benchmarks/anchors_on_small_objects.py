"""Fitted anchors against the default ones on small objects, same budget.

    python benchmarks/anchors_on_small_objects.py --data ../shared/data/hit-uav --epochs 6

hit-uav: people and vehicles from above, mostly under 32 pixels; `DontCare` is ignored.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from harness import print_table, write_result

import foveal
from foveal.config import make_settings
from foveal.training.reporters import LoggingReporter

DEFAULT_SHAPES = [
    "anchors.scales=[1.0, 1.2599210498948732, 1.5874010519681994]",
    "anchors.ratios=[0.5, 1.0, 2.0]",
]


class Seconds(LoggingReporter):
    def __init__(self) -> None:
        self.total = 0.0
        self.waiting: list[float] = []

    def epoch(self, summary: Mapping[str, Any]) -> None:
        self.total += float(summary["seconds"])
        self.waiting.append(float(summary["waiting"]))
        print(f"  epoch {summary['epoch']}: {summary['seconds']:.0f} s", flush=True)


def measure(options: argparse.Namespace, shapes: list[str]) -> dict[str, Any]:
    training = foveal.read(f"{options.data}/train.json")
    settings = make_settings(
        preset=options.preset,
        overrides=[
            f"model.weights={options.weights}",
            f"preparation.shorter={options.size}",
            f"preparation.longer={round(options.size * 5 / 3)}",
            f"training.epochs={options.epochs}",
            f"training.evaluate_every={options.epochs}",
            *shapes,
            *options.set,
        ],
    )
    detector = foveal.Detector(training, settings=settings, ignore=["DontCare"])
    reporter = Seconds()
    detector.fit(valid=f"{options.data}/val.json", reporter=reporter)
    evaluation = detector.evaluate(f"{options.data}/val.json")
    return {
        "recall of anchors": detector.anchors.chosen.quality.recall if detector.anchors else "-",
        "AP": evaluation.ap,
        "AP50": evaluation.ap50,
        "AP under 32 px": evaluation.ap_small,
        "minutes": reporter.total / 60,
        "waiting": max(reporter.waiting),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data/hit-uav")
    parser.add_argument(
        "--weights", default="../shared/weights/mobilenetv2_100_imagenet.safetensors"
    )
    parser.add_argument("--preset", default="light")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    options = parser.parse_args()
    rows = []
    for name, shapes in {"default": DEFAULT_SHAPES, "fitted": []}.items():
        print(name, time.strftime("%H:%M"), flush=True)
        rows.append({"anchors": name, **measure(options, shapes)})
    print_table(rows)
    path = write_result(
        "anchors_on_small_objects", rows, options={k: str(v) for k, v in vars(options).items()}
    )
    print("written:", path.name)


if __name__ == "__main__":
    main()
