"""Fitted anchors against the default ones on small objects, same budget.

    python -m benchmarks.studies.anchors_on_small_objects --epochs 6

hit-uav: people and vehicles from above, mostly under 32 pixels; `DontCare` is ignored.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import foveal
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import HIT_UAV
from benchmarks.lib.training import EpochLog, add_training_options, training_settings
from foveal.config import Settings

SHAPES = {
    "default": [
        "anchors.scales=[1.0, 1.2599210498948732, 1.5874010519681994]",
        "anchors.ratios=[0.5, 1.0, 2.0]",
    ],
    "fitted": [],
}
"""By name the settings of the anchors; without any they are fitted to the objects."""


def plan(options: argparse.Namespace) -> dict[str, Settings]:
    """The settings of each training."""
    return {
        name: training_settings(options, ["assignment.method=iou", *shapes], preset=options.preset)
        for name, shapes in SHAPES.items()
    }


def measure(settings: Settings, data: Path) -> dict[str, Any]:
    """Train and evaluate."""
    detector = foveal.Detector(data / "train.json", settings=settings, ignore=["DontCare"])
    log = EpochLog()
    detector.fit(valid=data / "val.json", reporter=log)
    evaluation = detector.evaluate(data / "val.json")
    return {
        "recall of anchors": detector.anchors.chosen.quality.recall if detector.anchors else "-",
        "AP": evaluation.ap,
        "AP50": evaluation.ap50,
        "AP under 32 px": evaluation.ap_small,
        "minutes": sum(log.seconds) / 60,
        "waiting": max(float(summary["waiting"]) for summary in log.summaries),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows = []
    for name, settings in plan(options).items():
        print(name, flush=True)
        rows.append({"anchors": name, **measure(settings, options.data)})
    print_table(rows)
    path = write_result("anchors_on_small_objects", rows, folder=options.out, options=vars(options))
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_options(parser, data=HIT_UAV, epochs=6, size=512)
    parser.add_argument("--preset", default="light")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
