"""Random and hand-made images for the evaluation's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from foveal.structures import Detections, Target

Case = tuple[list[Detections], list[Target], tuple[str, ...]]


def _boxes(generator: np.random.Generator, number: int, side: int) -> np.ndarray:
    # Whole numbers on a small field, so that overlaps tie and meet thresholds exactly.
    corner = generator.integers(0, side, (number, 2))
    size = generator.integers(1, side // 2, (number, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def _image(
    generator: np.random.Generator, classes: int, fullest: int, side: int, with_areas: bool
) -> tuple[Detections, Target]:
    objects = int(generator.integers(0, fullest))
    boxes = _boxes(generator, objects, side)
    # The last class has no objects.
    labels = generator.integers(0, max(classes - 1, 1), objects)
    ignored = generator.random(objects) < 0.15
    areas = generator.uniform(1, 12000, objects) if with_areas else None
    target = Target(boxes, labels, ignored, areas)
    close = int(generator.integers(0, 2 * fullest)) if objects else 0
    chosen = generator.integers(0, max(objects, 1), close)
    shaken = boxes[chosen] + generator.integers(-2, 3, (close, 4))
    shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2])
    loose = int(generator.integers(0, fullest))
    found = np.concatenate([shaken, _boxes(generator, loose, side)]).astype(np.float32)
    named = np.concatenate([labels[chosen], generator.integers(0, classes, loose)])
    wrong = generator.random(len(named)) < 0.2
    named[wrong] = generator.integers(0, classes, int(wrong.sum()))
    scores = np.round(generator.random(len(found)), 2).astype(np.float32)
    return Detections(found, scores, named.astype(np.int64)), target


@pytest.fixture(scope="session")
def draw() -> Callable[..., Case]:
    """Draw images with objects, regions to ignore and detections, many of them tied."""

    def make(
        seed: int,
        *,
        images: int = 8,
        classes: int = 4,
        fullest: int = 12,
        side: int = 60,
        distinct: bool = False,
    ) -> Case:
        generator = np.random.default_rng(seed)
        pairs = [
            _image(generator, classes, fullest, side, with_areas=seed % 3 == 0)
            for _ in range(images)
        ]
        detections, targets = [p[0] for p in pairs], [p[1] for p in pairs]
        if distinct:
            total = sum(map(len, detections))
            scores = (generator.permutation(total) + 1).astype(np.float32) / (total + 1)
            ends = np.cumsum([len(d) for d in detections])
            detections = [
                Detections(d.boxes, scores[end - len(d) : end], d.labels)
                for d, end in zip(detections, ends, strict=True)
            ]
        return detections, targets, tuple(f"class {k}" for k in range(classes))

    return make


@pytest.fixture(scope="session")
def found() -> Callable[..., Detections]:
    """Write down the detections of an image: (box, score, label) each."""

    def make(*rows: tuple[Sequence[float], float, int]) -> Detections:
        return Detections(
            np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
            np.array([row[1] for row in rows], np.float32),
            np.array([row[2] for row in rows], np.int64),
        )

    return make


@pytest.fixture(scope="session")
def shown() -> Callable[..., Target]:
    """Write down the objects of an image: (box, label) each, or (box, label, True) to ignore."""

    def make(*rows: tuple[Sequence[float], int] | tuple[Sequence[float], int, bool]) -> Target:
        return Target(
            np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
            np.array([row[1] for row in rows], np.int64),
            np.array([len(row) == 3 for row in rows], np.bool_),
        )

    return make
