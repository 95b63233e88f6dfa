"""The main job's time: `foveal train` on real images, and how long it waits for them.

    python -m benchmarks.speed.main_job [--data ../shared/data/hit-uav] [--epochs 3]
        [--backbone mobilenetv2_100] [--weights FILE] [--set training.workers=1]

Runs the command as a user does, in a process of its own, validation and report included. Seconds,
images a second and the share of the time that was spent waiting for data are the run's own
(metrics.jsonl; foveal.training.clock). The target is less than 5 % of waiting over all epochs; the
first one begins before any image is read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.lib.machine import print_machine
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import HIT_UAV, MOBILENET

ROOT = Path(__file__).resolve().parents[2]
TARGET = 0.05


def command(options: argparse.Namespace, out: Path) -> list[str]:
    """The arguments of `foveal`."""
    overrides = [
        f"model.backbone={options.backbone}",
        f"model.weights={options.weights}",
        f"preparation.shorter={options.size}",
        f"preparation.longer={max(options.size, round(options.size * 5 / 3))}",
        f"training.epochs={options.epochs}",
        f"training.batch={options.batch}",
        *options.set,
    ]
    arguments = ["train", str(options.data / options.train), "--preset", options.preset]
    arguments += ["--valid", str(options.data / options.valid), "--out", str(out)]
    arguments += [part for override in overrides for part in ("--set", override)]
    return arguments + [part for name in options.ignore for part in ("--ignore", name)]


def run_foveal(arguments: Sequence[str]) -> None:
    """Run the command.

    Raises:
        SystemExit: it failed.
    """
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    code = subprocess.run([sys.executable, "-m", "foveal", *arguments], env=environment).returncode
    if code:
        raise SystemExit(f"foveal {' '.join(arguments[:2])} ended with code {code}")


def read_epochs(metrics: Path) -> list[dict[str, Any]]:
    """The run's own account of each epoch."""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [
        {
            "epoch": line["epoch"],
            "seconds": line["seconds"],
            "images/s": line["images_per_second"],
            "waiting %": 100 * line["waiting"],
            "AP": line.get("validation", {}).get("AP", "-"),
        }
        for line in lines
        if line["kind"] == "epoch"
    ]


def waiting_fraction(rows: Sequence[dict[str, Any]]) -> float:
    """Of the time of all epochs."""
    seconds = sum(row["seconds"] for row in rows)
    return sum(row["seconds"] * row["waiting %"] / 100 for row in rows) / max(seconds, 1e-9)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        start = time.perf_counter()
        run_foveal(command(options, out))
        wall = time.perf_counter() - start
        rows = read_epochs(out / "metrics.jsonl")
    fraction = waiting_fraction(rows)
    training = sum(row["seconds"] for row in rows)
    title = f"{options.data.name}: {options.backbone}, {options.size} px, batch {options.batch}"
    print_table(rows, title=title)
    print(
        f"the whole command {wall:.1f} s, of which {training:.1f} s training; "
        f"waiting for data {fraction:.1%} (target below {TARGET:.0%}: "
        f"{'met' if fraction < TARGET else 'MISSED'})"
    )
    path = write_result(
        "main_job",
        rows,
        folder=options.out,
        options={
            "data": options.data.name,
            "backbone": options.backbone,
            "size": options.size,
            "batch": options.batch,
            "set": options.set,
        },
        wall_seconds=wall,
        training_seconds=training,
        waiting=fraction,
        target_met=fraction < TARGET,
    )
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HIT_UAV)
    parser.add_argument("--train", default="train.json", help="in the folder of the data")
    parser.add_argument("--valid", default="val.json", help="in the folder of the data")
    parser.add_argument("--ignore", nargs="*", default=["DontCare"])
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--weights", default=str(MOBILENET), help="a file, 'pretrained' or 'none'")
    parser.add_argument("--size", type=int, default=512, help="shorter side of the input, pixels")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], help="a foveal setting")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
