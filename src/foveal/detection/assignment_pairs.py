"""What all methods of assignment need of pairs of an anchor and an object, in blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.geometry.boxes import areas, intersections

PAIRS_AT_ONCE = 1 << 20
"""Pairs of an anchor and an object that are compared at once on a CPU."""
PAIRS_AT_ONCE_ON_DEVICE = 1 << 26
"""The same on other devices."""


def cut_padding(
    boxes: Tensor, ignored: Tensor | None, counts: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Cut off what is padding in all images, where that waits for no device.

    Args:
        boxes: [B, N, 4], padded.
        ignored: [B, N] bool, regions to ignore; None where there are none.
        counts: [B], how many of the N are real.
    """
    if boxes.device.type != "cpu" or torch.compiler.is_compiling() or not counts.numel():
        return boxes, ignored
    most = int(counts.max())
    return boxes[:, :most], None if ignored is None else ignored[:, :most]


def are_real(boxes: Tensor, counts: Tensor) -> Tensor:
    """Which of the boxes [B, N, 4] are no padding, [B, N]; counts [B] are real."""
    return torch.arange(boxes.shape[1], device=boxes.device) < counts[:, None]


def emptied(boxes: Tensor, which: Tensor) -> Tensor:
    """Boxes [B, N, 4] with some of them, [B, N], made empty, so that they overlap nothing."""
    return boxes.masked_fill(which[..., None], 0.0)


def lie_inside(regions: Tensor, anchors: Tensor, fraction: float) -> Tensor:
    """Whether a fraction of each anchor [C, 4] lies in one of the regions [B, N, 4]: [B, C]."""
    shared = intersections(regions[:, :, None], anchors).amax(dim=1)
    return shared >= fraction * areas(anchors)


def blocks(length: int, *, pairs_each: int, device: torch.device) -> list[slice]:
    """Ranges of 0..length-1, as many at once as `PAIRS_AT_ONCE` allows.

    Args:
        length: how many anchors, or objects, there are.
        pairs_each: how many pairs each of them has.
        device: where they are compared.
    """
    pairs = PAIRS_AT_ONCE if device.type == "cpu" else PAIRS_AT_ONCE_ON_DEVICE
    step = max(1, min(length, pairs // max(1, pairs_each)))
    return [slice(start, start + step) for start in range(0, length, step)]


def centers_of(boxes: Tensor) -> Tensor:
    """The centers (x, y) of boxes [..., 4] xyxy: [..., 2]."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def contain(boxes: Tensor, points: Tensor) -> Tensor:
    """Whether points [..., 2] lie inside boxes [..., 4] xyxy, not on their edges; broadcasting."""
    x, y = points.unbind(-1)
    left, top, right, bottom = boxes.unbind(-1)
    return (x > left) & (x < right) & (y > top) & (y < bottom)
