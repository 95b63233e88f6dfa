"""Adaptive training sample selection: what is a good IoU, each object's own statistics say.

Zhang et al. 2020, "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive
Training Sample Selection", arXiv 1912.02424, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.detection.assignment import BACKGROUND
from foveal.detection.assignment_claims import give_anchors, nearest_anchors
from foveal.detection.assignment_pairs import are_real, centers_of, contain, cut_padding
from foveal.geometry.boxes import iou

CANDIDATES = 9
"""Locations of each level that an object looks at (the paper's k)."""


def assign_atss(
    anchors: Tensor,
    boxes: Tensor,
    counts: Tensor,
    *,
    level_lengths: tuple[int, ...],
    per_location: int,
    ignored: Tensor | None = None,
    candidates: int = CANDIDATES,
    allow_low_quality_matches: bool = True,
    ignored_overlap: float = 0.5,
) -> Tensor:
    """Give each anchor an object, or background, or nothing.

    1. An object's candidates are, on each level, the anchors of the k locations whose centers are
       nearest to its own: k of them with one anchor a location, 9 k with nine.
    2. It gets the candidates whose IoU with it is at least the mean and the standard deviation of
       its candidates' IoUs together, and whose center lies inside it. An anchor that several
       objects want is that one's with the highest IoU. All other anchors are background.
    3. With `allow_low_quality_matches` an object that got no anchor, as a tiny one between the
       locations, gets the best free one of its candidates (`serve_objects_without_anchor`). The
       paper does not have this rule.
    4. Regions to ignore look for anchors in the same way. What they would get and no object has is
       ignored; so is a background anchor of which the fraction `ignored_overlap` lies in one.

    Args:
        anchors: [A, 4] xyxy, input pixels, level by level, location by location.
        boxes: [B, N, 4] xyxy, input pixels, padded.
        counts: [B], how many of the N are real.
        level_lengths: anchors of each level, A in all.
        per_location: anchors of each location.
        ignored: [B, N] bool, regions to ignore; None where there are none in the batch.
        candidates: the paper's k.
        allow_low_quality_matches, ignored_overlap: see above.

    Returns:
        [B, A] int64: index of the object in 0..N-1, BACKGROUND or IGNORED.
    """
    boxes, ignored = cut_padding(boxes, ignored, counts)
    batch, num_objects, _ = boxes.shape
    if num_objects == 0:
        return torch.full((batch, len(anchors)), BACKGROUND, device=boxes.device)
    real = are_real(boxes, counts)
    objects = real if ignored is None else real & ~ignored
    nearest = nearest_anchors(
        anchors, boxes, level_lengths=level_lengths, per_location=per_location, count=candidates
    )
    near = anchors[nearest]
    ious = iou(boxes[:, :, None], near)
    spread = ious.std(dim=2, keepdim=True, correction=min(1, ious.shape[2] - 1))
    wanted = ious >= ious.mean(dim=2, keepdim=True) + spread
    wanted &= contain(boxes[:, :, None], centers_of(near)) & (ious > 0)
    return give_anchors(
        nearest,
        ious,
        wanted,
        anchors,
        boxes,
        objects=objects,
        regions=None if ignored is None else real & ignored,
        nearest=(lambda: nearest) if allow_low_quality_matches else None,
        overlap=ignored_overlap,
    )
