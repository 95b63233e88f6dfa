"""The bound on what anchors can overlap, against a brute search over shapes."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.geometry.anchor_reach import (
    center_gaps,
    level_locations,
    reachable_ious,
    within_reach,
)


def test_a_gap_is_the_distance_to_the_nearest_place() -> None:
    steps, counts = level_locations(np.array([[64, 32]]), (8, 16))

    gaps = center_gaps(np.array([[10.0, 10, 20, 24]]), steps=steps, counts=counts, offset=0.5)

    # Center (15, 17): places 12 and 20 of stride 8, 8 and 24 of stride 16.
    np.testing.assert_allclose(gaps, [[[3, 3], [7, 7]]])


def test_beyond_the_last_place_the_last_one_is_the_nearest() -> None:
    steps, counts = level_locations(np.array([[32, 32]]), (16,))

    gaps = center_gaps(np.array([[30.0, 30, 40, 40]]), steps=steps, counts=counts, offset=0.0)

    np.testing.assert_allclose(gaps, [[[19, 19]]])


def test_a_step_may_follow_from_the_feature_size() -> None:
    steps, counts = level_locations(np.array([[800, 800]]), (128,), divided=True)

    assert counts[0, 0, 0] == 7
    assert steps[0, 0, 0] == 114


@pytest.mark.parametrize("gap", [(0.0, 0.0), (2.0, 0.0), (3.5, 1.0), (4.0, 4.0)])
@pytest.mark.parametrize("side", [(6.0, 6.0), (10.0, 20.0), (30.0, 8.0)])
def test_the_bound_is_that_of_a_search_over_all_shapes(
    side: tuple[float, float], gap: tuple[float, float]
) -> None:
    lengths = np.geomspace(1, 90, 500)
    overlaps = [
        np.minimum(np.minimum(s, lengths), (s + lengths) / 2 - g).clip(0)
        for s, g in zip(side, gap, strict=True)
    ]
    shared = overlaps[0][:, None] * overlaps[1]
    expected = (shared / (lengths[:, None] * lengths + side[0] * side[1] - shared)).max()

    found = reachable_ious(np.array([side]), np.array([[gap]]))[0]

    assert found == pytest.approx(expected, abs=0.01)


def test_an_object_on_a_place_is_reached_whole() -> None:
    assert reachable_ious(np.array([[3.0, 5.0]]), np.zeros((1, 1, 2)))[0] == pytest.approx(1)


def test_without_objects_nothing_is_reached() -> None:
    assert reachable_ious(np.zeros((0, 2)), np.zeros((0, 1, 2))).shape == (0,)


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_within_reach_is_what_the_search_says(iou: float) -> None:
    rng = np.random.default_rng(0)
    sides, gaps = rng.uniform(1, 40, (500, 2)), rng.uniform(0, 16, (500, 3, 2))
    gaps[:20] = 0
    expected = reachable_ious(sides, gaps) >= iou
    assert within_reach(sides, gaps, iou=iou).tolist() == expected.tolist()
    assert expected.any()


def test_nothing_is_within_reach_of_no_level() -> None:
    assert within_reach(np.ones((2, 2)), np.zeros((2, 0, 2)), iou=0.5).tolist() == [False, False]
    assert within_reach(np.zeros((0, 2)), np.zeros((0, 1, 2)), iou=0.5).shape == (0,)
