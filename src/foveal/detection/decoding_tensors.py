"""Decoding of a whole batch of tensors on their device, without a loop over images."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.detection.box_coding import decode_boxes
from foveal.detection.nms import batched_nms
from foveal.detection.quality import rated
from foveal.detection.soft_nms import SIGMA, NmsMethod, batched_soft_nms
from foveal.geometry.boxes import clip
from foveal.structures import PaddedDetections, RawOutput


def decode_tensors(
    raw: RawOutput[Tensor],
    anchors: Tensor,
    *,
    extents: Tensor | None,
    threshold_logit: float,
    top_per_level: int,
    nms_iou: float,
    max_detections: int,
    class_agnostic: bool,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
    score_threshold: float = 0.0,
) -> PaddedDetections[Tensor]:
    """Decode a batch.

    Args:
        raw: the network's output, logits [B, A_l, K], deltas [B, A_l, 4] and maybe quality.
        anchors: [A, 4] xyxy, input pixels.
        threshold_logit: logits must be above it.
        extents, top_per_level, nms_iou, max_detections, class_agnostic, nms_method, nms_sigma: as
            for `decoding.decode`.
        score_threshold: scores that soft-NMS has lowered must be above it.
    """
    never = -torch.inf
    finite = raw._replace(logits=_finite(raw.logits))
    if raw.quality:
        finite = rated(finite)
        finite = finite._replace(logits=_finite(finite.logits))  # quality may be none
    logits, labels, boxes, lost = best_candidates(
        finite,
        anchors,
        threshold_logit=threshold_logit,
        top_per_level=top_per_level,
    )
    if extents is not None:
        boxes = clip(boxes, extents)
    groups = torch.zeros_like(labels) if class_agnostic else labels
    limit = max_detections + 1  # one more tells whether any is left out
    scores = torch.sigmoid(logits)
    if nms_method == "hard":
        candidates = (logits > never).sum(dim=1)
        keep = batched_nms(boxes, groups, candidates, iou_threshold=nms_iou, max_detections=limit)
        scores = scores.gather(1, keep.clamp(min=0))
    else:
        keep, scores = batched_soft_nms(
            boxes,
            scores,
            groups,
            method=nms_method,
            iou_threshold=nms_iou,
            sigma=nms_sigma,
            score_threshold=score_threshold,
            max_detections=limit,
        )
    real = keep >= 0
    keep, scores = keep.clamp(min=0), scores.masked_fill(~real, 0.0)
    left_out = torch.maximum(scores[:, -1], torch.sigmoid(lost))
    real, keep = real[:, :-1], keep[:, :-1]
    return PaddedDetections(
        boxes.gather(1, keep[..., None].expand(-1, -1, 4)).masked_fill(~real[..., None], 0.0),
        scores[:, :-1],
        labels.gather(1, keep).masked_fill(~real, 0),
        real.sum(dim=1),
        left_out,
    )


def _finite(levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Logits with -inf for what is no number or infinite."""
    never = -torch.inf
    return tuple(level.nan_to_num(nan=never, posinf=never, neginf=never) for level in levels)


def best_candidates(
    raw: RawOutput[Tensor], anchors: Tensor, *, threshold_logit: float, top_per_level: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best pairs of an anchor and a class of each level, put together: what NMS is given.

    Shapes depend on the input's size only, not on its numbers, so this can be traced.

    Args:
        raw: the network's output without NaN, its quality in its logits.
        anchors: [A, 4] xyxy, input pixels.
        threshold_logit: what is not above it is no candidate.
        top_per_level: how many candidates a level may have, over all classes.

    Returns:
        Best first, those that are no candidates last: logits [B, N], -inf for these; labels [B, N]
        int64; boxes [B, N, 4] in input pixels, not clipped. And [B] the highest logit that what
        `top_per_level` left out may have, -inf where it left out nothing.
    """
    num_classes = raw.logits[0].shape[2]
    levels = []
    lost = []
    start = 0
    for level in raw.logits:
        best, anchor, label = _best_of_level(level, top_per_level)
        if level.shape[1] * num_classes > top_per_level:
            lost.append(best[:, -1])
        levels.append((best, anchor + start, label))
        start += level.shape[1]
    logits, anchor, labels = (torch.cat(parts, dim=1) for parts in zip(*levels, strict=True))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits = logits.masked_fill(logits <= threshold_logit, -torch.inf)
    limit = torch.stack(lost).amax(dim=0) if lost else torch.full_like(logits[:, 0], -torch.inf)
    limit = limit.to(logits.dtype).masked_fill(limit <= threshold_logit, -torch.inf)
    # topk leaves open in which order equals come: here the first anchor and class is first.
    order = (anchor * num_classes + labels).argsort(dim=1)
    logits, by_score = logits.gather(1, order).sort(dim=1, descending=True, stable=True)
    order = order.gather(1, by_score)
    anchor = anchor.gather(1, order)
    deltas = torch.cat(raw.deltas, dim=1).gather(1, anchor[..., None].expand(-1, -1, 4))
    return logits, labels.gather(1, order), decode_boxes(deltas, anchors[anchor]), limit


def _best_of_level(logits: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """The level's best pairs: logits, anchors and labels [B, n].

    The best `top` pairs of anchor and class lie within the best `top` anchors by their best class,
    so that A numbers are sorted and not A * K.
    """
    num_classes = logits.shape[2]
    _, anchor = logits.amax(dim=2).topk(torch.sym_min(top, logits.shape[1]), dim=1)
    of_best = logits.gather(1, anchor[..., None].expand(-1, -1, num_classes)).flatten(1)
    best, pair = of_best.topk(torch.sym_min(top, of_best.shape[1]), dim=1)
    return best, anchor.gather(1, pair // num_classes), pair % num_classes
