import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, generalized_box_iou

from foveal.geometry.boxes import (
    areas,
    clip,
    generalized_iou,
    intersections,
    iou,
)


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 100
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator) * 50 + 0.1], dim=1)


def test_by_hand():
    box = torch.tensor([0.0, 0.0, 4.0, 2.0])
    other = torch.tensor([2.0, 1.0, 6.0, 3.0])
    assert areas(box) == 8
    assert intersections(box, other) == 2
    assert iou(box, other) == pytest.approx(2 / 14)
    # The hull is 6 x 3 = 18, of which 14 are covered.
    assert generalized_iou(box, other) == pytest.approx(2 / 14 - 4 / 18)


def test_apart_and_empty_boxes():
    box = torch.tensor([0.0, 0.0, 1.0, 1.0])
    far = torch.tensor([2.0, 0.0, 3.0, 1.0])
    empty = torch.zeros(4)
    assert iou(box, far) == 0
    assert generalized_iou(box, far) == pytest.approx(-1 / 3)
    assert iou(empty, empty) == 0
    assert torch.isfinite(generalized_iou(empty, empty))
    assert areas(torch.tensor([3.0, 3.0, 1.0, 1.0])) == 0
    assert iou(torch.zeros(0, 1, 4), torch.zeros(5, 4)).shape == (0, 5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 1000))
def test_all_pairs_agree_with_torchvision(count, others, seed):
    a, b = random_boxes(count, seed), random_boxes(others, seed + 1)
    torch.testing.assert_close(iou(a[:, None], b), box_iou(a, b))
    torch.testing.assert_close(generalized_iou(a[:, None], b), generalized_box_iou(a, b))


def test_clip_keeps_each_image_to_its_own_extent():
    boxes = torch.tensor([[[-1.0, 2.0, 50.0, 60.0]], [[-1.0, 2.0, 50.0, 60.0]]])
    extents = torch.tensor([[0.0, 0.0, 40.0, 30.0], [5.0, 5.0, 100.0, 50.0]])
    expected = torch.tensor([[[0.0, 2.0, 40.0, 30.0]], [[5.0, 5.0, 50.0, 50.0]]])
    assert torch.equal(clip(boxes, extents), expected)
