"""The paper's claims on real data: losses and the prior, everything else equal.

    python benchmarks/ablation.py --data ../shared/data/bccd --epochs 4 --size 224

Cross entropy, balanced cross entropy and focal loss (gamma 0.5, 1, 2, 5), each with the prior of
0.01 and without (0.5), from the same seed; AP on the test split with the last weights. Writes a
table as JSON and a picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import RESULTS, print_table, write_result

import foveal
from foveal.config import make_settings
from foveal.errors import TrainingError
from foveal.training.reporters import LoggingReporter

LOSSES = {
    "cross_entropy": ["loss.gamma=0.0", "loss.alpha=none"],
    "balanced, alpha 0.75": ["loss.gamma=0.0", "loss.alpha=0.75"],
    "focal, gamma 0.5": ["loss.gamma=0.5", "loss.alpha=0.5"],
    "focal, gamma 1": ["loss.gamma=1.0", "loss.alpha=0.25"],
    "focal, gamma 2": ["loss.gamma=2.0", "loss.alpha=0.25"],
    "focal, gamma 5": ["loss.gamma=5.0", "loss.alpha=0.25"],
}
"""The paper's table 1b pairs each gamma with its best alpha; so does this."""
PRIORS = (0.01, 0.5)


class Losses(LoggingReporter):
    def __init__(self) -> None:
        self.first = float("nan")

    def epoch(self, summary: Mapping[str, Any]) -> None:
        if summary["epoch"] == 1:
            self.first = float(summary["loss"])


def measure(options: argparse.Namespace, settings: list[str], prior: float) -> dict[str, Any]:
    training = foveal.read(f"{options.data}:train+val")
    test = foveal.read(f"{options.data}:test")
    overrides = [
        f"model.weights={options.weights}",
        f"model.prior={prior}",
        f"preparation.shorter={options.size}",
        f"preparation.longer={round(options.size * 5 / 3)}",
        f"training.epochs={options.epochs}",
        f"training.evaluate_every={options.epochs}",
        *settings,
        *options.set,
    ]
    reporter = Losses()
    detector = foveal.Detector(
        training, settings=make_settings(preset=options.preset, overrides=overrides)
    )
    try:
        detector.fit(valid=test, reporter=reporter)
    except TrainingError:
        return {"first epoch's loss": reporter.first, "AP": float("nan"), "AP50": float("nan")}
    evaluation = detector.evaluate(test)
    return {"first epoch's loss": reporter.first, "AP": evaluation.ap, "AP50": evaluation.ap50}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = list(LOSSES)
    for offset, prior in zip((-0.2, 0.2), PRIORS, strict=True):
        values = [
            next(row["AP50"] for row in rows if row["loss"] == name and row["prior"] == prior)
            for name in names
        ]
        axes.bar([i + offset for i in range(len(names))], values, 0.38, label=f"prior {prior:g}")
    axes.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=8)
    axes.set_ylabel("AP50, test split")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="../shared/data/bccd")
    parser.add_argument(
        "--weights", default="../shared/weights/mobilenetv2_100_imagenet.safetensors"
    )
    parser.add_argument("--preset", default="light")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    options = parser.parse_args()
    rows = []
    for prior in PRIORS:
        for name, settings in LOSSES.items():
            rows.append({"loss": name, "prior": prior, **measure(options, settings, prior)})
            print(rows[-1], flush=True)
    print_table(rows)
    path = write_result("ablation", rows, options={k: str(v) for k, v in vars(options).items()})
    draw(rows, RESULTS / "ablation.svg")
    print("written:", path.name, "and ablation.svg")


if __name__ == "__main__":
    main()
