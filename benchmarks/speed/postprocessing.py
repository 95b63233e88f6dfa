"""From raw output to detections on a CPU: decoding in numpy and in torch, and NMS beside others'.

    python -m benchmarks.speed.postprocessing [--rounds 5] [--batches 1 8 32]

Two networks' outputs: 3 classes at 416 x 416 (32,526 anchors) and 91 classes at 640 x 640 (76,725).
`few`: some hundred candidates an image, around 20 objects, as a trained network gives; `many`:
every anchor is one. A batch of numbers that take more than --max-megabytes is left out.

The first table is all that follows the network. The second is NMS alone, on the candidates that
come to it there, with what others offer: OpenCV, torchvision's `batched_nms` image by image and
over the batch in one call, and its `nms` in float64 with the classes moved apart, image by image.
"differs" counts images in which a contestant keeps other boxes than greedy NMS does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torchvision import ops

from benchmarks.lib.machine import print_machine
from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.threads import threads
from benchmarks.lib.timing import interleave
from foveal.detection.anchors import AnchorGrid
from foveal.detection.box_coding import encode_boxes
from foveal.detection.decoding import decode
from foveal.detection.decoding_tensors import best_candidates
from foveal.detection.nms import batched_nms, nms
from foveal.geometry.boxes import iou
from foveal.structures import PaddedDetections, RawOutput

THRESHOLD_LOGIT = -2.944439  # a score of 0.05
OBJECTS = 20
IOU, MAX_DETECTIONS = 0.5, 100
NETWORKS = {"light": (416, 3), "resnet50": (640, 91)}


@dataclass(frozen=True, slots=True)
class Candidates:
    """What comes to NMS in each image, best first: arrays, and the same as tensors."""

    boxes: list[np.ndarray]
    scores: list[np.ndarray]
    labels: list[np.ndarray]
    padded: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    """boxes [B, N, 4], labels [B, N], counts [B]"""

    def tensors(self) -> list[tuple[torch.Tensor, ...]]:
        return [
            tuple(map(torch.from_numpy, image))
            for image in zip(self.boxes, self.scores, self.labels, strict=True)
        ]


def make_output(size: int, classes: int, batch: int, *, many: bool) -> RawOutput:
    """Raw output of a network that sees `OBJECTS` objects, or something in every anchor."""
    grid, rng = AnchorGrid(), np.random.default_rng(0)
    anchors = grid.tensor(size, size)
    logits = rng.standard_normal((batch, len(anchors), classes), np.float32)
    logits += -1 if many else -9
    deltas = rng.standard_normal((batch, len(anchors), 4), np.float32) * 0.1
    for image in range(0 if many else batch):
        centers = rng.uniform(0.1 * size, 0.9 * size, (OBJECTS, 2))
        sides = rng.uniform(24, 120, (OBJECTS, 2))
        objects = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
        overlaps, nearest = iou(anchors[:, None], torch.tensor(objects).float()).max(dim=1)
        near = (overlaps > 0.45).nonzero().squeeze(1)
        owner = nearest[near]
        owners = torch.tensor(objects).float()[owner]
        deltas[image, near] += encode_boxes(owners, anchors[near]).numpy()
        logits[image, near, owner.numpy() % classes] = rng.normal(-4, 1.5, len(near))
    counts = [rows * columns * grid.per_location for rows, columns in grid.level_sizes(size, size)]
    ends = np.cumsum(counts)[:-1]
    return RawOutput(
        *(tuple(map(np.ascontiguousarray, np.split(part, ends, 1))) for part in (logits, deltas))
    )


def make_candidates(raw: RawOutput, anchors: torch.Tensor) -> Candidates:
    logits, labels, boxes, _ = best_candidates(
        raw, anchors, threshold_logit=THRESHOLD_LOGIT, top_per_level=1000
    )
    counts = (logits > -torch.inf).sum(dim=1)
    parts = [
        [part[image, :count].numpy() for image, count in enumerate(counts.tolist())]
        for part in (boxes, logits.sigmoid(), labels)
    ]
    # Scores that torch rounds to the same number would have no order elsewhere.
    scores = [np.linspace(1, 0.1, len(part), dtype=np.float32) for part in parts[1]]
    return Candidates(parts[0], scores, parts[2], (boxes, labels, counts))


def nms_contestants(candidates: Candidates) -> dict[str, Callable[[], list[Sequence[int]]]]:
    """By name, what gives for each image the indices that NMS keeps."""

    def arrays() -> list[Sequence[int]]:
        return [
            nms(boxes, labels, iou_threshold=IOU, max_detections=MAX_DETECTIONS)
            for boxes, labels in zip(candidates.boxes, candidates.labels, strict=True)
        ]

    def tensors() -> list[Sequence[int]]:
        keep = batched_nms(*candidates.padded, iou_threshold=IOU, max_detections=MAX_DETECTIONS)
        return [image[image >= 0].numpy() for image in keep]

    def opencv() -> list[Sequence[int]]:
        keep = []
        for boxes, scores, labels in zip(
            candidates.boxes, candidates.scores, candidates.labels, strict=True
        ):
            sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
            lists = (part.tolist() for part in (sides, scores, labels))
            keep.append(np.ravel(cv2.dnn.NMSBoxesBatched(*lists, 0.0, IOU))[:MAX_DETECTIONS])
        return keep

    def each_image() -> list[Sequence[int]]:
        return [
            ops.batched_nms(*image, IOU)[:MAX_DETECTIONS].numpy() for image in candidates.tensors()
        ]

    def each_image_float64() -> list[Sequence[int]]:
        keep = []
        for boxes, scores, labels in candidates.tensors():
            apart = boxes.double() + (labels * 2.0**20)[:, None]
            keep.append(ops.nms(apart, scores.double(), IOU)[:MAX_DETECTIONS].numpy())
        return keep

    def one_call() -> list[Sequence[int]]:
        images = candidates.tensors()
        lengths = torch.tensor([len(scores) for _, scores, _ in images])
        boxes, scores, labels = (torch.cat(part) for part in zip(*images, strict=True))
        image = torch.repeat_interleave(torch.arange(len(images)), lengths)
        keep = ops.batched_nms(boxes, scores, image * (labels.max() + 1) + labels, IOU)
        starts = lengths.cumsum(0) - lengths
        of_keep = image[keep]
        return [
            (keep[of_keep == index] - start)[:MAX_DETECTIONS].numpy()
            for index, start in enumerate(starts)
        ]

    return {
        "nms": arrays,
        "batched_nms": tensors,
        "OpenCV": opencv,
        "torchvision": each_image,
        "its float64": each_image_float64,
        "in one call": one_call,
    }


def count_differing(keep: list[Sequence[int]], expected: list[Sequence[int]]) -> int:
    return sum(not np.array_equal(one, other) for one, other in zip(keep, expected, strict=True))


def by_definition(candidates: Candidates) -> list[Sequence[int]]:
    """Greedy NMS of each class by torchvision's operator, where no class is moved."""
    keep = []
    for boxes, scores, labels in candidates.tensors():
        of_classes = [torch.zeros(0, dtype=torch.int64)]
        for label in labels.unique():
            members = (labels == label).nonzero().squeeze(1)
            of_classes.append(members[ops.nms(boxes[members], scores[members], IOU)])
        keep.append(torch.cat(of_classes).sort().values[:MAX_DETECTIONS].numpy())
    return keep


def milliseconds(seconds: dict[str, dict[str, float]], images: int) -> dict[str, float]:
    return {name: 1000 * each["median"] / images for name, each in seconds.items()}


def measure(
    case: dict[str, Any], raw: RawOutput, size: int, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of each table; times are milliseconds an image."""
    grid, batch = AnchorGrid(), len(raw.logits[0])
    extents = np.tile(np.array([0, 0, size, size], np.float32), (batch, 1))
    tensors = RawOutput(*(tuple(map(torch.from_numpy, part)) for part in raw))

    def in_numpy() -> PaddedDetections:
        return decode(raw, grid.boxes(size, size), extents=extents)

    def in_torch() -> PaddedDetections:
        return decode(tensors, grid.tensor(size, size), extents=torch.from_numpy(extents))

    one, other = in_numpy(), in_torch()
    same = np.array_equal(one.counts, other.counts.numpy())
    if not same or np.abs(one.boxes - other.boxes.numpy()).max() > 0.01:
        raise SystemExit(f"{case}: numpy and torch give different detections")
    rounds = {"rounds": options.rounds}
    seconds = interleave({"numpy": in_numpy, "torch": in_torch}, **rounds)
    candidates = make_candidates(tensors, grid.tensor(size, size))
    case = {**case, "candidates": sum(map(len, candidates.boxes)) // batch}
    whole = {**case, "detections": int(one.counts.sum()) // batch, **milliseconds(seconds, batch)}
    contestants = nms_contestants(candidates)
    expected = by_definition(candidates)
    differing = {
        name: count_differing(contestant(), expected) for name, contestant in contestants.items()
    }
    if differing["nms"]:
        raise SystemExit(f"{case}: nms keeps other boxes than greedy NMS does: {differing}")
    alone = {**case, **milliseconds(interleave(contestants, **rounds), batch)}
    differing_names = ", ".join(f"{name} {count}" for name, count in differing.items() if count)
    return whole, {**alone, "differs": differing_names or "none"}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    print_machine()
    tables: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for network in options.networks:
        size, classes = NETWORKS[network]
        anchors = len(AnchorGrid().boxes(size, size))
        for amount in ("few", "many"):
            for batch in options.batches:
                if anchors * classes * batch * 4 / 2**20 > options.max_megabytes:
                    print(f"left out: {network}, {batch} images, too much memory")
                    continue
                raw = make_output(size, classes, batch, many=amount == "many")
                for count in options.threads:
                    case = {"network": network, "kind": amount, "batch": batch, "threads": count}
                    with threads(count):
                        measured = measure(case, raw, size, options)
                    for table, row in zip(tables, measured, strict=True):
                        table.append(row)
    print_table(tables[0], title="From raw output to detections, ms an image")
    print_table(tables[1], title="NMS alone, ms an image")
    written = write_result(
        "postprocessing_cpu", tables[0], folder=options.out, nms=tables[1], options=vars(options)
    )
    print("written:", written.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--max-megabytes", type=float, default=300, help="of one raw output")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
