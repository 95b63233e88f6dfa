"""Extents: by hand, by the definition of runs, and against pycocotools."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.data.formats.extents import (
    box_of_runs,
    box_of_segmentation,
    box_turned_about_its_corner,
    ellipse_box,
    runs_of,
    turned_box,
)


def test_a_box_turned_by_a_quarter_about_its_center_or_corner() -> None:
    assert turned_box((20, 30, 80, 50), 90) == pytest.approx((40, 10, 60, 70))
    assert box_turned_about_its_corner((20, 30, 80, 50), 90) == pytest.approx((0, 30, 20, 90))
    for turn in (turned_box, box_turned_about_its_corner):
        assert turn((20, 30, 80, 50), 0) == (20, 30, 80, 50)
        assert turn((20, 30, 80, 50), math.nan) == (20, 30, 80, 50)


def test_an_ellipse_has_its_radii_or_what_the_turned_ones_reach() -> None:
    assert ellipse_box(50, 40, 20, 10) == (30, 30, 70, 50)
    assert ellipse_box(50, 40, 20, 10, 90) == pytest.approx((40, 20, 60, 60))
    angles = np.linspace(0, 2 * np.pi, 100_001)
    turn = math.radians(30)
    xs = 20 * np.cos(angles) * math.cos(turn) - 10 * np.sin(angles) * math.sin(turn)
    assert ellipse_box(0, 0, 20, 10, 30)[2] == pytest.approx(xs.max(), abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        [[20, 30, 60, 30, 60, 70]],
        [20, 30, 60, 30, 60, 70],
        [[20, 30], [60, 30], [60, 70]],
        [{"x": 20, "y": 30}, {"x": 60, "y": 70}],
        [["20", "30", "60", "70"]],
        [[20, 30, 40, 30, 40, 50], [50, 60, 60, 60, 60, 70]],
        {"counts": [20 * 100 + 30, 40, 39 * 100 - 40, 40], "size": [100, 90]},
        [{"counts": [20 * 100 + 30, 40, 39 * 100 - 40, 40], "size": [100, 90]}],
    ],
)
def test_outlines_and_masks(value: object) -> None:
    assert box_of_segmentation(value) == (20, 30, 60, 70)


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, "x", 5, [[]], [1, 2, 3], [[1, 2, 3]], [["a", 2, 3, 4]], [None], {"counts": 3},
        {"counts": [5, -1], "size": [9, 9]}, {"counts": [5, 2]}, {"counts": [9], "size": [3, 3]},
        {"counts": "\x01", "size": [3, 3]}, {"counts": [1, 1], "size": ["x", 3]},
        {"counts": [1, float("nan")], "size": [3, 3]}, {"counts": [1, 2**70], "size": [3, 3]},
        {"counts": "o" * 90, "size": [3, 3]}, [{"x": 1}], [True, False, True, False],
    ],
)  # fmt: skip
def test_what_is_no_segmentation_has_no_extent(value: object) -> None:
    assert box_of_segmentation(value) is None


def test_runs_without_a_size_take_the_images_height() -> None:
    assert box_of_segmentation({"counts": [5, 2]}, height=4) == (1, 1, 2, 3)


def test_a_number_that_is_none_makes_the_extent_none() -> None:
    assert np.isnan(box_of_segmentation([[1, 2, float("nan"), 4]])).all()


@given(
    st.integers(1, 9).flatmap(
        lambda height: st.lists(
            st.lists(st.booleans(), min_size=height, max_size=height), min_size=1, max_size=9
        )
    )
)
def test_runs_agree_with_their_definition_and_with_pycocotools(columns: list) -> None:
    from pycocotools import mask

    image = np.asfortranarray(np.array(columns, np.uint8).T)
    compressed = mask.encode(image)
    flat = image.flatten(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat]))).tolist()
    runs = np.diff([0, *changes, len(flat)]).tolist()
    assert runs_of(compressed["counts"].decode()) == runs
    ys, xs = np.nonzero(image)
    expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None
    assert box_of_runs(runs, image.shape[0]) == expected
    written = {"counts": compressed["counts"].decode(), "size": list(image.shape)}
    assert box_of_segmentation(written) == expected
    if expected is not None:
        left, top, width, height = mask.toBbox(compressed)
        assert expected == (left, top, left + width, top + height)
