"""Prediction end to end beside torchvision's: from decoded uint8 images to detections.

    python benchmarks/prediction.py --device cpu|cuda [--size 640x640] [--batch 1 8]
        [--precision auto] [--torchvision-precision float32 bf16]

ResNet-50 and 91 classes with the same weights. foveal's half is the predictor that
`Detector.detect`, `detect_many` and `foveal predict` use, with its defaults, on arrays
[H, W, 3]; torchvision's is its network in evaluation mode on tensors [3, H, W], which are scaled
to 0..1 on the device. Both prepare, normalise and resize, take 1,000 candidates a level above the
same threshold, suppress by class at the same IoU, keep as many and bring them to the host.

The heads are biased so that few (200 pairs of anchor and class in an image) or all are candidates.
Before anything is timed both run in float32, and the table says which share of torchvision's
detections foveal has too (same class, IoU above 0.9, score within 0.001).

On CPUs that are fast at it a model that foveal trained predicts in 8 bits, if its AP stayed. That
is a contestant of its own, with ranges measured on other random images; which share of
torchvision's detections it has (same class, IoU above 0.5, score within 0.05) is told, not
demanded: with random weights, scores lie so close together that rounding decides which of them are
detections. What 8 bits do to AP is measured on trained models, by `foveal quantise`.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Seconds, interleave, print_machine, print_table, write_result
from networks import (
    Pair,
    Task,
    draw_images,
    for_torchvision,
    make_pair,
    memory_without_foveal,
    precision_name,
    to_tensors,
    torchvision_autocast,
)
from numpy.typing import NDArray
from torchvision.models.detection import RetinaNet
from training_step import input_size, size_of

from foveal.inference.loading import make_predictor
from foveal.inference.predictor import Predictor
from foveal.models.int8 import int8_is_fast
from foveal.models.model_file import LoadedModel
from foveal.models.observation import observe
from foveal.models.quantisation import quantise
from foveal.structures import Detections

SIZES = {"cpu": (640, 640), "cuda": (800, 800)}
BATCHES = {"cpu": (1, 8), "cuda": (1, 32)}
CALLS = {"cpu": 1, "cuda": 4}
"""Batches in one measured call, so that a predictor may work ahead as it does in a long list."""
CANDIDATES = {"few": 200, "many": -1}
SAME_IOU, SAME_SCORE = 0.9, 1e-3
LEAST_AGREEING = 0.95
ALIKE_IOU, ALIKE_SCORE = 0.5, 0.05
SEEN = 8
"""Images on which the ranges for 8 bits are measured."""

Images = list[NDArray[np.uint8]]


def foveal_predictor(own: LoadedModel, task: Task, precision: str) -> Predictor:
    """As a user gets it, but for the precision where one is asked for."""
    predictor = make_predictor(own, device=task.device)
    if precision != "auto":
        predictor = replace(predictor, precision=precision)
    return predictor


def foveal_prediction(
    own: LoadedModel, task: Task, images: Images, precision: str
) -> Callable[[], list[Detections]]:
    """foveal: one image by `detect`, more by `detect_many`."""
    predictor = foveal_predictor(own, task, precision)
    if task.batch == 1:
        return lambda: [predictor.detect(image) for image in images]
    return lambda: predictor.detect_many(images)


def torchvision_prediction(
    foreign: RetinaNet, task: Task, images: Images, precision: str
) -> Callable[[], list[Detections]]:
    """torchvision: batches of the task's size, its labels as they are."""
    model = for_torchvision(foreign, task.device, precision).eval()
    tensors = to_tensors(images)
    classes = tuple(f"class {number}" for number in range(task.classes))

    @memory_without_foveal()
    def work() -> list[Detections]:
        found = []
        for start in range(0, len(tensors), task.batch):
            part = tensors[start : start + task.batch]
            on_device = [image.to(task.device, non_blocking=True).float() / 255 for image in part]
            with torch.inference_mode(), torchvision_autocast(task.device, precision):
                outputs = model(on_device)
            for output in outputs:
                boxes, scores, labels = (
                    output[key].float().cpu().numpy() for key in ("boxes", "scores", "labels")
                )
                found.append(Detections(boxes, scores, labels.astype(np.int64), classes=classes))
        return found

    return work


def quantised(own: LoadedModel, images: Images) -> LoadedModel:
    """The model with ranges for 8 bits, measured on images."""
    predictor = replace(make_predictor(own, device="cpu"), precision="float32", batch=1)
    quantise(own.model, observe(own.model, lambda: predictor.detect_many(images)).ranges())
    return own


def agreement(
    found: Sequence[Detections],
    expected: Sequence[Detections],
    *,
    least_iou: float = SAME_IOU,
    most_apart: float = SAME_SCORE,
) -> float:
    """The share of the expected detections that were found too."""
    hits = total = 0
    for ours, theirs in zip(found, expected, strict=True):
        total += len(theirs)
        for box, label, score in zip(theirs.boxes, theirs.labels, theirs.scores, strict=True):
            alike = (ours.labels == label) & (np.abs(ours.scores - score) <= most_apart)
            hits += bool((iou(box, ours.boxes) > least_iou)[alike].any())
    return hits / total if total else 1.0


def iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of one box [4] with many [N, 4]."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-9)


def check_same_work(pair: Pair, own: Predictor) -> None:
    """The same threshold, candidates, suppression and number of detections in both."""
    theirs = pair.foreign
    settings = {
        "threshold": (own.threshold, theirs.score_thresh),
        "candidates a level": (own.top_per_level, theirs.topk_candidates),
        "suppression": (own.nms_iou, theirs.nms_thresh),
        "most detections": (own.most, theirs.detections_per_img),
        "over all classes together": (own.class_agnostic, False),
        "views": ((own.flip, own.scales), (False, (1.0,))),
    }
    for name, (ours, other) in settings.items():
        if ours != other:
            raise SystemExit(f"{name}: foveal has {ours}, torchvision {other}")


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Without the ten-bit products (TF32) that a GPU uses in float32 convolutions by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def compare_detections(task: Task, candidates: int, images: Images) -> tuple[float, float]:
    """Share of torchvision's detections that foveal has in float32, and detections an image."""
    pair = make_pair(task, candidates=candidates)
    with full_float32():
        found = foveal_prediction(pair.own, task, images, "float32")()
        expected = torchvision_prediction(pair.foreign, task, images, "float32")()
    share = agreement(found, expected)
    if share < LEAST_AGREEING:
        raise SystemExit(
            f"{task}: foveal has only {share:.1%} of torchvision's detections in float32 "
            f"({sum(map(len, found))} and {sum(map(len, expected))})"
        )
    return share, sum(map(len, found)) / len(found)


def measure(
    task: Task, kind: str, others: Sequence[str], options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Seconds]]:
    """Time the contestants in turn: a row of the table, and the seconds of each."""
    candidates = CANDIDATES[kind]
    images = draw_images(task, task.batch * (options.calls or CALLS[task.device]))
    share, number = compare_detections(task, candidates, images[: task.batch])
    pair = make_pair(task, candidates=candidates)
    check_same_work(pair, foveal_predictor(pair.own, task, options.precision))
    contestants: dict[str, Callable[[], object]] = {
        "foveal": foveal_prediction(pair.own, task, images, options.precision)
    }
    for other in others:
        foreign = make_pair(task, candidates=candidates).foreign
        contestants[f"torchvision {other}"] = torchvision_prediction(foreign, task, images, other)
    int8 = task.device == "cpu" and int8_is_fast() and options.precision == "auto"
    if int8:
        others_seen = draw_images(replace(task, seed=task.seed + 1), SEEN)
        rounded = quantised(make_pair(task, candidates=candidates).own, others_seen)
        contestants["foveal int8"] = foveal_prediction(rounded, task, images, "int8")
        expected = contestants["torchvision float32"]() if "float32" in others else []
        alike = agreement(
            contestants["foveal int8"](), expected, least_iou=ALIKE_IOU, most_apart=ALIKE_SCORE
        )
    seconds = interleave(contestants, rounds=options.rounds, warmup=options.warmup)
    each = {name: found["median"] / len(images) for name, found in seconds.items()}
    row: dict[str, Any] = {"batch": task.batch, "candidates": kind}
    row |= {f"{name} ms": 1000 * value for name, value in each.items()}
    row["images/s"] = 1 / each["foveal"]
    precision = precision_name(options.precision, task.device)
    for name, other in (("same precision", precision), ("torchvision's default", "float32")):
        rival = each.get(f"torchvision {other}")
        row[name] = rival / each["foveal"] if rival else "-"
    row["agree"] = share
    row["detections"] = number
    if int8 and "torchvision float32" in each:
        row["int8"] = each["torchvision float32"] / each["foveal int8"]
        row["int8 alike"] = alike
    return row, seconds


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    height, width = options.size or SIZES[options.device]
    task = Task(options.device, options.backbone, options.classes, height=height, width=width)
    precision = precision_name(options.precision, options.device)
    others = options.torchvision_precision
    print_machine()
    size = input_size(task)
    rows, seconds = [], {}
    for batch in options.batch or BATCHES[options.device]:
        for kind in options.candidates:
            row, found = measure(replace(task, batch=batch), kind, others, options)
            rows.append(row)
            seconds[f"{batch} {kind}"] = found
    print_table(
        rows,
        title=f"prediction, {task.backbone}, images of {height}x{width} (foveal's input {size}), "
        f"foveal in {precision}, milliseconds an image",
    )
    path = write_result(
        f"prediction_{options.device}_{height}x{width}",
        rows,
        folder=options.out,
        task=asdict(task),
        foveal_input=size,
        precision=precision,
        rounds=options.rounds,
        seconds=seconds,
    )
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--backbone", default="resnet50", help="resnet18 or resnet50")
    parser.add_argument("--classes", type=int, default=91)
    parser.add_argument("--size", type=size_of, help="HEIGHTxWIDTH of the images")
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--calls", type=int, help="batches in one measured call")
    parser.add_argument(
        "--candidates", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES)
    )
    parser.add_argument("--precision", choices=["auto", "float32", "bf16"], default="auto")
    parser.add_argument(
        "--torchvision-precision",
        nargs="+",
        choices=["float32", "bf16"],
        default=["float32", "bf16"],
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
