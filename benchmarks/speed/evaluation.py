"""COCO's twelve numbers and the whole evaluation, beside faster-coco-eval and pycocotools.

    python -m benchmarks.speed.evaluation [--images 5000] [--classes 80] [--rounds 3]

Each image has up to 14 objects and 100 detections. All must give the same twelve numbers, or the
benchmark stops. The others' time includes making their dictionaries, which foveal needs not.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.lib.results import print_table, write_result
from benchmarks.lib.timing import interleave
from foveal.evaluation.evaluate import evaluate, quick_numbers
from foveal.structures import Detections, Target

SIDE, DETECTIONS = 500, 100
LIBRARIES = ("faster-coco-eval", "pycocotools")


def draw(images: int, classes: int) -> tuple[list[Detections], list[Target]]:
    generator = np.random.default_rng(0)
    detections, targets = [], []
    for _ in range(images):
        number = int(generator.integers(0, 15))
        boxes = random_boxes(generator, number)
        labels = generator.integers(0, classes, number)
        targets.append(Target(boxes, labels, np.zeros(number, bool)))
        close = 60 if number else 0
        chosen = generator.integers(0, max(number, 1), close)
        near = boxes[chosen] + generator.normal(0, 6, (close, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2])
        boxes = np.concatenate([near, random_boxes(generator, DETECTIONS - close)])
        named = np.concatenate([labels[chosen], generator.integers(0, classes, 100 - close)])
        scores = generator.random(DETECTIONS).astype(np.float32)
        detections.append(Detections(boxes.astype(np.float32), scores, named))
    return detections, targets


def random_boxes(generator: np.random.Generator, number: int) -> np.ndarray:
    corner = generator.uniform(0, SIDE, (number, 2))
    size = generator.uniform(8, 140, (number, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def entries(boxes: np.ndarray, labels: np.ndarray, image: int, first: int) -> list[dict]:
    sides = boxes.astype(float)
    sides[:, 2:] -= sides[:, :2]
    return [
        {
            "id": first + i,
            "image_id": image,
            "category_id": int(label) + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for i, (box, label) in enumerate(zip(sides.tolist(), labels, strict=True))
    ]


def other(
    library: str, detections: Sequence[Detections], targets: Sequence[Target], classes: int
) -> list[float]:
    if library == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval

    documents: list[dict] = [
        {
            "images": [{"id": i} for i in range(len(targets))],
            "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
            "annotations": [],
        }
        for _ in range(2)
    ]
    for image, (detected, target) in enumerate(zip(detections, targets, strict=True)):
        annotations, results = (document["annotations"] for document in documents)
        annotations += entries(target.boxes, target.labels, image, len(annotations) + 1)
        new = entries(detected.boxes, detected.labels, image, len(results) + 1)
        for row, score in zip(new, detected.scores.tolist(), strict=True):
            row["score"] = score
        results += new
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for document in documents:
            side = COCO()
            side.dataset = document
            side.createIndex()
            sides.append(side)
        run = COCOeval(*sides, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return list(run.stats[:12])


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    detections, targets = draw(options.images, options.classes)
    names = [str(label) for label in range(options.classes)]
    contestants: dict[str, Callable[[], object]] = {
        "foveal, twelve numbers": lambda: quick_numbers(detections, targets, names),
        "foveal, everything": lambda: evaluate(detections, targets, names),
    }
    expected = list(quick_numbers(detections, targets, names).values())
    for library in LIBRARIES:
        work = functools.partial(other, library, detections, targets, options.classes)
        if not np.allclose(expected, work(), rtol=0, atol=1e-6):
            raise SystemExit(f"{library} gives other numbers: nothing is measured")
        contestants[library] = work
    seconds = interleave(contestants, rounds=options.rounds, warmup=0)
    rows = [{"contestant": name, "seconds": times["median"]} for name, times in seconds.items()]
    print_table(rows, title=f"{options.images} images, {options.classes} classes")
    path = write_result(
        "evaluation", rows, folder=options.out, options=vars(options), seconds=seconds
    )
    print("written:", path.name)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
