"""Prediction in every runtime and precision, beside torchvision's: from uint8 pixels to detections.

    python -m benchmarks.speed.runtimes --model resnet50|light [--device cpu|cuda] [--batch 1 8]
        [--candidates few many] [--contestants openvino-int8 torchvision-float32 ...]

`resnet50` is ResNet-50 with 91 classes and random weights at 640 x 640, torchvision's network with
the same weights. `light` is foveal's preset at 416 x 416, trained on bccd where the file is there
(else with random weights), beside torchvision's RetinaNet on MobileNetV2 with random weights.

foveal's half is the predictor that `Detector.detect`, `detect_many` and `foveal predict` use, on
arrays [H, W, 3], with PyTorch or with a file that `foveal export` made. torchvision's half is its
network in evaluation mode on tensors [3, H, W], which are scaled to 0..1 on the device. All of them
prepare, normalize and resize, take 1,000 candidates a level above the same threshold, apply NMS by
class at the same IoU, keep as many and bring them to the host. "Few" candidates are those above
0.05, "many" are all anchors with all classes.

Before anything is timed all float32 contestants with the same weights must have the same detections
(same class, IoU above 0.9, score within 0.001), or the benchmark stops. "found again" is the
fraction of PyTorch's float32 detections that a contestant has (same class, IoU above 0.5, score
within 0.05): what another precision changes stands beside what it gains. With random weights it
says how alike the outputs are, not how good the detector is. With trained weights it counts what
the card's threshold leaves, and AP on the test images stands beside it.

To go to 8 bits while AP stays takes minutes, as layers may be taken back one by one: with --exports
the files stay for the next run, and which were there already is printed.

The network alone is the runtime's call: uint8 pixels to raw output, normalization included
(torchvision: prepared float32 images to raw output). The last table tells, for foveal's, what comes
before and after it, one image at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.lib.agreement import ALIKE_IOU, ALIKE_SCORE, agreement, demand_agreement
from benchmarks.lib.contestants import NAMES, Contestant, Ours, Theirs, Workshop, evaluated, spans
from benchmarks.lib.machine import print_machine
from benchmarks.lib.networks import Task, input_size, parse_size, precision_name
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.shared_data import BCCD, LIGHT
from benchmarks.lib.subjects import (
    LIGHT_SIDE,
    PREDICTION_SIZES,
    Subject,
    check_same_work,
    light,
    resnet50,
)
from benchmarks.lib.timing import Seconds, interleave
from foveal.structures import Detections

MODELS = ("resnet50", "light")
BATCHES = {"cpu": (1, 8), "cuda": (1, 32)}
TURNS = {("resnet50", "cpu"): 1, ("resnet50", "cuda"): 4, ("light", "cpu"): 16}
"""At least so many images in one turn; on a GPU so many that a predictor may work ahead."""
LIGHT_CLASSES = 3
CANDIDATES = ("few", "many")
EVERYTHING = 0.0
"""The threshold above which all anchors are candidates."""
REFERENCE = "pytorch-float32"
BASE = "torchvision-float32"

Contestants = Mapping[str, Contestant]


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Without the ten-bit products (TF32) that a GPU uses in float32 convolutions by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def compare_detections(
    subject: Subject, contestants: Contestants, reference: Contestant
) -> dict[str, dict[str, Any]]:
    """How many of PyTorch's float32 detections each contestant finds again.

    Returns:
        By name the fraction, and AP where the weights are trained.

    Raises:
        SystemExit: one that computes the same in the same precision does not find the same.
    """
    with full_float32():
        expected = reference.prediction(subject.images, batch=1, score_threshold=subject.counted)()
        quality: dict[str, dict[str, Any]] = {}
        for name, contestant in contestants.items():
            if isinstance(contestant, Theirs) and not subject.same_weights:
                quality[name] = {"found again": "-", **({"AP": "-"} if subject.trained else {})}
                continue
            # Lower, so that a score that falls a little is no detection that went.
            lower = contestant.prediction(
                subject.images, batch=1, score_threshold=subject.counted / 2
            )()
            if contestant.precision == "float32":
                demand_agreement(contestant.title, lower, expected, other=reference.title)
            alike = agreement(lower, expected, min_iou=ALIKE_IOU, max_score_gap=ALIKE_SCORE)
            quality[name] = {"found again": alike}
            if subject.test is not None and isinstance(contestant, Ours):
                quality[name]["AP"] = evaluated(contestant, subject.test).ap
    return quality


def compare_with_torchvision(subject: Subject, reference: Ours, other: Contestant) -> float:
    """The smaller fraction, with few and with many candidates, of its detections that foveal has.

    Raises:
        SystemExit: one of them is too small.
    """
    fractions = []
    for score_threshold in (subject.few, EVERYTHING):
        work = {"batch": 1, "score_threshold": score_threshold}
        with full_float32():
            detections = reference.prediction(subject.images[:1], **work)()
            expected = other.prediction(subject.images[:1], **work)()
        fractions.append(demand_agreement("foveal", detections, expected, other=other.title))
    return min(fractions)


def measure(
    contestants: Contestants,
    quality: Mapping[str, dict[str, Any]],
    subject: Subject,
    *,
    batch: int,
    options: argparse.Namespace,
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Seconds]]]:
    """Time the contestants in turn at one number of images: their rows, and the seconds."""
    count = -(-max(images_in_a_turn(options), batch) // batch) * batch
    images = (subject.images * -(-count // len(subject.images)))[:count]
    alone = {
        name: repeated(contestant.network(images[:batch]), count // batch)
        for name, contestant in contestants.items()
    }
    rounds = {"rounds": options.rounds, "warmup": options.warmup}
    seconds = {f"{batch} network": interleave(alone, **rounds)}
    rows = []
    for kind in options.candidates:
        score_threshold = subject.few if kind == "few" else EVERYTHING
        works: dict[str, Callable[[], list[Detections]]] = {
            name: contestant.prediction(images, batch=batch, score_threshold=score_threshold)
            for name, contestant in contestants.items()
        }
        seconds[f"{batch} {kind}"] = whole = interleave(works, **rounds)
        each = {name: times["median"] / count for name, times in whole.items()}
        for name, contestant in contestants.items():
            rows.append(
                {
                    "batch": batch,
                    "candidates": kind,
                    "contestant": name,
                    "by": contestant.title,
                    "computes in": contestant.precision,
                    **quality[name],
                    "ms": 1000 * each[name],
                    "network ms": 1000 * seconds[f"{batch} network"][name]["median"] / count,
                    "torchvision float32": each[BASE] / each[name] if BASE in each else "-",
                }
            )
    return rows, seconds


def images_in_a_turn(options: argparse.Namespace) -> int:
    """At least so many, whatever the batch."""
    return int(options.images or TURNS.get((options.model, options.device), 1))


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The same so many times."""

    def works() -> None:
        for _ in range(times):
            work()

    return works


def measure_spans(
    contestants: Contestants, subject: Subject, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """For foveal's contestants: milliseconds before, in and after the network, an image alone."""
    images = subject.images[: images_in_a_turn(options)]
    rows = []
    for kind in options.candidates:
        score_threshold = subject.few if kind == "few" else EVERYTHING
        spans_of: dict[str, list[tuple[float, ...]]] = {}
        for turns in range(options.warmup + options.rounds):
            for name, contestant in contestants.items():
                if isinstance(contestant, Ours):
                    parts = spans(contestant, images, score_threshold=score_threshold)
                    spans_of.setdefault(name, []).extend(parts if turns >= options.warmup else [])
        for name, parts in spans_of.items():
            before, network, after = (
                1000 * statistics.median(column) for column in zip(*parts, strict=True)
            )
            rows.append(
                {
                    "candidates": kind,
                    "by": contestants[name].title,
                    "preparation ms": before,
                    "network ms": network,
                    "decoding, NMS ms": after,
                    "whole ms": 1000 * statistics.median(map(sum, parts)),
                    "contestant": name,
                }
            )
    return rows


def chosen_names(options: argparse.Namespace) -> list[str]:
    """The contestants that were asked for, else those that say something on the device."""
    if options.contestants:
        unknown = [name for name in options.contestants if name not in NAMES[options.device]]
        if unknown:
            raise SystemExit(
                f"{unknown[0]} can't be measured on {options.device}. "
                f"Expected some of: {', '.join(NAMES[options.device])}."
            )
        return list(options.contestants)
    left_out = set()
    if options.device == "cpu":
        left_out.add("torchvision-bf16")
        if precision_name("auto", "cpu") == "float32":
            left_out.add("pytorch-bf16")
    return [name for name in NAMES[options.device] if name not in left_out]


def task_of(options: argparse.Namespace) -> Task:
    """The network and the size of the images."""
    if options.model == "light":
        height, width = options.size or (LIGHT_SIDE, LIGHT_SIDE)
        classes = options.classes or LIGHT_CLASSES
        return Task(options.device, "mobilenet_v2", classes, height=height, width=width)
    height, width = options.size or PREDICTION_SIZES[options.device]
    classes = options.classes or 91
    return Task(options.device, options.backbone, classes, height=height, width=width)


def make_subject(task: Task, count: int, options: argparse.Namespace, folder: Path) -> Subject:
    """The model and the images."""
    if options.model == "resnet50":
        return resnet50(task, count, folder)
    file = LIGHT if options.file == "auto" else Path(options.file)
    if options.file == "none" or (options.file == "auto" and not file.is_file()):
        print("light has random weights here")
        return light(task, count, folder, file=None, data=options.data)
    return light(task, count, folder, file=file, data=options.data)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    task = task_of(options)
    batches = options.batch or BATCHES[options.device]
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        count = max(images_in_a_turn(options), *batches)
        subject = make_subject(task, count, options, Path(folder))
        exports = options.exports or Path(folder)
        exports.mkdir(parents=True, exist_ok=True)
        workshop = Workshop(subject, task, exports)
        made = {name: workshop.make(name) for name in chosen_names(options)}
        contestants = {name: one for name, one in made.items() if one is not None}
        reference = contestants.get(REFERENCE) or workshop.make(REFERENCE)
        same_as_theirs: float | str = "-"
        if subject.same_weights:
            predictor = reference.predictor(batch=1, score_threshold=subject.few)
            check_same_work(subject.foreign, predictor)
            other = contestants.get(BASE) or workshop.make(BASE)
            same_as_theirs = compare_with_torchvision(subject, reference, other)
            print(f"of torchvision's detections foveal has {same_as_theirs:.1%} in float32")
        quality = compare_detections(subject, contestants, reference)
        rows, seconds = [], {}
        for batch in batches:
            batch_rows, times = measure(contestants, quality, subject, batch=batch, options=options)
            rows += batch_rows
            seconds |= times
        parts = measure_spans(contestants, subject, options)
    tell(rows, parts, subject, task)
    path = write_result(
        f"runtimes_{options.device}_{options.model}",
        rows,
        folder=options.out,
        task=asdict(task),
        foveal_input=input_size(task),
        trained=subject.trained,
        same_as_torchvision=same_as_theirs,
        rounds=options.rounds,
        exports=workshop.exports,
        spans=parts,
        seconds=seconds,
    )
    print("written:", path.name)


def tell(
    rows: list[dict[str, Any]], parts: list[dict[str, Any]], subject: Subject, task: Task
) -> None:
    """Print a table for each number of images and candidates, and one of the parts."""
    weights = "trained" if subject.trained else "random"
    title = f"{subject.name}, {task.height}x{task.width}, {weights} weights"
    for batch, kind in dict.fromkeys((row["batch"], row["candidates"]) for row in rows):
        shown = [row for row in rows if (row["batch"], row["candidates"]) == (batch, kind)]
        print_table(
            [without(row, "batch", "candidates", "contestant") for row in shown],
            title=f"{title}, batch {batch}, {kind} candidates; milliseconds are an image's",
        )
    if parts:
        print_table(
            [without(row, "contestant") for row in parts],
            title=f"{title}, one image at a time: where the time goes",
        )


def without(row: dict[str, Any], *columns: str) -> dict[str, Any]:
    """The row's other columns."""
    return {key: value for key, value in row.items() if key not in columns}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="resnet50")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--contestants", nargs="+", help="by name, see contestants.py")
    parser.add_argument("--backbone", default="resnet50", help="of resnet50: or resnet18")
    parser.add_argument("--classes", type=int, help="with random weights")
    parser.add_argument("--size", type=parse_size, help="HEIGHTxWIDTH of the images")
    parser.add_argument("--file", default="auto", help="light's trained model, or 'none'")
    parser.add_argument("--data", type=Path, default=BCCD, help="what it was trained on")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--images", type=int, help="in one turn, at least")
    parser.add_argument(
        "--candidates", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument(
        "--exports", type=Path, help="a folder that keeps exported files for the next run"
    )
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
