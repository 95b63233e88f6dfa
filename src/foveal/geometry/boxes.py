"""Boxes as tensors: areas, overlaps, clipping; xyxy in continuous pixels, no "+1"."""

from __future__ import annotations

import torch
from torch import Tensor


def areas(boxes: Tensor) -> Tensor:
    """Area of each box.

    Args:
        boxes: [..., 4] xyxy.

    Returns:
        [...] in square pixels; a box turned inside out has area 0.
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def intersections(boxes: Tensor, others: Tensor) -> Tensor:
    """Area that two boxes share, broadcasting; no temporary is larger than the result.

    Args:
        boxes: [..., 4] xyxy.
        others: [..., 4] xyxy, same frame; [A, 1, 4] against [N, 4] gives all pairs.

    Returns:
        [...] broadcast, in square pixels.
    """
    x1, y1, x2, y2 = boxes.unbind(-1)
    u1, v1, u2, v2 = others.unbind(-1)
    width = (torch.minimum(x2, u2) - torch.maximum(x1, u1)).clamp(min=0)
    height = (torch.minimum(y2, v2) - torch.maximum(y1, v1)).clamp(min=0)
    return width * height


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, broadcasting like `intersections`; 0 where both boxes are empty.

    Args:
        boxes: [..., 4] xyxy.
        others: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..1.
    """
    shared = intersections(boxes, others)
    return shared / (areas(boxes) + areas(others) - shared).clamp(min=_tiny(shared))


def generalized_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU less the share of the hull that neither covers (Rezatofighi et al. 2019, algorithm 1).

    Args:
        boxes: [..., 4] xyxy.
        others: [..., 4] xyxy, same frame.

    Returns:
        [...] in -1..1.
    """
    shared = intersections(boxes, others)
    union = areas(boxes) + areas(others) - shared
    corner = torch.minimum(boxes[..., :2], others[..., :2])
    sides = torch.maximum(boxes[..., 2:], others[..., 2:]) - corner
    hull = sides[..., 0] * sides[..., 1]
    tiny = _tiny(shared)
    return shared / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)


def clip(boxes: Tensor, extents: Tensor) -> Tensor:
    """Cut boxes off at the edges of their image.

    Args:
        boxes: [..., N, 4] xyxy.
        extents: [..., 4] xyxy, where the image lies in the boxes' frame.

    Returns:
        [..., N, 4].
    """
    low = extents[..., None, [0, 1, 0, 1]]
    high = extents[..., None, [2, 3, 2, 3]]
    return torch.minimum(torch.maximum(boxes, low), high)


def _tiny(like: Tensor) -> float:
    """The smallest area that still divides: keeps 0 / 0 at 0."""
    return torch.finfo(like.dtype).tiny
