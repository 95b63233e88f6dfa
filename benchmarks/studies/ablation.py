"""The paper's ablations on few images: alpha, gamma, prior and anchors, everything else equal.

    python -m benchmarks.studies.ablation run --work runs/ablation
    python -m benchmarks.studies.ablation run --only "gamma 2" --seed 1 --work runs/ablation
    python -m benchmarks.studies.ablation table --work runs/ablation

The plain detector, with the preset's network: IoU assignment, offsets from anchors, smooth L1.
Every trial with every seed; AP on images that no training sees, with the last weights, beside the
paper's AP (Lin et al. 2017, arXiv 1708.02002, table 1 a to c: ResNet-50 on COCO). The paper's
anchors begin with 4 strides, these with `--anchor-strides` 2, for objects of some 17 pixels.

Each training keeps one file in --work, and what has one is not trained again. Several processes
may work on one list side by side: each takes what no other has begun.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import foveal
from benchmarks.lib.few_images import DATA
from benchmarks.lib.kept_rows import Job, keep_rows, spread_of
from benchmarks.lib.machine import machine
from benchmarks.lib.results import RESULTS, print_table, write_result
from benchmarks.lib.shared_data import MOBILENET
from benchmarks.lib.training import EpochLog, training_settings
from foveal.config import Settings
from foveal.errors import TrainingDiverged
from foveal.files import write_file
from foveal.visualization.svg import ACCENT, INK, MUTED, new_axes, to_svg

STRIDES = (8, 16, 32, 64, 128)
PLAIN = (
    "assignment.method=iou",
    "model.box_coding=deltas",
    "model.box_bins=0",
    "model.level_scales=false",
    "loss.classification=focal",
    "loss.box=smooth_l1",
    "loss.box_weight=1.0",
    "model.prior=0.01",
)
"""What all trials begin with; focal loss with gamma 0 is cross entropy."""


def loss(gamma: float, alpha: float) -> tuple[str, ...]:
    return f"loss.gamma={gamma}", f"loss.alpha={alpha}"


def anchors(scales: int, ratios: int) -> tuple[str, ...]:
    """So many sizes within an octave, and ratios, as in the paper's table 1c."""
    return (
        f"anchors.scales={[round(2 ** (number / scales), 4) for number in range(scales)]}",
        f"anchors.ratios={[1.0] if ratios == 1 else [0.5, 1.0, 2.0]}",
    )


NINE = anchors(3, 3)
TABLES: dict[str, dict[str, tuple[tuple[str, ...], float | None]]] = {
    "alpha of cross entropy": {
        "alpha 0.25": (loss(0, 0.25), 0.108),
        "alpha 0.5": (loss(0, 0.5), 0.302),
        "alpha 0.75": (loss(0, 0.75), 0.311),
        "alpha 0.9": (loss(0, 0.9), 0.308),
    },
    # Each with its best alpha, as in the paper; gamma 0 is alpha 0.75 of above.
    "gamma of focal loss": {
        "gamma 0.5": (loss(0.5, 0.5), 0.329),
        "gamma 1": (loss(1, 0.25), 0.337),
        "gamma 2": (loss(2, 0.25), 0.340),
        "gamma 5": (loss(5, 0.25), 0.322),
    },
    "prior": {
        # The paper's diverged; it says nothing of focal loss without the prior.
        "no prior, alpha 0.5": ((*loss(0, 0.5), "model.prior=0.5"), None),
        "no prior, gamma 2": ((*loss(2, 0.25), "model.prior=0.5"), None),
    },
    # With gamma 2; 3 x 3 is gamma 2 of above.
    "anchors, scales x ratios": {
        "1 x 1": (anchors(1, 1), 0.303),
        "2 x 1": (anchors(2, 1), 0.319),
        "3 x 1": (anchors(3, 1), 0.318),
        "1 x 3": (anchors(1, 3), 0.324),
        "2 x 3": (anchors(2, 3), 0.342),
        "4 x 3": (anchors(4, 3), 0.338),
    },
}
"""For each table its trials: what they change, and the paper's AP where it has one."""
TRIALS = {name: changes for table in TABLES.values() for name, (changes, _) in table.items()}


def settings_of(name: str, options: argparse.Namespace, *, seed: int) -> Settings:
    """A trial's: nine anchors and focal loss with gamma 2 where it changes nothing of them."""
    sizes = [options.anchor_strides * stride for stride in STRIDES]
    return training_settings(
        options,
        [
            *PLAIN,
            f"anchors.sizes={sizes}",
            *NINE,
            *loss(2, 0.25),
            *TRIALS[name],
            f"training.seed={seed}",
            "training.validation_loss=false",
            "training.export=false",
        ],
        preset=options.preset,
    )


def run_one(name: str, options: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """Train and evaluate; AP is None where the training diverges."""
    training, measured = DATA[options.data].read("test")
    began, log = time.perf_counter(), EpochLog()
    detector = foveal.Detector(training, settings=settings_of(name, options, seed=seed))
    aps: dict[str, float | None] = {"AP": None, "AP50": None, "AP under 32 px": None}
    try:
        # Something must be validated with, and it chooses nothing: the last weights are measured.
        detector.fit(valid=training[:1], reporter=log)
    except TrainingDiverged as problem:
        print(f"  {problem}", flush=True)
    else:
        found = detector.evaluate(measured)
        aps = {"AP": found.ap, "AP50": found.ap50, "AP under 32 px": found.ap_small}
    here = machine()
    return {
        "trial": name,
        **aps,
        "first epoch's loss": float(log.summaries[0]["loss"]) if log.summaries else None,
        "epochs": len(log.seconds),
        "minutes": (time.perf_counter() - began) / 60,
        "images": len(training),
        "measured": len(measured),
        "device": here["gpu"] or here["processor"],
        "commit": here["commit"],
        "versions": {key: here["versions"][key] for key in ("torch", "torchvision")},
    }


def run(options: argparse.Namespace) -> int:
    """Train what is not there yet, one seed after the other; how many failed."""
    jobs = [
        Job(
            options.work / f"{options.data}-{name}-{seed}.json",
            {
                "trial": name,
                "data": options.data,
                "seed": seed,
                "preset": options.preset,
                "epochs": options.epochs,
                "size": options.size,
                "anchor strides": options.anchor_strides,
                "settings": options.set,
                "weights": Path(options.weights).name,
            },
            partial(run_one, name, options, seed=seed),
        )
        for seed in options.seed
        for name in options.only or TRIALS
    ]
    return keep_rows(jobs, lambda row: f"AP {row['AP'] or 0:.3f}")


def make_table(options: argparse.Namespace) -> int:
    """Print and write the means of the seeds, and a picture."""
    kept: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(options.work.glob(f"{options.data}-*.json")):
        row = json.loads(file.read_text())
        kept.setdefault(row["trial"], []).append(row)
    if not kept:
        raise SystemExit(f"{options.work} holds no rows. Train some: run --work {options.work}")
    rows = [
        {"table": table, **mean_of(kept[name]), "paper's AP": paper}
        for table, trials in TABLES.items()
        for name, (_, paper) in trials.items()
        if name in kept
    ]
    print_table(rows)
    stem = f"ablation_{options.data.replace('-', '_')}"
    path = write_result(stem, rows, folder=options.out, asked=next(iter(kept.values()))[0]["asked"])
    picture = (options.out or RESULTS) / f"{stem}.svg"
    write_file(picture, draw(rows, data=options.data) + "\n")
    print("written:", path.name, picture.name)
    return 0


def mean_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One trial: the means of its seeds, the lowest and the highest AP, and where it was trained.

    A seed that diverged has no AP: the means are of the others, and `diverged` counts it.
    """
    ended = [row for row in rows if row["AP"] is not None]
    aps = [row["AP"] for row in ended]
    return {
        "trial": rows[0]["trial"],
        "AP": float(np.mean(aps)) if aps else None,
        **spread_of(rows),
        "AP50": float(np.mean([row["AP50"] for row in ended])) if aps else None,
        "diverged": len(rows) - len(ended),
    }


def draw(rows: Sequence[dict[str, Any]], *, data: str) -> str:
    """A line for each trial: the mean of its seeds and their range, as SVG."""
    axes = new_axes(6.4, 0.6 + 0.27 * (len(rows) + len(TABLES)), x=f"AP on {data}", grid="x")
    ticks: list[tuple[float, str]] = []
    place = 0.0
    for table in TABLES:
        mine = [row for row in rows if row["table"] == table]
        if not mine:
            continue
        axes.text(
            0, place, table, transform=axes.get_yaxis_transform(), color=MUTED, fontsize=9,
            va="center",
        )  # fmt: skip
        for row in mine:
            place += 1
            ticks.append((place, row["trial"]))
            if row["AP"] is None:
                axes.text(
                    0, place, " diverged", transform=axes.get_yaxis_transform(), color=INK,
                    fontsize=9, va="center",
                )  # fmt: skip
                continue
            axes.plot([row["AP from"], row["AP to"]], [place, place], color=ACCENT, linewidth=1.6)
            axes.scatter([row["AP"]], [place], s=30, color=ACCENT, zorder=3)
        place += 1
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.set_ylim(place - 0.5, -0.6)
    return to_svg(axes, alone=True)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    return {"run": run, "table": make_table}[options.verb](options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    run_options = verbs.add_parser("run", help="train and measure")
    run_options.add_argument("--seed", type=int, action="append", help="0, 1 and 2 if none is told")
    run_options.add_argument("--only", action="append", choices=list(TRIALS), metavar="TRIAL")
    run_options.add_argument("--preset", default="light", help="whose network is trained")
    run_options.add_argument("--weights", default=str(MOBILENET), help="a file")
    run_options.add_argument("--epochs", type=int, default=10)
    run_options.add_argument("--size", type=int, default=384, help="shorter side, pixels")
    run_options.add_argument("--anchor-strides", type=float, default=2, help="an anchor's side")
    run_options.add_argument("--set", action="append", default=[], help="a foveal setting")
    table_options = verbs.add_parser("table", help="the means of the seeds, and a picture")
    table_options.add_argument("--out", type=Path, help="the folder of the JSON and the picture")
    for each in (run_options, table_options):
        each.add_argument("--data", choices=list(DATA), default="hit-uav")
        each.add_argument("--work", type=Path, required=True, help="the folder of finished rows")
    options = parser.parse_args(arguments)
    if options.verb == "run":
        options.seed = options.seed or [0, 1, 2]
    return options


if __name__ == "__main__":
    raise SystemExit(main())
