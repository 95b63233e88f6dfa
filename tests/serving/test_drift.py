"""Whether what is detected looks as it did in validation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal.evaluation.profile import make_profile
from foveal.serving.drift import Drift
from foveal.structures import Detections


def image(generator: np.random.Generator, *, scale: float = 1, number: int = 5) -> Detections:
    sides = generator.uniform(10, 60, (number, 1)) * scale
    corners = generator.uniform(0, 500, (number, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    scores = np.sort(generator.uniform(0.3, 1, number).astype(np.float32))[::-1]
    return Detections(boxes, scores, np.zeros(number, np.int64), classes=("a",))


@pytest.fixture(scope="module")
def drift_of_many() -> tuple[Drift, np.random.Generator]:
    generator = np.random.default_rng(0)
    validation = [image(generator) for _ in range(200)]
    profile = make_profile(validation, classes=1, score_threshold=0.4)
    return Drift(profile, window=200), generator


def test_alike_then_larger_then_alike_again(
    drift_of_many: tuple[Drift, np.random.Generator],
) -> None:
    drift, generator = drift_of_many
    for _ in range(200):
        drift.observe(image(generator), score_threshold=0.3)
    alike = drift.read()
    assert alike.images == 200
    assert alike.detections_per_image == pytest.approx(5 * 0.6 / 0.7, rel=0.1)
    for kind, value in alike.distances.items():
        assert value < 2 * alike.by_chance[kind] < 0.2
    for _ in range(200):
        drift.observe(image(generator, scale=4), score_threshold=0.3)
    larger = drift.read()
    assert larger.images == 200, "older images are forgotten"
    assert larger.distances["sizes"] > 0.7
    assert larger.distances["scores"] < 2 * larger.by_chance["scores"]
    for _ in range(200):
        drift.observe(image(generator), score_threshold=0.3)
    assert drift.read().distances["sizes"] < 2 * alike.by_chance["sizes"]


def test_before_there_is_anything() -> None:
    drift = Drift(make_profile([], classes=1, score_threshold=0.4))
    reading = drift.read()
    assert reading.images == 0
    assert math.isnan(reading.detections_per_image)
    assert all(map(math.isnan, reading.distances.values()))


def test_images_without_detections_are_images() -> None:
    generator = np.random.default_rng(1)
    drift = Drift(make_profile([image(generator)], classes=1, score_threshold=0.3))
    drift.observe(image(generator, number=0), score_threshold=0.3)
    reading = drift.read()
    assert (reading.images, reading.detections_per_image) == (1, 0)
    assert math.isnan(reading.distances["scores"])


def test_images_of_which_only_high_scores_are_known_are_left_out() -> None:
    generator = np.random.default_rng(1)
    drift = Drift(make_profile([image(generator)], classes=1, score_threshold=0.3))
    drift.observe(image(generator), score_threshold=0.31)
    drift.observe(image(generator), score_threshold=0.05)
    reading = drift.read()
    assert (reading.images, reading.left_out) == (1, 1)
