"""Which object each anchor is trained to detect (paper, section 4, "Anchors")."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from foveal.detection.assignment_pairs import are_real, blocks, cut_padding, emptied, lie_inside
from foveal.geometry.boxes import areas, intersections

BACKGROUND = -1
"""An anchor on background: its scores are trained towards 0 for all classes."""
IGNORED = -2
"""An anchor that has no part in the losses: neither clearly an object nor clearly background."""


class Assignment(NamedTuple):
    """What each anchor of a batch is trained to detect.

    Attributes:
        matched: [B, A] int64: index of the object in 0..N-1, BACKGROUND or IGNORED.
        quality: [B, A] float32 in 0..1, the score that the method wants an anchor to give its
            object's class, 0 where it has none; None from methods that want no certain score.
    """

    matched: Tensor
    quality: Tensor | None = None

    def of_level(self, anchors: slice) -> Assignment:
        """The same of some of the anchors."""
        quality = None if self.quality is None else self.quality[:, anchors]
        return Assignment(self.matched[:, anchors], quality)


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
    """Give each anchor an object, or background, or nothing.

    1. An anchor gets the object with which its IoU is highest, if that is at least
       `foreground_iou`. Below `background_iou` it is background; in between it is ignored.
    2. A background anchor is ignored where the fraction `ignored_overlap` of its area lies in one
       region to ignore.
    3. With `allow_low_quality_matches` the anchors whose IoU with an object is the highest that any
       anchor has with it (ties included) get an object too, however low that IoU is. It is the
       object with which their own IoU is highest. The paper does not have this rule.

    Args:
        anchors: [A, 4] xyxy, input pixels.
        boxes: [B, N, 4] xyxy, input pixels, padded.
        counts: [B], how many of the N are real.
        ignored: [B, N] bool, regions to ignore; None where there are none in the batch.
        foreground_iou, background_iou, allow_low_quality_matches, ignored_overlap: see above.

    Returns:
        [B, A] int64: index of the object in 0..N-1, BACKGROUND or IGNORED.
    """
    boxes, ignored = cut_padding(boxes, ignored, counts)
    batch, num_objects, _ = boxes.shape
    if num_objects == 0:
        return torch.full((batch, len(anchors)), BACKGROUND, device=boxes.device)
    real = are_real(boxes, counts)
    objects = emptied(boxes, ~real if ignored is None else ~real | ignored)
    regions = None if ignored is None else emptied(boxes, ~(real & ignored))

    # In blocks of anchors, since all pairs of a batch, [B, N, A], may be more than memory holds.
    matched, nearest = (boxes.new_empty(batch, len(anchors), dtype=torch.int64) for _ in range(2))
    best_of_object = torch.zeros(batch, num_objects, device=boxes.device)
    parts = blocks(len(anchors), pairs_each=batch * num_objects, device=anchors.device)
    for block in parts:
        ious = _ious(objects, anchors[block])
        best, nearest[:, block] = ious.max(dim=1)
        unmatched = torch.where(best < background_iou, BACKGROUND, IGNORED)
        if regions is not None:
            inside = lie_inside(regions, anchors[block], ignored_overlap)
            unmatched = torch.where(inside, IGNORED, unmatched)
        matched[:, block] = torch.where(best >= foreground_iou, nearest[:, block], unmatched)
        best_of_object = torch.maximum(best_of_object, ious.amax(dim=2))
    if not allow_low_quality_matches:
        return matched

    # An object that touches no anchor has a best IoU of 0, which all anchors reach: it gets none.
    best_of_object = torch.where(best_of_object > 0, best_of_object, torch.inf)
    for block in parts:
        reaches = (_ious(objects, anchors[block]) >= best_of_object[:, :, None]).any(dim=1)
        matched[:, block] = torch.where(reaches, nearest[:, block], matched[:, block])
    return matched


def _ious(objects: Tensor, anchors: Tensor) -> Tensor:
    """IoU of objects [B, N, 4] with anchors [C, 4]: [B, N, C]."""
    shared = intersections(objects[:, :, None], anchors)
    union = (areas(objects)[:, :, None] + areas(anchors)).sub_(shared)
    return shared.div_(union)
