import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from foveal.detection.suppression import suppress


def candidates(batch: int, count: int, seed: int, spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, count, 2, generator=generator) * spread
    return torch.cat(
        [corner, corner + torch.rand(batch, count, 2, generator=generator) * 20 + 1], -1
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(0, 400), st.integers(0, 10**6), st.sampled_from([20.0, 200.0])
)
def test_equals_greedy_nms_image_by_image(batch, count, seed, spread):
    boxes = candidates(batch, count, seed, spread)
    groups = torch.arange(count).expand(batch, -1) % 3
    alive = torch.ones(batch, count, dtype=torch.bool)
    kept = suppress(boxes, groups, alive, limit=0.5, most=100)
    order = torch.linspace(1, 0, count, dtype=torch.float64)
    for image in range(batch):
        expected = batched_nms(boxes[image].double(), order, groups[image], 0.5)[:100]
        assert kept[image, : len(expected)].tolist() == expected.tolist()
        assert (kept[image, len(expected) :] == -1).all()


def test_by_hand_a_dropped_candidate_drops_nobody():
    # Each overlaps the next by 0.6, not the one after: greedy keeps the first and the third.
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 2.5, 10, 12.5], [0, 5, 10, 15]]])
    groups = torch.zeros(1, 3, dtype=torch.int64)
    alive = torch.ones(1, 3, dtype=torch.bool)
    assert suppress(boxes, groups, alive, limit=0.5, most=3).tolist() == [[0, 2, -1]]
    alive[0, 0] = False
    assert suppress(boxes, groups, alive, limit=0.5, most=3).tolist() == [[1, -1, -1]]


@pytest.mark.parametrize("most", [1, 5])
def test_never_more_than_the_most(most):
    boxes = candidates(2, 300, 0, 2000.0)
    alive = torch.ones(2, 300, dtype=torch.bool)
    kept = suppress(boxes, torch.zeros(2, 300, dtype=torch.int64), alive, limit=0.5, most=most)
    assert kept.shape == (2, most)
    assert (kept >= 0).all()
