"""Boxes as offsets from anchors and back (R-CNN, Girshick et al. 2014, equations 6-9)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_LOG_RATIO = math.log(1000 / 16)
"""Where dw and dh are cut off when decoding, so that no exponent overflows."""

Weights = tuple[float, float, float, float]


def encode(boxes: Tensor, anchors: Tensor, *, weights: Weights = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Express each box as an offset from its anchor.

    Args:
        boxes: [..., 4] xyxy, input pixels, positive area.
        anchors: [..., 4] xyxy, input pixels, positive area.
        weights: factors on dx, dy, dw, dh.

    Returns:
        [..., 4] (dx, dy, dw, dh): shift in anchor sizes, log of the size ratio.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    centres = boxes[..., :2] + sides / 2
    anchor_centres = anchors[..., :2] + anchor_sides / 2
    shift = (centres - anchor_centres) / anchor_sides
    growth = torch.log(sides / anchor_sides)
    return torch.cat([shift, growth], dim=-1) * boxes.new_tensor(weights)


def decode_deltas(
    deltas: Tensor,
    anchors: Tensor,
    *,
    weights: Weights = (1.0, 1.0, 1.0, 1.0),
    largest: float = LARGEST_LOG_RATIO,
) -> Tensor:
    """Apply offsets to anchors, the inverse of `encode`.

    Args:
        deltas: [..., 4] (dx, dy, dw, dh).
        anchors: [..., 4] xyxy, input pixels.
        weights: factors that `encode` was given.
        largest: dw and dh are clamped to it from above.

    Returns:
        [..., 4] xyxy, input pixels, float32 (float64 for float64 deltas).
    """
    dtype = torch.promote_types(deltas.dtype, torch.float32)
    offsets = deltas.to(dtype) / anchors.new_tensor(weights, dtype=dtype)
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    anchor_centres = anchors[..., :2] + anchor_sides / 2
    half = torch.exp(offsets[..., 2:].clamp(max=largest)) * anchor_sides / 2
    centres = offsets[..., :2] * anchor_sides + anchor_centres
    return torch.cat([centres - half, centres + half], dim=-1)
