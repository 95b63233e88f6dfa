"""Histograms of detections, and how far two of them are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.evaluation.profile import (
    count_scores,
    count_sizes,
    distance,
    distance_by_chance,
    make_profile,
)
from foveal.structures import SCORE_EDGES, SIZE_EDGES, DetectionProfile, Detections

NO_SCORES, NO_SIZES = (0,) * (len(SCORE_EDGES) - 1), (0,) * (len(SIZE_EDGES) - 1)


def detections(scores: list[float], *, side: float = 10, label: int = 0) -> Detections:
    boxes = np.array([[0, 0, side, side]] * len(scores), np.float32)
    return Detections(boxes, scores, [label] * len(scores), classes=("a", "b"))


def test_by_hand() -> None:
    images = [detections([0.95, 0.41, 0.39], label=1), detections([]), detections([0.4], side=1000)]
    profile = make_profile(images, classes=2, score_threshold=0.4)
    assert profile.images == 3
    assert profile.detections == 3
    assert profile.scores == (0, 0, 0, 0, 2, 0, 0, 0, 0, 1)
    assert profile.classes == (1, 2)
    assert profile.sizes[-1] == 1, "1000 is beyond the last edge"
    assert profile.sizes[3] == 2, "8 <= 10 < 11.3"


def test_images_without_detections_count_as_images() -> None:
    profile = make_profile([detections([])] * 4, classes=2, score_threshold=0.3)
    assert (profile.images, profile.detections) == (4, 0)
    assert make_profile([], classes=2, score_threshold=0.3).images == 0


def test_edges_belong_to_the_bin_above() -> None:
    assert count_scores(np.array([0, 0.1, 1], np.float32)).tolist() == [1, 1, *[0] * 7, 1]
    box = np.array([[0, 0, 4, 4]], np.float32)
    assert count_sizes(box).tolist() == [0, 1, *[0] * 14]


@pytest.mark.parametrize("values", [{"scores": (1,)}, {"sizes": ()}, {"images": -1}])
def test_a_profile_that_is_wrong(values: dict[str, object]) -> None:
    good = {"images": 1, "score_threshold": 0.3, "scores": NO_SCORES, "sizes": NO_SIZES}
    with pytest.raises(DataError, match="A profile"):
        DetectionProfile(**{**good, "classes": (0,), **values})


def test_distances_by_hand() -> None:
    assert distance([1, 2, 3], [10, 20, 30]) == pytest.approx(0, abs=1e-7)
    assert distance([1, 0], [0, 5]) == 1
    # Half of (1 log2(4/3)) and of (1/2 log2(2/3) + 1/2 log2(2)).
    expected = (math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5) / 2
    assert distance([1, 0], [1, 1]) == pytest.approx(math.sqrt(expected))
    assert math.isnan(distance([0, 0], [1, 1]))
    assert math.isnan(distance_by_chance([1, 1], [0, 0]))


def test_samples_of_one_distribution_are_as_far_apart_as_chance_says() -> None:
    generator = np.random.default_rng(0)
    shares = [0.1, 0.2, 0.3, 0.25, 0.15]
    pairs = [
        (generator.multinomial(200, shares), generator.multinomial(500, shares)) for _ in range(300)
    ]
    squared = np.mean([distance(*pair) ** 2 for pair in pairs])
    assert math.sqrt(squared) == pytest.approx(distance_by_chance(*pairs[0]), rel=0.1)
