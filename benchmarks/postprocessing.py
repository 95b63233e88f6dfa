"""From raw output to detections on a CPU: decoding in numpy and in torch, and NMS beside others'.

    python benchmarks/postprocessing.py [--rounds 5] [--batches 1 8 32] [--blockwise FILE]

Two networks' outputs: 3 classes at 416 x 416 (32,526 anchors) and 91 classes at 640 x 640 (76,725).
`few`: some hundred candidates an image, around 20 objects, as a trained network gives; `many`:
every anchor is one. A batch of numbers that take more than --most-megabytes is left out.

The first table is all that follows the network. The second is NMS alone, on the candidates that
come to it there, with what others offer: OpenCV, torchvision's `batched_nms` image by image and
over the batch in one call, and its `nms` in float64 with the classes moved apart, image by image.
"differs" counts images in which a contestant keeps other boxes than greedy NMS does. FILE is the
module with the block-wise NMS for tensors that was here before:

    git show 2c38ea6:src/foveal/detection/suppression.py > FILE
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from harness import interleave, print_machine, print_table, write_result
from torchvision import ops

from foveal.detection.anchors import AnchorGrid
from foveal.detection.box_coding import encode_boxes
from foveal.detection.decoding import decode
from foveal.detection.decoding_tensors import best_candidates
from foveal.detection.nms import batched_nms, nms
from foveal.geometry.boxes import iou
from foveal.structures import PaddedDetections, RawOutput

THRESHOLD_LOGIT = -2.944439  # a score of 0.05
OBJECTS = 20
IOU, MOST = 0.5, 100
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
    logits, labels, boxes = best_candidates(
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


def nms_contestants(
    found: Candidates, blockwise: Callable[..., torch.Tensor] | None
) -> dict[str, Callable[[], list[Sequence[int]]]]:
    """By name, what gives for each image the indices that are kept."""

    def arrays() -> list[Sequence[int]]:
        return [
            nms(boxes, labels, iou_threshold=IOU, max_detections=MOST)
            for boxes, labels in zip(found.boxes, found.labels, strict=True)
        ]

    def tensors() -> list[Sequence[int]]:
        keep = batched_nms(*found.padded, iou_threshold=IOU, max_detections=MOST)
        return [image[image >= 0].numpy() for image in keep]

    def opencv() -> list[Sequence[int]]:
        kept = []
        for boxes, scores, labels in zip(found.boxes, found.scores, found.labels, strict=True):
            sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
            lists = (part.tolist() for part in (sides, scores, labels))
            kept.append(np.ravel(cv2.dnn.NMSBoxesBatched(*lists, 0.0, IOU))[:MOST])
        return kept

    def each_image() -> list[Sequence[int]]:
        return [ops.batched_nms(*image, IOU)[:MOST].numpy() for image in found.tensors()]

    def each_image_float64() -> list[Sequence[int]]:
        kept = []
        for boxes, scores, labels in found.tensors():
            apart = boxes.double() + (labels * 2.0**20)[:, None]
            kept.append(ops.nms(apart, scores.double(), IOU)[:MOST].numpy())
        return kept

    def one_call() -> list[Sequence[int]]:
        images = found.tensors()
        lengths = torch.tensor([len(scores) for _, scores, _ in images])
        boxes, scores, labels = (torch.cat(part) for part in zip(*images, strict=True))
        image = torch.repeat_interleave(torch.arange(len(images)), lengths)
        keep = ops.batched_nms(boxes, scores, image * (labels.max() + 1) + labels, IOU)
        starts = lengths.cumsum(0) - lengths
        of_keep = image[keep]
        return [
            (keep[of_keep == index] - start)[:MOST].numpy() for index, start in enumerate(starts)
        ]

    def blocks() -> list[Sequence[int]]:
        boxes, labels, counts = found.padded
        alive = torch.arange(labels.shape[1]) < counts[:, None]
        keep = blockwise(boxes, labels, alive, limit=IOU, max_detections=MOST)
        return [image[image >= 0].numpy() for image in keep]

    contestants = {
        "nms": arrays,
        "batched_nms": tensors,
        "OpenCV": opencv,
        "torchvision": each_image,
        "its float64": each_image_float64,
        "in one call": one_call,
    }
    return contestants if blockwise is None else {**contestants, "block-wise": blocks}


def count_differing(kept: list[Sequence[int]], expected: list[Sequence[int]]) -> int:
    return sum(not np.array_equal(one, other) for one, other in zip(kept, expected, strict=True))


def by_definition(found: Candidates) -> list[Sequence[int]]:
    """Greedy NMS of each class by torchvision's operator, where no class is moved."""
    kept = []
    for boxes, scores, labels in found.tensors():
        keep = [torch.zeros(0, dtype=torch.int64)]
        for label in labels.unique():
            members = (labels == label).nonzero().squeeze(1)
            keep.append(members[ops.nms(boxes[members], scores[members], IOU)])
        kept.append(torch.cat(keep).sort().values[:MOST].numpy())
    return kept


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
    found = make_candidates(tensors, grid.tensor(size, size))
    case = {**case, "candidates": sum(map(len, found.boxes)) // batch}
    whole = {**case, "detections": int(one.counts.sum()) // batch, **milliseconds(seconds, batch)}
    contestants = nms_contestants(found, options.blockwise)
    expected = by_definition(found)
    differing = {
        name: count_differing(contestant(), expected) for name, contestant in contestants.items()
    }
    if differing["nms"]:
        raise SystemExit(f"{case}: nms keeps other boxes than greedy NMS does: {differing}")
    alone = {**case, **milliseconds(interleave(contestants, **rounds), batch)}
    wrong = ", ".join(f"{name} {count}" for name, count in differing.items() if count)
    return whole, {**alone, "differs": wrong or "none"}


def load_blockwise(path: Path | None) -> Callable[..., torch.Tensor] | None:
    if path is None:
        return None
    spec = importlib.util.spec_from_file_location("blockwise", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.suppress


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--most-megabytes", type=float, default=300, help="of one raw output")
    parser.add_argument("--blockwise", type=Path, help="the NMS that was here before")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    options = parser.parse_args(arguments)
    told = {key: value for key, value in vars(options).items() if key not in ("out", "blockwise")}
    options.blockwise = load_blockwise(options.blockwise)
    print_machine()
    tables: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for network in options.networks:
        size, classes = NETWORKS[network]
        anchors = len(AnchorGrid().boxes(size, size))
        for amount in ("few", "many"):
            for batch in options.batches:
                if anchors * classes * batch * 4 / 2**20 > options.most_megabytes:
                    print(f"left out: {network}, {batch} images, too much memory")
                    continue
                raw = make_output(size, classes, batch, many=amount == "many")
                for threads in options.threads:
                    torch.set_num_threads(threads)
                    cv2.setNumThreads(threads)
                    case = {"network": network, "kind": amount, "batch": batch, "threads": threads}
                    for table, row in zip(tables, measure(case, raw, size, options), strict=True):
                        table.append(row)
    print_table(tables[0], title="From raw output to detections, ms an image")
    print_table(tables[1], title="NMS alone, ms an image")
    written = write_result(
        "postprocessing_cpu", tables[0], folder=options.out, nms=tables[1], options=told
    )
    print("written:", written.name)


if __name__ == "__main__":
    main()
