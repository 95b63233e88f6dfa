import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from foveal.detection import box_coding_arrays
from foveal.detection.box_coding import (
    decode_boxes,
    deltas_from_distances,
    encode_boxes,
    encode_distances,
)
from foveal.detection.box_coding_arrays import LARGEST_LOG_RATIO

ANCHOR = torch.tensor([10.0, 20.0, 30.0, 60.0])  # 20 wide, 40 high, center (20, 40)


def test_by_hand():
    box = torch.tensor([20.0, 40.0, 60.0, 60.0])  # 40 wide, 20 high, center (40, 50)
    expected = torch.tensor([1.0, 0.25, math.log(2), -math.log(2)])
    torch.testing.assert_close(encode_boxes(box, ANCHOR), expected)
    torch.testing.assert_close(encode_boxes(ANCHOR, ANCHOR), torch.zeros(4))


def test_growth_is_clamped():
    wild = torch.tensor([0.0, 0.0, 1e4, 1e4])
    decoded = decode_boxes(wild, ANCHOR)
    assert torch.isfinite(decoded).all()
    width = decoded[2] - decoded[0]
    torch.testing.assert_close(width, torch.tensor(20 * math.exp(LARGEST_LOG_RATIO)))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_decode_undoes_encode_and_agrees_with_torchvision(seed):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(2, 30, 2, generator=generator) * 500
    sides = torch.rand(2, 30, 2, generator=generator) * 200 + 4  # ratios below the clamp
    boxes, anchors = torch.cat([corners, corners + sides], dim=-1)
    deltas = encode_boxes(boxes, anchors)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    torch.testing.assert_close(deltas, coder.encode_single(boxes, anchors), atol=1e-4, rtol=1e-4)
    decoded = decode_boxes(deltas, anchors)
    torch.testing.assert_close(decoded, boxes, atol=2e-3, rtol=0)
    torch.testing.assert_close(decoded, coder.decode_single(deltas, anchors), atol=2e-3, rtol=0)


def test_low_precision_offsets_are_decoded_in_float32():
    assert decode_boxes(torch.zeros(3, 4, dtype=torch.bfloat16), ANCHOR).dtype == torch.float32
    assert encode_boxes(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0, 4)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(0, 50), st.sampled_from([0.3, 3.0, 1e4]))
def test_arrays_are_decoded_as_tensors_are(seed, count, spread):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 500, (count, 2))
    anchors = np.concatenate([corners, corners + rng.uniform(4, 200, (count, 2))], axis=1)
    anchors = anchors.astype(np.float32)
    deltas = rng.normal(0, spread, (count, 4)).astype(np.float32)
    found = box_coding_arrays.decode_boxes(deltas, anchors)
    expected = decode_boxes(torch.tensor(deltas), torch.tensor(anchors)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-3)


def test_distances_by_hand() -> None:
    anchor = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    box = torch.tensor([[16.0, 8.0, 80.0, 40.0]])
    distances = encode_distances(box, anchor)
    assert distances.tolist() == [[2, 3, 6, 1]]
    torch.testing.assert_close(deltas_from_distances(distances), encode_boxes(box, anchor))


def test_distances_give_the_boxes_back() -> None:
    torch.manual_seed(0)
    corners = torch.rand(50, 2) * 100
    boxes = torch.cat([corners, corners + 1 + 60 * torch.rand(50, 2)], dim=1)
    anchors = torch.cat([corners - 20, corners + 30], dim=1)
    deltas = deltas_from_distances(encode_distances(boxes, anchors))
    torch.testing.assert_close(deltas, encode_boxes(boxes, anchors))
    torch.testing.assert_close(decode_boxes(deltas, anchors), boxes)


def test_boxes_without_area_have_finite_offsets() -> None:
    distances = torch.zeros(1, 4, requires_grad=True)
    deltas = deltas_from_distances(distances)
    deltas.sum().backward()
    assert deltas.isfinite().all()
    assert distances.grad is not None
    assert distances.grad.isfinite().all()
