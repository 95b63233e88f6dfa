"""Where the time goes in a training step and in a prediction, and what the machine could do.

    python -m benchmarks.speed.parts --device cpu|cuda [--size 640x640] [--batch 2] [--objects 15]
        [--precision auto]

The real training step and the real predictor run, with marks at the borders of the parts
(lib/marks.py); on a GPU each mark waits for the device, and torch.compile is left out, so that the
parts can be told apart: the last line of each table gives the whole as it runs without marks.

GFLOP are those that the network's definition asks for, 2 for a multiplication and addition,
whatever way they are computed; "of arithmetic" compares with a large matrix product in the same
precision. GB are what PyTorch's plain operations read and write, each input and output once
(decoding on a CPU is numpy's and counts for nothing); "of bandwidth" compares with a large copy.
Both are measured in the same run. The input pipeline (from JPEG to batch) runs in processes of its
own beside the training; its time here is that of one.

The last table is the target: decoding and NMS in at most 10 % of the time of the pass
through the network, with every anchor above the threshold.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib.machine import print_machine
from benchmarks.lib.marks import (
    Marks,
    Traffic,
    around,
    marked_backward,
    marked_forward,
    marked_optimizer,
)
from benchmarks.lib.networks import Task, draw_images, make_pair, parse_size, precision_name
from benchmarks.lib.operations import operations
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.roofline import Roofline
from benchmarks.lib.sample_images import draw_photographs
from benchmarks.lib.steps import (
    BATCHES,
    LEARNING_RATE,
    SIZES,
    accelerator_on,
    foveal_step,
    make_foveal_batch,
)
from benchmarks.lib.subjects import PREDICTION_SIZES
from benchmarks.lib.timing import clock
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import change_settings
from foveal.data.dataset import Dataset, Record
from foveal.detection import criterion as criterion_module
from foveal.detection import decoding_arrays, decoding_tensors, postprocessing
from foveal.inference.opening import open_network
from foveal.models.retinanet import RetinaNet
from foveal.runtimes.pytorch import PyTorchRuntime
from foveal.training.loaders import make_batches
from foveal.training.setup import make_train_step
from foveal.training.step import TrainStep

FORWARD = ("normalization", "backbone", "FPN", "heads")
TARGET = 0.10
CANDIDATES = {"few": 200, "many": -1}
"""Pairs of anchor and class above the threshold in an image; -1 for all."""


@contextlib.contextmanager
def marked_training(train_step: TrainStep, marks: Marks) -> Iterator[None]:
    """Marks the parts of training steps."""
    with (
        marked_forward(train_step.model, marks),
        marked_backward(train_step.model, marks),
        around(
            criterion_module.Criterion,
            "match",
            before=lambda: marks.end("losses"),
            after=lambda: marks.end("assignment"),
        ),
        around(
            criterion_module.Criterion,
            "__call__",
            before=lambda: marks.end("heads"),
            after=lambda: marks.end("losses"),
        ),
        around(
            TrainStep,
            "_gradient_norm",
            before=lambda: marks.end("backbone, backward"),
            after=lambda: marks.end("gradient norm"),
        ),
        marked_optimizer(train_step.optimizer, marks),
    ):
        yield


@contextlib.contextmanager
def marked_prediction(model: RetinaNet, marks: Marks) -> Iterator[None]:
    """Marks the parts of the predictor's work with PyTorch."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(marked_forward(model, marks))
        for owner, name, before, after in (
            (PyTorchRuntime, "__call__", "preparation", "to the host"),
            (postprocessing, "decode", "anchors", "decoding"),
            (decoding_arrays, "nms", "decoding", "NMS"),
            (decoding_tensors, "batched_nms", "decoding", "NMS"),
        ):
            stack.enter_context(
                around(
                    owner,
                    name,
                    before=functools.partial(marks.end, before),
                    after=functools.partial(marks.end, after),
                )
            )
        yield


Marking = Callable[[Marks], contextlib.AbstractContextManager[None]]


def seconds_and_bytes(
    work: Callable[[], object], marking: Marking, *, last: str, rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Of each part: the median of its seconds over the rounds, and the bytes that it moves.

    Args:
        work: what is measured.
        marking: sets marks while it runs.
        last: the name of what comes after the last mark.
        rounds: how often it runs.
    """
    marks, runs = Marks(clock), []
    with marking(marks):
        work()
        for _ in range(rounds):
            marks.start()
            work()
            marks.end(last)
            runs.append(marks.parts)
    traffic = Traffic()
    counted = Marks(traffic.meter)
    with marking(counted), traffic:
        counted.start()
        work()
        counted.end(last)
    seconds = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    return seconds, counted.parts


def table(
    seconds: dict[str, float],
    moved: dict[str, float],
    counted: dict[str, float],
    roofline: Roofline,
    whole: float,
) -> list[dict[str, Any]]:
    """One row a part, in the order in which they run, and one for the whole without marks."""
    total = sum(seconds.values())

    def row(part: str, value: float, work: float, size: float) -> dict[str, Any]:
        return {
            "part": part,
            "ms": 1000 * value,
            "% of whole": 100 * value / total,
            "GFLOP": work / 1e9,
            "of arithmetic %": 100 * work / value / roofline.operations,
            "GB": size / 1e9,
            "of bandwidth %": 100 * size / value / roofline.bandwidth,
        }

    rows = [
        row(part, value, counted.get(part, 0.0), moved.get(part, 0.0))
        for part, value in seconds.items()
    ]
    work, size = sum(counted.values()), sum(moved.values())
    return [*rows, row("whole, without marks", whole, work, size)]


def median_seconds(work: Callable[[], object], rounds: int) -> float:
    """Of one call, after one that does not count."""
    work()
    runs = []
    for _ in range(rounds):
        start = clock()
        work()
        runs.append(clock() - start)
    return statistics.median(runs)


def training_parts(
    task: Task, precision: str, roofline: Roofline, rounds: int
) -> list[dict[str, Any]]:
    """The table of a training step."""
    own = make_pair(task).own
    settings = change_settings(
        own.settings, {"training": {"precision": precision, "optimizer": "sgd"}}
    )
    batch = make_foveal_batch(own, task)
    counted = operations(own.model, batch.images.shape, with_gradients=True)
    train_step = make_train_step(own.model, settings, accelerator=accelerator_on(task.device))
    roofline.measure()
    seconds, moved = seconds_and_bytes(
        lambda: train_step.step([batch], LEARNING_RATE),
        lambda marks: marked_training(train_step, marks),
        last="rest",
        rounds=rounds,
    )
    roofline.measure()
    whole = median_seconds(foveal_step(task, precision), rounds)
    rows = table(seconds, moved, counted, roofline, whole)
    pipeline = pipeline_seconds(own, task)
    empty = dict.fromkeys(list(rows[0])[3:], "-")
    beside = {"ms": 1000 * pipeline, "% of whole": 100 * pipeline / sum(seconds.values())}
    rows.append({"part": "input pipeline, beside", **beside, **empty})
    return rows


def pipeline_seconds(own: LoadedModel, task: Task) -> float:
    """From JPEG files to one batch, in this process, with the default augmentation."""
    training = {"batch": task.batch, "workers": 0}
    settings = change_settings(own.settings, {"training": training})
    batches = 3
    with tempfile.TemporaryDirectory() as folder:
        paths = draw_photographs(Path(folder), batches * task.batch, task.width, task.height)
        boxes = np.array([[1, 1, 9, 9]] * task.objects, np.float32).reshape(-1, 4)
        labels = np.zeros(task.objects, np.int64)
        ignored = np.zeros(task.objects, np.bool_)
        records = tuple(
            Record(path, task.width, task.height, boxes, labels, ignored) for path in paths
        )
        data = Dataset(records, own.card.classes, Path(folder))
        made = make_batches(settings, data, accelerator=accelerator_on(task.device))
        start = clock()
        number = sum(1 for _ in made.epoch(0))
        seconds = (clock() - start) / number
        made.close()
    return seconds


def prediction_parts(
    task: Task, kind: str, wanted: str, roofline: Roofline, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The table of a prediction, and its row in the target's table."""
    pair = make_pair(task, candidates=CANDIDATES[kind])
    opened = open_network(pair.own, device=task.device, precision=wanted)
    score_threshold = pair.own.settings.decoding.score_threshold
    predictor = replace(opened.predictor(score_threshold=score_threshold), batch=task.batch)
    images = draw_images(task)
    height, width = predictor.preparation.size_for(task.width, task.height)
    shape = (task.batch, 3, height, width)
    counted = operations(pair.own.model, shape, with_gradients=False)
    roofline.measure()
    seconds, moved = seconds_and_bytes(
        lambda: predictor.detect_many(images),
        lambda marks: marked_prediction(pair.own.model, marks),
        last="to detections",
        rounds=rounds,
    )
    roofline.measure()
    whole = median_seconds(lambda: predictor.detect_many(images), rounds)
    absent = [part for part in (*FORWARD, "decoding", "NMS") if part not in seconds]
    if absent:
        raise SystemExit(
            f"the predictor shows no {', '.join(absent)}: change the benchmark's marks"
        )
    forward = sum(seconds[part] for part in FORWARD)
    after = seconds["decoding"] + seconds["NMS"]
    row = {
        "batch": task.batch,
        "candidates": kind,
        "forward ms": 1000 * forward,
        "decoding + NMS ms": 1000 * after,
        "% of whole": 100 * after / forward,
        "target": "met" if after < TARGET * forward else "MISSED",
    }
    return table(seconds, moved, counted, roofline, whole), row


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    height, width = options.size or SIZES[options.device]
    batch = options.batch or BATCHES[options.device]
    task = Task(
        options.device, options.backbone, options.classes, height=height, width=width,
        batch=batch, objects=options.objects,
    )  # fmt: skip
    precision = precision_name(options.precision, options.device)
    print_machine()
    roofline = Roofline(options.device, precision)
    rows = training_parts(task, precision, roofline, options.rounds)
    where = f"{task.backbone}, {batch} of {height}x{width}, {precision}"
    print_table(rows, title=f"training step, {where}, {task.objects} objects an image")
    height, width = options.size or PREDICTION_SIZES[options.device]
    predictions, target = {}, []
    for kind in CANDIDATES:
        seen = replace(task, height=height, width=width, batch=options.predicted or batch)
        table_rows, row = prediction_parts(seen, kind, options.precision, roofline, options.rounds)
        where = f"{task.backbone}, {seen.batch} of {height}x{width}, {precision}"
        print_table(table_rows, title=f"prediction, {where}, {kind} candidates")
        predictions[kind] = table_rows
        target.append(row)
    print_table(target, title="decoding and NMS beside the forward pass, at most 10 %")
    print(
        f"machine: {roofline.operations / 1e9:.4g} GFLOP/s in {precision}, "
        f"{roofline.bandwidth / 1e9:.4g} GB/s"
    )
    path = write_result(
        f"parts_{options.device}",
        rows,
        folder=options.out,
        task=asdict(task),
        precision=precision,
        rounds=options.rounds,
        gflops=roofline.operations / 1e9,
        gigabytes_per_second=roofline.bandwidth / 1e9,
        predictions=predictions,
        target=target,
    )
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="resnet50", help="resnet18 or resnet50")
    parser.add_argument("--classes", type=int, default=91)
    parser.add_argument("--size", type=parse_size, help="HEIGHTxWIDTH of the images")
    parser.add_argument("--batch", type=int, help="of a training step")
    parser.add_argument("--predicted", type=int, help="images of a prediction; as many by default")
    parser.add_argument("--objects", type=int, default=15, help="an image")
    parser.add_argument("--precision", choices=["auto", "float32", "bf16"], default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
