import numpy as np
import pytest

from foveal.geometry.arrays import intersections
from foveal.geometry.overlaps import keep_greedily, overlapping_pairs


def draw(count: int) -> np.ndarray:
    generator = np.random.default_rng(count)
    corners = generator.uniform(0, 100, (count, 2))
    return np.hstack([corners, corners + generator.uniform(1, 30, (count, 2))]).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 2, 40, 120])
def test_pairs_are_those_that_share_an_area(count: int) -> None:
    boxes = draw(count)
    found = {
        (int(one), int(other))
        for ones, others in overlapping_pairs(boxes, np.arange(count) % 2 == 0)
        for one, other in zip(ones, others, strict=True)
    }
    expected = {
        (one, other)
        for one in range(0, count, 2)
        for other in range(count)
        if one != other and intersections(boxes[one], boxes[other]) > 0
    }
    assert found == expected
    assert bool(found) == (count > 2)


@pytest.mark.parametrize("count", [0, 1, 60])
def test_greedy_is_that_of_a_loop_over_boxes(count: int) -> None:
    generator = np.random.default_rng(count)
    pairs = np.argwhere(np.triu(generator.random((count, count)) < 0.05, 1))
    alive = generator.random(count) < 0.9
    kept = alive.copy()
    for one in range(count):
        for better, worse in pairs:
            if better == one and kept[better]:
                kept[worse] = False
    assert (keep_greedily(alive, pairs[:, 0], pairs[:, 1]) == kept).all()
    assert count < 2 or 0 < kept.sum() < alive.sum()
