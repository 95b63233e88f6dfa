"""Boxes as offsets from anchors and back (R-CNN, Girshick et al. 2014, equations 6-9)."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.detection.box_coding_arrays import LARGEST_LOG_RATIO

UNITS_A_SIDE = 8
"""In these distances are measured: eighths of the anchor's side. That is the stride where anchors
have 8 strides, as with one anchor a location they have by custom (ATSS, generalized focal loss)."""

_LEAST_SIDE = 1e-4
"""In the same unit: a box without width or height has no offset."""


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


def encode_distances(boxes: Tensor, anchors: Tensor) -> Tensor:
    """How far a box's sides are from its anchor's center (FCOS, Tian et al. 2019, equation 1).

    Args:
        boxes: [..., 4] xyxy, input pixels.
        anchors: [..., 4] xyxy, input pixels, positive area.

    Returns:
        [..., 4] (left, top, right, bottom) in eighths of the anchor's width and height; negative
        where the center is outside the box.
    """
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    centers = anchors[..., :2] + anchor_sides / 2
    distances = torch.cat([centers - boxes[..., :2], boxes[..., 2:] - centers], dim=-1)
    return distances * (UNITS_A_SIDE / torch.cat([anchor_sides, anchor_sides], dim=-1))


def deltas_from_distances(distances: Tensor) -> Tensor:
    """The offsets from an anchor of the box whose sides are so far from the anchor's center.

    Args:
        distances: [..., 4] (left, top, right, bottom) as `encode_distances` gives them.

    Returns:
        [..., 4] (dx, dy, dw, dh) as `encode_boxes` gives them.
    """
    before, after = distances[..., :2], distances[..., 2:]
    sides = (before + after).clamp(min=_LEAST_SIDE) / UNITS_A_SIDE
    return torch.cat([(after - before) / (2 * UNITS_A_SIDE), torch.log(sides)], dim=-1)
