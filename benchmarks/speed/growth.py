"""How time and memory grow with objects, classes, pixels and images, in a small network.

    python -m benchmarks.speed.growth --device cpu|cuda [--curves objects classes size batch]

A training step (the real one), its losses alone (assignment, losses and their backward pass) and
a prediction (the real predictor, every anchor a candidate; with N objects an image it keeps N
detections) at a few points of each curve, all else fixed. Behind each value stands how it grew from
the point before: the exponent p in value ~ x^p, where x of the curve "size" is the number of
pixels. 1 is linear; "!" marks what is clearly worse. Memory is the most that a process takes for
all of it, beyond the loaded libraries.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.machine import print_machine
from benchmarks.lib.memory import peaks_megabytes
from benchmarks.lib.networks import Task, draw_images, precision_name
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.steps import make_foveal_batch, step_of
from benchmarks.lib.timing import interleave
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import make_settings
from foveal.inference.opening import open_network
from foveal.models.build import build_model
from foveal.structures import ModelCard, RawOutput
from foveal.training.setup import make_criterion

WORSE = 1.15
"""Exponents up to here may be linear growth and noise."""
SETTINGS = (
    "model.weights=none",
    "model.fpn_channels=32",
    "model.head_channels=32",
    "model.head_depth=1",
)
MEASURED = ("training step ms", "losses ms", "prediction ms", "training MB", "prediction MB")


@dataclass(frozen=True)
class Curve:
    """Points of one property, with everything else as in `rest`."""

    values: tuple[int, ...]
    rest: dict[str, int]


CURVES = {
    "objects": Curve((0, 5, 50, 500, 5000), {"side": 512, "batch": 2, "classes": 10}),
    "classes": Curve((1, 10, 80, 300, 1200), {"side": 256, "batch": 2, "objects": 15}),
    "size": Curve((256, 512, 1024, 2048), {"batch": 1, "classes": 10, "objects": 15}),
    "batch": Curve((1, 2, 4, 8, 16), {"side": 256, "classes": 10, "objects": 15}),
}
PROPERTY = {"size": "side"}


def task_of(device: str, backbone: str, values: dict[str, int]) -> Task:
    """A point of a curve."""
    side = values["side"]
    return Task(
        device,
        backbone,
        values["classes"],
        height=side,
        width=side,
        batch=values["batch"],
        objects=values["objects"],
    )


def make_network(task: Task) -> LoadedModel:
    """foveal's own small network with random weights, as many detections as objects."""
    settings = make_settings(
        overrides=[
            *SETTINGS,
            f"model.backbone={task.backbone}",
            f"preparation.shorter={task.shorter}",
            f"preparation.longer={task.longer}",
            f"decoding.max_detections={max(1, task.objects)}",
            f"decoding.top_per_level={max(1000, task.objects)}",
        ]
    )
    logging.disable(logging.WARNING)  # random weights are meant here
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            model = build_model(settings, task.classes)
    finally:
        logging.disable(logging.NOTSET)
    names = tuple(f"class {number}" for number in range(task.classes))
    # Every anchor is a candidate.
    return LoadedModel(model, settings, ModelCard(names, score_threshold=0.0))


def training(task: Task, precision: str) -> Callable[[], object]:
    """A training step, without torch.compile: every point would compile anew."""
    return step_of(make_network(task), task, precision, "off")


def losses(task: Task) -> Callable[[], None]:
    """The criterion and its backward pass, on fixed outputs of the network."""
    own = make_network(task)
    criterion = make_criterion(own.settings)
    batch = make_foveal_batch(own, task).to(task.device)
    model = own.model.to(task.device)
    anchors = model.anchors(*batch.images.shape[-2:])
    with torch.no_grad():
        raw = model(batch.images)
    parts = (tuple(level.detach().requires_grad_() for level in part) for part in raw)
    leaves = RawOutput(*parts)

    def work() -> None:
        criterion(leaves, anchors, batch).total.backward()
        for level in (*leaves.logits, *leaves.deltas):
            level.grad = None

    return work


def prediction(task: Task, precision: str) -> Callable[[], object]:
    """The task's images through the predictor."""
    opened = open_network(make_network(task), device=task.device, precision=precision)
    predictor = opened.predictor()
    images = draw_images(task)
    return lambda: predictor.detect_many(images)


def measure_time(task: Task, precision: str, rounds: int) -> dict[str, float]:
    """Milliseconds of each."""
    contestants = {
        "training step ms": training(task, precision),
        "losses ms": losses(task),
        "prediction ms": prediction(task, precision),
    }
    seconds = interleave(contestants, rounds=rounds)
    return {name: 1000 * times["median"] for name, times in seconds.items()}


def measure_memory(tasks: Sequence[Task], precision: str) -> list[dict[str, float]]:
    """Megabytes of each at each point."""
    points = [(task, precision) for task in tasks]
    device = tasks[0].device
    return [
        {"training MB": trained, "prediction MB": predicted}
        for (trained, _), (predicted, _) in zip(
            peaks_megabytes(training, points, device=device),
            peaks_megabytes(prediction, points, device=device),
            strict=True,
        )
    ]


def exponent(before: tuple[float, float], after: tuple[float, float]) -> float | None:
    """How y grows with x, y ~ x^p, between two points (x, y); None where it can't be said."""
    if min(*before, *after) <= 0:
        return None
    return math.log(after[1] / before[1]) / math.log(after[0] / before[0])


def exponents(rows: list[dict[str, Any]], *, power: int) -> list[dict[str, float | None]]:
    """For each row the exponent of every measured column from the row before; x is the first.

    Args:
        rows: of one curve.
        power: of the first column that counts: 2 where it is a side and pixels count.
    """
    x = next(iter(rows[0]))
    powers: list[dict[str, float | None]] = [{}]
    for before, after in pairwise(rows):
        powers.append(
            {
                column: exponent(
                    (before[x] ** power, before[column]), (after[x] ** power, after[column])
                )
                for column in MEASURED
                if column in after
            }
        )
    return powers


def with_exponents(
    rows: list[dict[str, Any]], growth: list[dict[str, float | None]]
) -> list[dict[str, str]]:
    """The rows as text, each value with its exponent behind it and a mark where it is worse."""
    return [
        {
            column: str(value)
            if column not in MEASURED
            else f"{value:.4g} {_said(powers.get(column)):>7}"
            for column, value in row.items()
        }
        for row, powers in zip(rows, growth, strict=True)
    ]


def _said(p: float | None) -> str:
    return "" if p is None else f"({p:.2f}){'!' if p > WORSE else ' '}"


def worse_than_linear(
    rows: list[dict[str, Any]], growth: list[dict[str, float | None]]
) -> list[str]:
    """In words, each place that is marked."""
    x = next(iter(rows[0]))
    return [
        f"{x} {before[x]} to {after[x]}: {column}, exponent {p:.2f}"
        for (before, after), powers in zip(pairwise(rows), growth[1:], strict=True)
        for column, p in powers.items()
        if p is not None and p > WORSE
    ]


def measure_curve(
    name: str, values: Sequence[int], options: argparse.Namespace, precision: str
) -> list[dict[str, Any]]:
    """The rows of one curve."""
    rest = CURVES[name].rest
    tasks = [
        task_of(options.device, options.backbone, {**rest, PROPERTY.get(name, name): value})
        for value in values
    ]
    rows: list[dict[str, Any]] = [
        {name: value, **measure_time(task, precision, options.rounds)}
        for value, task in zip(values, tasks, strict=True)
    ]
    if options.memory:
        for row, peaks in zip(rows, measure_memory(tasks, precision), strict=True):
            row.update(peaks)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    precision = precision_name("auto", options.device)
    print_machine()
    rows, remarks = [], []
    for name in options.curves:
        points = measure_curve(name, CURVES[name].values, options, precision)
        growth = exponents(points, power=2 if name == "size" else 1)
        rest = ", ".join(f"{key} {value}" for key, value in CURVES[name].rest.items())
        title = (
            f"growth with {name}, exponents in brackets ({rest}; {options.backbone}, {precision})"
        )
        print_table(with_exponents(points, growth), title=title)
        rows += [
            {"curve": name, **row, "exponents": powers}
            for row, powers in zip(points, growth, strict=True)
        ]
        remarks += worse_than_linear(points, growth)
    print("\nworse than linear:", *(remarks or ["nothing"]), sep="\n  ")
    path = write_result(
        f"growth_{options.device}",
        rows,
        folder=options.out,
        backbone=options.backbone,
        settings=SETTINGS,
        precision=precision,
        rounds=options.rounds,
        fixed={name: CURVES[name].rest for name in options.curves},
        worse_than_linear=remarks,
    )
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="mobilenetv2_050", help="any that foveal takes")
    parser.add_argument("--curves", nargs="+", choices=list(CURVES), default=list(CURVES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
