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


def test_coverage_divides_by_the_first_boxes_area():
    crowd = np.array([0, 0, 100, 100], np.float32)
    half_inside = np.array([-5, 0, 5, 10], np.float32)
    assert arrays.coverage(half_inside, crowd) == 0.5
    assert arrays.coverage(crowd, half_inside) == pytest.approx(0.005)
    assert arrays.coverage(np.zeros(4, np.float32), crowd) == 0
    assert arrays.coverage(np.zeros((0, 1, 4), np.float32), crowd[None]).shape == (0, 1)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_iou_by_sides_and_gaps_equals_that_of_the_boxes(count):
    rng = np.random.default_rng(3)
    centers, others = rng.uniform(-9, 9, (count, 2)), rng.uniform(-9, 9, (7, 2))
    sides, shapes = rng.uniform(1, 20, (count, 2)), rng.uniform(1, 20, (7, 2))
    expected = arrays.iou(
        np.hstack([centers - sides / 2, centers + sides / 2])[:, None],
        np.hstack([others - shapes / 2, others + shapes / 2]),
    )
    gaps = np.abs(centers[:, None] - others)
    found = arrays.iou_apart(sides[:, None], shapes, gaps=gaps)
    np.testing.assert_allclose(found, expected, atol=1e-12)


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
