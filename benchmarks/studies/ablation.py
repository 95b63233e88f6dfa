"""The paper's claims on real data: losses and the prior, everything else equal.

    python -m benchmarks.studies.ablation --epochs 4 --size 224

Cross entropy, balanced cross entropy and focal loss (gamma 0.5, 1, 2, 5), each with the prior of
0.01 and without (0.5), from the same seed; AP on the test split with the last weights. Writes a
table as JSON and a picture.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import foveal
from benchmarks.lib.results import RESULTS, print_table, write_result
from benchmarks.lib.shared_data import BCCD
from benchmarks.lib.training import EpochLog, add_training_options, training_settings
from foveal.config import Settings
from foveal.errors import TrainingError
from foveal.files import write_file
from foveal.visualization.svg import LINE_COLORS, new_axes, to_svg

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


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        loss: a key of `LOSSES`.
        prior: the score that a new network gives every class.
        settings: all of them.
    """

    loss: str
    prior: float
    settings: Settings


PLAIN = ("assignment.method=iou", "loss.box=smooth_l1", "loss.box_weight=1.0")
"""The paper's, whatever the preset has."""


def plan(options: argparse.Namespace) -> list[Trial]:
    """Every loss with every prior."""
    return [
        Trial(
            loss,
            prior,
            training_settings(
                options, [*PLAIN, f"model.prior={prior}", *overrides], preset=options.preset
            ),
        )
        for prior in PRIORS
        for loss, overrides in LOSSES.items()
    ]


def measure(trial: Trial, data: Path) -> dict[str, Any]:
    """Train and evaluate; AP is NaN where the training diverges."""
    log = EpochLog()
    detector = foveal.Detector(f"{data}:train+val", settings=trial.settings)
    row: dict[str, Any] = {"loss": trial.loss, "prior": trial.prior}
    try:
        detector.fit(valid=f"{data}:test", reporter=log)
    except TrainingError:
        ap = ap50 = math.nan
    else:
        evaluation = detector.evaluate(f"{data}:test")
        ap, ap50 = evaluation.ap, evaluation.ap50
    first = float(log.summaries[0]["loss"]) if log.summaries else math.nan
    return {**row, "first epoch's loss": first, "AP": ap, "AP50": ap50}


def draw(rows: Sequence[dict[str, Any]]) -> str:
    """AP50 as bars, one for each loss and prior, as SVG."""
    axes = new_axes(7, 3.5, x="", y="AP50, test split")
    names = list(LOSSES)
    for number, (offset, prior) in enumerate(zip((-0.2, 0.2), PRIORS, strict=True)):
        heights = {row["loss"]: row["AP50"] for row in rows if row["prior"] == prior}
        axes.bar(
            [place + offset for place in range(len(names))],
            [heights[name] for name in names],
            0.38,
            label=f"prior {prior:g}",
            color=LINE_COLORS[number],
        )
    axes.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=8)
    axes.legend(frameon=False)
    return to_svg(axes)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows = []
    for trial in plan(options):
        rows.append(measure(trial, options.data))
        print(rows[-1], flush=True)
    print_table(rows)
    path = write_result("ablation", rows, folder=options.out, options=vars(options))
    picture = (options.out or RESULTS) / "ablation.svg"
    write_file(picture, draw(rows) + "\n")
    print("written:", path.name, picture.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_training_options(parser, data=BCCD, epochs=4, size=224)
    parser.add_argument("--preset", default="light")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
