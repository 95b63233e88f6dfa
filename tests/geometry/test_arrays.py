import numpy as np
import pytest
import torch

from foveal.geometry import arrays, boxes


def random_boxes(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-50, 50, (*shape, 2))
    return np.concatenate([corners, corners + rng.uniform(-5, 40, (*shape, 2))], axis=-1).astype(
        np.float32
    )


def test_by_hand():
    one = np.array([0, 0, 10, 10], np.float32)
    other = np.array([5, 0, 15, 10], np.float32)
    assert arrays.areas(one) == 100
    assert arrays.intersections(one, other) == 50
    assert arrays.iou(one, other) == pytest.approx(1 / 3)
    assert arrays.iou(one[:0].reshape(0, 4), other).shape == (0,)
    inside = arrays.clip(np.stack([one, other]), np.array([2, -5, 12, 8], np.float32))
    assert inside.tolist() == [[2, 0, 10, 8], [5, 0, 12, 8]]


def test_two_empty_boxes_do_not_overlap():
    point = np.array([3, 3, 3, 3], np.float32)
    assert arrays.iou(point, point) == 0


@pytest.mark.parametrize("name", ["intersections", "iou"])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_pairs_equal_their_tensor_twins(name, count):
    first, second = random_boxes(count), random_boxes(7, seed=1)
    found = getattr(arrays, name)(first[:, None], second)
    expected = getattr(boxes, name)(torch.tensor(first)[:, None], torch.tensor(second))
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.numpy())


def test_areas_and_clipping_equal_their_tensor_twins():
    several, extents = random_boxes(3, 20), random_boxes(3, seed=2)
    assert np.array_equal(arrays.areas(several), boxes.areas(torch.tensor(several)).numpy())
    expected = boxes.clip(torch.tensor(several), torch.tensor(extents)).numpy()
    assert np.array_equal(arrays.clip(several, extents), expected)
