"""Time against accuracy: trained foveal models beside torchvision's network, and one picture.

    python -m benchmarks.studies.speed_accuracy --data ../shared/data/bccd:test \
        --calibration ../shared/data/bccd:train \
        --model light=runs/light/best.safetensors --model "standard R18"=runs/r18/best.safetensors \
        --untrained "standard R50"=standard,model.backbone=resnet50 \
        --torchvision torchvision.jsonl [--size 416] [--device cpu]

Each model predicts with PyTorch, in the precision that foveal chooses, and on a CPU with OpenVINO
too: in 8 bits where --calibration names images, else in what OpenVINO chooses. AP is measured on
the test split with the model's own preparation, for each of them. Time is an image's from decoded
uint8 pixels to detections, one image at a time, all networks in turn in one run; the pixels are
those of the split's first images, brought to --size x --size, so that a network that works at that
size gets what it expects and all get equally many. --untrained times a network that there is no
trained file of: a preset's name and settings; its AP is given as not available, and nothing of it
is in 8 bits.

Each line of the file after --torchvision is one of its networks: {"name": ..., "backbone":
"resnet18" | "resnet50" | "mobilenet_v2", "AP": number or null}, the AP as its own training reached
it elsewhere. Here it is timed with random weights, in float32 as it comes, at --size. GFLOP are
those of the network at 640 x 640, 2 for a multiplication and addition.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import foveal
from benchmarks.lib.contestants import Ours, evaluated, export, torchvision_prediction
from benchmarks.lib.machine import print_machine
from benchmarks.lib.networks import Task, make_foreign
from benchmarks.lib.operations import operations
from benchmarks.lib.results import RESULTS, print_table, write_result
from benchmarks.lib.subjects import Images, squared
from benchmarks.lib.timing import interleave
from foveal.checkpoints.model_file import LoadedModel, load
from foveal.config import Settings, make_settings
from foveal.data.dataset import Dataset
from foveal.files import write_file
from foveal.inference.opening import open_model, open_network
from foveal.models.build import build_model
from foveal.structures import ModelCard
from foveal.visualization.svg import ACCENT, INK, LINE_COLORS, MUTED, new_axes, plain, to_svg

MISSING = "not available"
DEFAULT_TORCHVISION = {"name": "torchvision R50", "backbone": "resnet50", "AP": None}
COUNTED_SIDE = 640
SHORT = 8
"""Letters of a name that finds room between the picture's edge and its leftmost point."""


@dataclass(frozen=True)
class Contestant:
    """One point of the picture.

    Attributes:
        name: what the picture says.
        work: predicts the images, one after the other.
        ap: on the test split; None where it is not measured.
        more: further columns.
        ours: whether it is foveal's.
    """

    name: str
    work: Callable[[], object]
    ap: float | None
    more: dict[str, Any] = field(default_factory=dict)
    ours: bool = True


@dataclass(frozen=True)
class Work:
    """What foveal's contestants have in common.

    Attributes:
        images: that are timed.
        device: on which.
        folder: for exported files.
        calibration: images for 8 bits; None leaves them out.
        test: images on which AP is measured.
    """

    images: Images
    device: str
    folder: Path
    calibration: Dataset | None
    test: Dataset


def trained(name: str, file: Path, work: Work) -> list[Contestant]:
    """A model file in each runtime, measured on the data."""
    contestants = []
    for contestant, ours in own_contestants(name, load(file), work, with_int8=True):
        evaluation = evaluated(ours, work.test)
        more = {
            "AP from": evaluation.ap_interval.low,
            "AP to": evaluation.ap_interval.high,
            "AP50": evaluation.ap50,
        }
        contestants.append(replace(contestant, ap=evaluation.ap, more={**contestant.more, **more}))
    return contestants


def untrained(name: str, text: str, work: Work, *, size: int) -> list[Contestant]:
    """A preset's network with random weights: 'standard,model.backbone=resnet50'."""
    settings = untrained_settings(text, size=size)
    logging.disable(logging.WARNING)  # random weights are meant here
    try:
        model = build_model(settings, len(work.test.classes)).eval()
    finally:
        logging.disable(logging.NOTSET)
    own = LoadedModel(model, settings, ModelCard(work.test.classes))
    return [contestant for contestant, _ in own_contestants(name, own, work, with_int8=False)]


def untrained_settings(text: str, *, size: int) -> Settings:
    """Of a preset and changes to it, 'standard,model.backbone=resnet50', for square inputs."""
    preset, *overrides = text.split(",")
    sides = [f"preparation.shorter={size}", f"preparation.longer={size}"]
    return make_settings(preset=preset, overrides=["model.weights=none", *sides, *overrides])


def own_contestants(
    name: str, own: LoadedModel, work: Work, *, with_int8: bool
) -> list[tuple[Contestant, Ours]]:
    """foveal's predictor with its defaults: on PyTorch, and on a CPU on OpenVINO."""
    shape = (1, own.settings.model.bands, COUNTED_SIDE, COUNTED_SIDE)
    gflop = sum(operations(own.model, shape, with_gradients=False).values()) / 1e9
    opened = {name: open_network(own, device=work.device)}
    if work.device == "cpu":
        calibration = work.calibration if with_int8 else None
        file = work.folder / f"{len(list(work.folder.iterdir()))}.xml"
        export(own, "openvino", file, calibration)
        opened[f"{name}, OpenVINO"] = open_model(file, device="cpu")
    contestants = []
    for title, each in opened.items():
        ours = Ours(title, each)
        more = {
            "size": own.settings.preparation.shorter,
            "GFLOP": gflop,
            "computes in": ours.precision,
        }
        predict = ours.prediction(
            work.images, batch=1, score_threshold=own.settings.decoding.score_threshold
        )
        contestants.append((Contestant(title, predict, None, more), ours))
    return contestants


def foreign(
    line: dict[str, Any], images: Images, *, classes: int, size: int, device: str
) -> Contestant:
    """torchvision's network of one line, with random weights and frozen norms."""
    task = Task(device, line["backbone"], classes + 1, height=size, width=size, batch=1)
    work = torchvision_prediction(make_foreign(task), task, images, "float32")
    ap = line.get("AP")
    more = {"size": size, "computes in": "float32"}
    return Contestant(line["name"], work, None if ap is None else float(ap), more, ours=False)


def read_lines(file: Path | None) -> list[dict[str, Any]]:
    """torchvision's networks.

    Raises:
        SystemExit: a line is none.
    """
    if file is None:
        return [DEFAULT_TORCHVISION]
    lines = []
    for number, text in enumerate(file.read_text().splitlines(), start=1):
        try:
            line = json.loads(text)
            lines.append({key: line[key] for key in ("name", "backbone", "AP")})
        except (ValueError, KeyError, TypeError) as error:
            raise SystemExit(
                f"{file.name}, line {number}: {error!r}. Expected "
                '{"name": ..., "backbone": ..., "AP": number or null}.'
            ) from None
    return lines


def draw(rows: Sequence[dict[str, Any]], *, data: str) -> str:
    """Time (x, logarithmic) against AP (y); what has no AP stands hollow on the x axis, aslant."""
    axes = new_axes(5.6, 3.8, x="milliseconds an image, end to end", y=f"AP on {data}")
    known = [row["AP"] for row in rows if row["AP"] != MISSING]
    top = max([*known, 0.05]) * 1.15
    axes.set_xscale("log")
    axes.set_ylim(0, top)
    times = [row["ms"] for row in rows]
    left, right = min(times) / 1.8, max(times) * 1.8
    axes.set_xlim(left, right)
    ticks = [base * 10.0**power for power in range(-2, 6) for base in (1, 2, 5)]
    ticks = [tick for tick in ticks if left <= tick <= right]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    for row in rows:
        has_ap = row["AP"] != MISSING
        height = row["AP"] if has_ap else 0.0
        color = ACCENT if row["by"] == "foveal" else LINE_COLORS[5]
        axes.scatter(
            [row["ms"]],
            [height],
            s=56,
            color=color if has_ap else "none",
            edgecolors=color,
            linewidths=1.6,
            clip_on=False,
            zorder=3,
        )
        beyond_middle = row["ms"] > math.sqrt(left * right)
        before = has_ap and (beyond_middle or any(in_the_way(row, other, top) for other in rows))
        axes.annotate(
            plain(row["name"] if has_ap else f"{row['name']}, no AP", 44),
            (row["ms"], height),
            xytext=(-9 if before else 9 if has_ap else 0, 0 if has_ap else 8),
            textcoords="offset points",
            rotation=0 if has_ap else 60,
            rotation_mode="anchor",
            ha="right" if before else "left",
            va="center",
            fontsize=9,
            color=INK if has_ap else MUTED,
        )
    return to_svg(axes, alone=True)


def in_the_way(row: dict[str, Any], other: dict[str, Any], top: float) -> bool:
    """Whether a short name at the right of a point would lie on another point."""
    if other["AP"] == MISSING or len(row["name"]) > SHORT:
        return False
    close = abs(row["AP"] - other["AP"]) < 0.05 * top
    return close and 1 < other["ms"] / row["ms"] < 1.6


def make_contestants(options: argparse.Namespace, work: Work) -> list[Contestant]:
    """All that are to be compared."""
    contestants: list[Contestant] = []
    for name, file in options.model:
        contestants += trained(name, Path(file), work)
    for name, text in options.untrained:
        contestants += untrained(name, text, work, size=options.size)
    classes = len(work.test.classes)
    return contestants + [
        foreign(line, work.images, classes=classes, size=options.size, device=options.device)
        for line in read_lines(options.torchvision)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    print_machine()
    data = foveal.read(options.data)
    count = min(options.images, len(data))
    square = (options.size, options.size)
    images = [squared(data[index].image, square) for index in range(count)]
    calibration = foveal.read(options.calibration) if options.calibration else None
    with tempfile.TemporaryDirectory() as folder:
        work = Work(images, options.device, Path(folder), calibration, data)
        contestants = make_contestants(options, work)
        seconds = interleave({item.name: item.work for item in contestants}, rounds=options.rounds)
    columns = ("AP from", "AP to", "AP50", "size", "GFLOP", "computes in")
    rows = []
    for item in contestants:
        each = seconds[item.name]["median"] / len(images)
        rows.append(
            {
                "name": item.name,
                "by": "foveal" if item.ours else "torchvision",
                "AP": MISSING if item.ap is None or math.isnan(item.ap) else item.ap,
                "ms": 1000 * each,
                **{column: item.more.get(column, "-") for column in columns},
            }
        )
    slowest = max(row["ms"] for row in rows)
    for row in rows:
        row["times the slowest"] = slowest / row["ms"]
    print_table(rows, title=f"{Path(options.data).name}, {len(images)} images, one at a time")
    picture = (options.out or RESULTS) / "speed_accuracy.svg"
    path = write_result(
        "speed_accuracy",
        rows,
        folder=options.out,
        data=Path(options.data).name,
        device=options.device,
        images=len(images),
        rounds=options.rounds,
        threads=torch.get_num_threads(),
    )
    write_file(picture, draw(rows, data=Path(options.data).name) + "\n")
    print("written:", path.name, picture.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/bccd:test")
    parser.add_argument("--calibration", help="images for 8 bits, as --data; without, no 8 bits")
    parser.add_argument("--model", type=pair_of, action="append", default=[], metavar="NAME=FILE")
    parser.add_argument(
        "--untrained", type=pair_of, action="append", default=[], metavar="NAME=PRESET,SETTINGS"
    )
    parser.add_argument("--torchvision", type=Path, help="a file of JSON lines")
    parser.add_argument("--size", type=int, default=416, help="sides of the timed images")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--images", type=int, default=16, help="that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file and the picture")
    return parser.parse_args(arguments)


def pair_of(text: str) -> tuple[str, str]:
    """'NAME=REST' as its two parts."""
    name, equals, rest = text.partition("=")
    if not (name and equals and rest):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=...")
    return name, rest


if __name__ == "__main__":
    main()
