"""Boxes as offsets from anchors and back (R-CNN, Girshick et al. 2014, equations 6-9)."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.detection.box_coding_arrays import LARGEST_LOG_RATIO


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Express each box as an offset from its anchor.

    Args:
        boxes: [..., 4] xyxy, input pixels, positive area.
        anchors: [..., 4] xyxy, input pixels, positive area.

    Returns:
        [..., 4] (dx, dy, dw, dh): shift in anchor sizes, log of the size ratio.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    centers = boxes[..., :2] + sides / 2
    anchor_centers = anchors[..., :2] + anchor_sides / 2
    shift = (centers - anchor_centers) / anchor_sides
    growth = torch.log(sides / anchor_sides)
    return torch.cat([shift, growth], dim=-1)


def decode_boxes(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Apply offsets to anchors, the inverse of `encode_boxes`.

    dw and dh are cut off at `LARGEST_LOG_RATIO`, so that no exponent overflows.

    Args:
        deltas: [..., 4] (dx, dy, dw, dh).
        anchors: [..., 4] xyxy, input pixels.

    Returns:
        [..., 4] xyxy, input pixels, float32 (float64 for float64 deltas).
    """
    offsets = deltas.to(torch.promote_types(deltas.dtype, torch.float32))
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    anchor_centers = anchors[..., :2] + anchor_sides / 2
    half = torch.exp(offsets[..., 2:].clamp(max=LARGEST_LOG_RATIO)) * anchor_sides / 2
    centers = offsets[..., :2] * anchor_sides + anchor_centers
    return torch.cat([centers - half, centers + half], dim=-1)
