"""Which object each anchor stands for (paper, section 4), for a batch within bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.geometry.boxes import areas, intersections

BACKGROUND = -1
"""An anchor that should see nothing."""
IGNORED = -2
"""An anchor that is taught nothing."""

PAIRS_AT_ONCE = 1 << 20
"""Anchor-object pairs held at a time on a CPU: temporaries of this size stay in its caches."""
PAIRS_AT_ONCE_ON_DEVICE = 1 << 26


def assign(
    anchors: Tensor,
    boxes: Tensor,
    counts: Tensor,
    *,
    ignored: Tensor | None = None,
    foreground_iou: float = 0.5,
    background_iou: float = 0.4,
    allow_low_quality_matches: bool = True,
    ignored_overlap: float = 0.5,
) -> Tensor:
    """Give each anchor the object that it overlaps most, or background, or nothing.

    IoU >= foreground_iou is an object, < background_iou background, between the two ignored. With
    `allow_low_quality_matches` the anchors that reach an object's highest IoU (ties included) are
    the object's, however low it is. An anchor without an object is ignored where the fraction
    `ignored_overlap` of its area lies in one region to ignore.

    Anchors are taken in blocks, so that the whole [B, N, A] matrix never exists.

    Args:
        anchors: [A, 4] xyxy, input pixels.
        boxes: [B, N, 4] xyxy, input pixels, padded.
        counts: [B], how many of the N are real.
        ignored: [B, N] bool, regions to ignore; None where there are none in the batch.
        foreground_iou, background_iou, allow_low_quality_matches, ignored_overlap: see above.

    Returns:
        [B, A] int64: index of the object in 0..N-1, BACKGROUND or IGNORED.
    """
    if boxes.device.type == "cpu" and not torch.compiler.is_compiling() and counts.numel():
        most_real = int(counts.max())  # up to half of the places are padding
        boxes = boxes[:, :most_real]
        ignored = None if ignored is None else ignored[:, :most_real]
    batch, most, _ = boxes.shape
    if most == 0:
        return torch.full((batch, len(anchors)), BACKGROUND, device=boxes.device)
    real = torch.arange(most, device=boxes.device) < counts[:, None]
    objects = _without(boxes, ~real if ignored is None else ~real | ignored)
    regions = None if ignored is None else _without(boxes, ~(real & ignored))

    # Results go into two tensors made beforehand: small ones, made between the blocks' large
    # temporaries and kept, would leave no room to reuse, and the process would grow by each block.
    matched, nearest = (boxes.new_empty(batch, len(anchors), dtype=torch.int64) for _ in range(2))
    blocks = _blocks(len(anchors), _block_length(anchors, pairs_each=batch * most))
    best_of_object = torch.zeros(batch, most, device=boxes.device)
    for block in blocks:
        overlaps = _overlaps(objects, anchors[block])
        best, nearest[:, block] = overlaps.max(dim=1)
        state = torch.where(best < background_iou, BACKGROUND, IGNORED)
        if regions is not None:
            inside = intersections(regions[:, :, None], anchors[block]).amax(dim=1)
            state = torch.where(inside >= ignored_overlap * areas(anchors[block]), IGNORED, state)
        matched[:, block] = torch.where(best >= foreground_iou, nearest[:, block], state)
        best_of_object = torch.maximum(best_of_object, overlaps.amax(dim=2))
    if not allow_low_quality_matches:
        return matched

    # An object that touches no anchor has a best IoU of 0, which all anchors reach: it gets none.
    sought = torch.where(best_of_object > 0, best_of_object, torch.inf)[:, :, None]
    for block in blocks:
        reaches = (_overlaps(objects, anchors[block]) >= sought).any(dim=1)
        matched[:, block] = torch.where(reaches, nearest[:, block], matched[:, block])
    return matched


def _without(boxes: Tensor, left_out: Tensor) -> Tensor:
    """The boxes with those left out made empty, so that they overlap nothing."""
    return boxes.masked_fill(left_out[..., None], 0.0)


def _overlaps(objects: Tensor, block: Tensor) -> Tensor:
    """IoU of all objects [B, N, 4] with a block of anchors [C, 4]: [B, N, C].

    Anchors run last: both maxima then run over memory in order. Written in place, since every
    temporary here is as large as the block allows.
    """
    shared = intersections(objects[:, :, None], block)
    union = (areas(objects)[:, :, None] + areas(block)).sub_(shared)
    return shared.div_(union)


def _blocks(count: int, length: int) -> list[slice]:
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def _block_length(anchors: Tensor, pairs_each: int) -> int:
    pairs = PAIRS_AT_ONCE if anchors.device.type == "cpu" else PAIRS_AT_ONCE_ON_DEVICE
    return max(1, min(len(anchors), pairs // pairs_each))
