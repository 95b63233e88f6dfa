"""Placement: by hand, and that the way back is the way back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry.placement import Placement


def test_maps_by_hand():
    placement = Placement(100, 50, scale_x=2, scale_y=4, offset_x=10, offset_y=-1)
    boxes = np.array([[0, 0, 100, 50], [1, 2, 3, 4]], np.float32)
    expected = [[10, -1, 210, 199], [12, 7, 16, 15]]
    assert placement.to_input(boxes).tolist() == expected
    assert placement.to_input(boxes).dtype == np.float32
    np.testing.assert_allclose(placement.to_original(placement.to_input(boxes)), boxes)


def test_maps_no_boxes():
    placement = Placement(3, 3, scale_x=0.5)
    assert placement.to_input(np.zeros((0, 4), np.float32)).shape == (0, 4)
    assert placement.to_original(np.zeros((0, 4), np.float32)).shape == (0, 4)


sizes = st.integers(1, 20_000)
scales = st.floats(1e-3, 1e3)
offsets = st.floats(-1e4, 1e4)


@given(sizes, sizes, scales, scales, offsets, offsets, st.integers(0, 10))
def test_back_is_the_inverse(width, height, scale_x, scale_y, offset_x, offset_y, seed):
    placement = Placement(width, height, scale_x, scale_y, offset_x, offset_y)
    boxes = np.random.default_rng(seed).uniform(0, (width, height) * 2, (5, 4)).astype(np.float32)
    inputs = placement.to_input(boxes)
    # what float32 can hold in the input's frame, seen from the original one
    allowed = np.abs(inputs).max() * 1e-6 / min(scale_x, scale_y) + 1e-2 * boxes.max() * 1e-4
    np.testing.assert_allclose(placement.to_original(inputs), boxes, rtol=1e-6, atol=allowed)
