"""From raw output to detections (paper, section 4): threshold, best of each level, NMS."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foveal.detection.coding import decode_deltas
from foveal.detection.suppression import suppress
from foveal.geometry.boxes import clip
from foveal.structures import PaddedDetections, RawOutput


def decode(
    raw: RawOutput,
    anchors: Tensor,
    *,
    extents: Tensor | None = None,
    threshold: float = 0.05,
    top_per_level: int = 1000,
    nms_iou: float = 0.5,
    most: int = 100,
    class_agnostic: bool = False,
) -> PaddedDetections:
    """Turn a batch's raw output into detections; an image's do not depend on the others.

    Args:
        raw: the network's output.
        anchors: [A, 4] xyxy, input pixels.
        extents: [B, 4] xyxy, where each image lies in its input; boxes are cut off there. None
            leaves them as they are.
        threshold: scores must be above it.
        top_per_level: most candidates of a level, over all classes.
        nms_iou: a candidate that overlaps a better one of its class by more goes.
        most: most detections of an image.
        class_agnostic: suppress over all classes together.

    Returns:
        Detections in input pixels, padded to `most`.
    """
    candidates = [
        _best_of_level(logits, deltas, of_level, top_per_level)
        for logits, deltas, of_level in zip(
            raw.logits, raw.deltas, _by_level(anchors, raw), strict=True
        )
    ]
    deltas, origins, logits, labels = (
        torch.cat(part, dim=1) for part in zip(*candidates, strict=True)
    )
    boxes = decode_deltas(deltas, origins)
    logits, order = logits.masked_fill(logits <= _logit(threshold), -torch.inf).sort(
        dim=1, descending=True, stable=True
    )
    labels = labels.gather(1, order)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    if extents is not None:
        boxes = clip(boxes, extents)
    alive = torch.isfinite(logits)
    groups = torch.zeros_like(labels) if class_agnostic else labels
    index = suppress(boxes, groups, alive, limit=nms_iou, most=most)
    real = index >= 0
    index = index.clamp(min=0)
    return PaddedDetections(
        boxes.gather(1, index[..., None].expand(-1, -1, 4)).masked_fill(~real[..., None], 0.0),
        torch.sigmoid(logits).gather(1, index).masked_fill(~real, 0.0),
        labels.gather(1, index).masked_fill(~real, 0),
        real.sum(dim=1),
    )


def _by_level(anchors: Tensor, raw: RawOutput) -> tuple[Tensor, ...]:
    return torch.split(anchors, [logits.shape[1] for logits in raw.logits])


def _best_of_level(logits: Tensor, deltas: Tensor, anchors: Tensor, top: int) -> tuple[Tensor, ...]:
    """The level's best candidates: deltas and anchors [B, n, 4], logits and labels [B, n].

    The best `top` pairs of anchor and class lie within the best `top` anchors by their best class,
    so that A numbers are sorted and not A * K.
    """
    classes = logits.shape[2]
    _, anchor = logits.amax(dim=2).topk(min(top, logits.shape[1]), dim=1)
    of_best = logits.gather(1, anchor[..., None].expand(-1, -1, classes)).flatten(1)
    best, pair = of_best.topk(min(top, of_best.shape[1]), dim=1)
    anchor = anchor.gather(1, pair // classes)
    return (
        deltas.gather(1, anchor[..., None].expand(-1, -1, 4)),
        anchors[anchor],
        best.to(torch.promote_types(best.dtype, torch.float32)),
        pair % classes,
    )


def _logit(threshold: float) -> float:
    if threshold <= 0:
        return -math.inf
    return math.log(threshold / (1 - threshold)) if threshold < 1 else math.inf
