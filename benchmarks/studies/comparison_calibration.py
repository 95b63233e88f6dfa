"""How often `foveal compare` errs: simulated pairs of detectors, equal ones and unequal ones.

    python -m benchmarks.studies.comparison_calibration [--pairs 200] [--images 500]

Both detectors of a pair see the same images, whose objects differ in how hard they are, images too.
Each finds an object by its own chance, places the box with its own error and scores it by its own
certainty. Of equal pairs the 95 % interval of a difference should exclude 0 in about 5 %; of
unequal ones, whose true difference is measured on many images, as often as possible.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib.results import print_table, write_result
from foveal.evaluation.comparison import Difference, compare_ap
from foveal.evaluation.evaluate import quick_numbers
from foveal.structures import Detections, Target

CLASSES = ("cell", "dot")
SIDE = 512


def draw_images(
    generator: np.random.Generator, images: int, *, objects: float
) -> list[tuple[Target, np.ndarray]]:
    """Images with objects of several sizes, and how hard each object is."""
    drawn = []
    for _ in range(images):
        number = int(generator.poisson(objects))
        size = np.exp(generator.normal(3.4, 0.5, (number, 1))) * np.ones((1, 2))
        corner = generator.uniform(0, SIDE - 100, (number, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
        labels = (generator.random(number) < 0.3).astype(np.int64)
        hardness = generator.normal(0, 0.8, number) + generator.normal(0, 0.6)
        drawn.append((Target(boxes, labels, np.zeros(number, np.bool_)), hardness))
    return drawn


def detect(
    generator: np.random.Generator, target: Target, hardness: np.ndarray, *, skill: float
) -> Detections:
    """What a detector of some skill finds in an image."""
    certainty = skill - hardness + generator.normal(0, 0.7, len(target))
    seen = certainty > -1
    boxes, labels = target.boxes[seen], target.labels[seen].copy()
    certainty = certainty[seen]
    size = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))[:, None]
    boxes = boxes + generator.normal(0, 0.07, boxes.shape) * size * np.exp(
        -0.3 * certainty[:, None]
    )
    wrong = generator.random(len(labels)) < 0.04
    labels[wrong] = 1 - labels[wrong]
    false = int(generator.poisson(2))
    corner = generator.uniform(0, SIDE - 100, (false, 2))
    noise = np.concatenate([corner, corner + 30], axis=1)
    boxes = np.concatenate([boxes, noise])
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    every = np.concatenate([certainty, generator.normal(-0.5, 0.8, false)])
    scores = 1 / (1 + np.exp(-every))
    labels = np.concatenate([labels, generator.integers(0, 2, false)])
    return Detections(boxes.astype(np.float32), scores.astype(np.float32), labels)


def draw_pair(
    seed: int, *, images: int, objects: float, skills: tuple[float, float], resamples: int
) -> Difference:
    """The difference of AP of a pair of detectors on new images."""
    first, second, targets = draw_case(seed, images=images, objects=objects, skills=skills)
    return compare_ap(first, second, targets, CLASSES, seed=seed, resamples=resamples)


def draw_case(
    seed: int, *, images: int, objects: float, skills: tuple[float, float]
) -> tuple[list[Detections], list[Detections], list[Target]]:
    generator = np.random.default_rng(seed)
    drawn = draw_images(generator, images, objects=objects)
    one, other = (
        [detect(generator, target, hardness, skill=skill) for target, hardness in drawn]
        for skill in skills
    )
    return one, other, [target for target, _ in drawn]


def true_difference(skills: tuple[float, float], *, images: int, objects: float) -> float:
    """The difference of AP on very many images."""
    first, second, targets = draw_case(10**6, images=images, objects=objects, skills=skills)
    one, other = (quick_numbers(found, targets, CLASSES)["AP"] for found in (first, second))
    return other - one


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    rows: list[dict[str, Any]] = []
    for what, images, skills in plan(options):
        compared = [
            draw_pair(
                seed,
                images=images,
                objects=options.objects,
                skills=skills,
                resamples=options.resamples,
            )
            for seed in range(options.pairs)
        ]
        widths = [one.interval.high - one.interval.low for one in compared]
        true = true_difference(skills, images=options.reference, objects=options.objects)
        rows.append(
            {
                "pairs": what,
                "images": images,
                "objects an image": options.objects,
                "true difference of AP": true,
                "excludes 0": float(np.mean([one.is_shown for one in compared])),
                "median width": float(np.median(widths)),
            }
        )
        print_table(rows[-1:])
    path = write_result("comparison_calibration", rows, folder=options.out, options=vars(options))
    print("written:", path.name)


def plan(options: argparse.Namespace) -> list[tuple[str, int, tuple[float, float]]]:
    """What is simulated: the name, the images and the skills of both detectors."""
    equal = (options.skill, options.skill)
    better = (options.skill, options.skill + options.more)
    every = [
        ("equal", options.images, equal),
        ("unequal", options.images, better),
        ("equal, few images", options.few, equal),
    ]
    return [one for one in every if options.only in (None, one[0])]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument(
        "--objects",
        type=float,
        default=10,
        help="in an image, on average; with more of them smaller differences are seen",
    )
    parser.add_argument("--few", type=int, default=60, help="images of the small sets")
    parser.add_argument("--reference", type=int, default=20_000, help="images for the truth")
    parser.add_argument("--skill", type=float, default=1.0)
    parser.add_argument("--more", type=float, default=0.14, help="skill that the better one has")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--only", help="one kind of pairs: 'equal', 'unequal'")
    parser.add_argument("--out", type=Path, help="the folder of the JSON file")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
