"""Assignment by what the network says itself: anchors that classify and locate an object well.

Feng et al. 2021, "TOOD: Task-aligned One-stage Object Detection", arXiv 2108.07755, section 3.2.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.detection.assignment import BACKGROUND, Assignment
from foveal.detection.assignment_claims import give_anchors, nearest_anchors
from foveal.detection.assignment_pairs import are_real, blocks, centers_of, contain, cut_padding
from foveal.detection.box_coding import decode_boxes
from foveal.geometry.boxes import iou
from foveal.structures import Batch, RawOutput

CANDIDATES = 13
"""Anchors that an object gets at most (the paper's m)."""
SCORE_POWER = 1.0
"""The paper's alpha."""
IOU_POWER = 6.0
"""The paper's beta."""
NEAR_LOCATIONS = 9
"""Locations of each level that an object without an anchor looks at."""


def assign_task_aligned(
    raw: RawOutput[Tensor],
    anchors: Tensor,
    batch: Batch,
    *,
    per_location: int,
    candidates: int = CANDIDATES,
    allow_low_quality_matches: bool = True,
    ignored_overlap: float = 0.5,
) -> Assignment:
    """Give each anchor an object, or background, or nothing; and a score to reach.

    1. An anchor is aligned with an object by t = s^alpha u^beta: s is the score that it gives the
       object's class, u the IoU of the box that it predicts with the object, alpha 1 and beta 6.
    2. An object gets the m anchors with the highest t among those whose center lies inside it. An
       anchor that several objects want is that one's whose IoU u is the highest. All others are
       background.
    3. The score to reach is t in proportion: t / max t * max u, the maxima over all anchors of the
       object, so that its best aligned anchor is to score as high as its largest IoU.
    4. With `allow_low_quality_matches` an object that got no anchor, as a tiny one between the
       locations, gets the best free one near it (`serve_objects_without_anchor`). The paper does
       not have this rule.
    5. Regions to ignore look for anchors in the same way. What they would get and no object has is
       ignored; so is a background anchor of which the fraction `ignored_overlap` lies in one.

    Args:
        raw: the network's output, levels with A_1 + ... + A_L = A.
        anchors: [A, 4] xyxy, input pixels, level by level, location by location.
        batch: targets on the same device, input pixels.
        per_location: anchors of each location.
        candidates: the paper's m.
        allow_low_quality_matches, ignored_overlap: see above.
    """
    boxes, ignored = cut_padding(
        batch.boxes, batch.ignored if batch.has_ignored else None, batch.counts
    )
    images, num_objects, _ = boxes.shape
    if num_objects == 0:
        matched = torch.full((images, len(anchors)), BACKGROUND, device=boxes.device)
        return Assignment(matched, anchors.new_zeros(matched.shape))
    labels = batch.labels[:, :num_objects].clamp(min=0)
    real = are_real(boxes, batch.counts)
    objects = real if ignored is None else real & ~ignored
    index, ious, wanted = _best_aligned(raw, anchors, boxes, labels, count=candidates)
    nearest = partial(
        nearest_anchors,
        anchors,
        boxes,
        level_lengths=tuple(level.shape[1] for level in raw.logits),
        per_location=per_location,
        count=NEAR_LOCATIONS,
    )
    matched = give_anchors(
        index,
        ious,
        wanted,
        anchors,
        boxes,
        objects=objects,
        regions=None if ignored is None else real & ignored,
        nearest=nearest if allow_low_quality_matches else None,
        overlap=ignored_overlap,
    )
    return Assignment(matched, _scores_to_reach(raw, anchors, boxes, labels, matched))


def _best_aligned(
    raw: RawOutput[Tensor], anchors: Tensor, boxes: Tensor, labels: Tensor, *, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The anchors inside each box [B, N, 4] that are best aligned with it.

    Returns:
        [B, N, C] each: indices of the anchors, the IoUs of what they predict, and whether there is
        such an anchor.
    """
    # Kept as it grows: the best of all blocks together would be more than a block.
    none = boxes.new_zeros(*labels.shape, 0)
    found: tuple[Tensor, ...] = (none.long(), none, none)
    start = 0
    for logits, deltas in zip(raw.logits, raw.deltas, strict=True):
        length = logits.shape[1]
        for block in blocks(length, pairs_each=labels.numel(), device=boxes.device):
            here = anchors[start + block.start : start + min(block.stop, length)]
            predicted = decode_boxes(deltas[:, block], here)
            ious = iou(boxes[:, :, None], predicted[:, None])
            each = labels[:, None].expand(-1, len(here), -1)
            scores = logits[:, block].gather(2, each).transpose(1, 2)
            aligned = _log_alignment(scores, ious)
            inside = contain(boxes[:, :, None], centers_of(here)) & (ious > 0)
            best = torch.where(inside, aligned, -torch.inf).topk(min(count, len(here)), dim=2)
            of_block = (
                start + block.start + best.indices,
                ious.gather(2, best.indices),
                best.values,
            )
            both = [torch.cat(parts, dim=2) for parts in zip(found, of_block, strict=True)]
            kept = both[2].topk(min(count, both[2].shape[2]), dim=2).indices
            found = tuple(part.gather(2, kept) for part in both)
        start += length
    index, ious, aligned = found
    return index, ious, aligned > -torch.inf


def _scores_to_reach(
    raw: RawOutput[Tensor], anchors: Tensor, boxes: Tensor, labels: Tensor, matched: Tensor
) -> Tensor:
    """T / max t * max u of each anchor with its object, [B, A]; 0 where it has none."""
    owned = matched >= 0
    index = matched.clamp(min=0)
    predicted = decode_boxes(torch.cat(raw.deltas, dim=1), anchors)
    ious = iou(predicted, boxes.gather(1, index[..., None].expand(-1, -1, 4)))
    lengths = [level.shape[1] for level in raw.logits]
    classes = torch.split(labels.gather(1, index), lengths, dim=1)
    scores = torch.cat(
        [
            logits.gather(2, of_level[..., None])[..., 0]
            for logits, of_level in zip(raw.logits, classes, strict=True)
        ],
        dim=1,
    )
    aligned = torch.where(owned, _log_alignment(scores, ious), -torch.inf)
    none = aligned.new_full(boxes.shape[:2], -torch.inf)
    most_aligned = none.scatter_reduce(1, index, aligned, "amax").gather(1, index)
    largest = none.scatter_reduce(1, index, torch.where(owned, ious, -torch.inf), "amax")
    share = torch.where(owned, aligned - most_aligned, -torch.inf).exp()
    return torch.where(owned, share * largest.gather(1, index), 0.0)


def _log_alignment(logits: Tensor, ious: Tensor) -> Tensor:
    """The logarithm of t = s^alpha u^beta, which no small score or overlap makes 0."""
    tiny = torch.finfo(torch.float32).tiny
    return SCORE_POWER * F.logsigmoid(logits.float()) + IOU_POWER * ious.clamp(min=tiny).log()
