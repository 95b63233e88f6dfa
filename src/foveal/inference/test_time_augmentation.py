"""One image's detections from several looks at it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.detection.nms import nms
from foveal.detection.soft_nms import SIGMA, soft_nms
from foveal.inference.box_fusion import fuse_boxes
from foveal.structures import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foveal.detection.soft_nms import NmsMethod

Merge = Literal["nms", "fusion"]
"""How several looks at an image are put together: the best of what overlaps, or the mean."""

SEEN_IN_A_VIEW = 0.1
"""With fusion a look gives detections from this fraction of the score threshold on: what one look
sees badly is part of the mean, too."""


def merge(
    parts: Sequence[Detections],
    *,
    nms_iou: float,
    max_detections: int,
    class_agnostic: bool,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
    method: Merge = "nms",
    score_threshold: float = 0.0,
) -> Detections:
    """Put together what was found in the same image.

    Args:
        parts: at least one, all of one image, boxes in original pixels.
        nms_iou: a detection that overlaps a better one of its class by more goes.
        max_detections: how many at most.
        class_agnostic: over all classes together; a fused box has the class of its best candidate.
        nms_method, nms_sigma: as for `foveal.detection.decoding.decode`. Soft-NMS lowers scores of
            what overlaps a better detection of another look: within each look it was done.
        method: 'nms' keeps the best of what overlaps, with its score; 'fusion' takes the mean of
            boxes and scores, see `foveal.inference.box_fusion`.
        score_threshold: the least score that may come out of soft-NMS or fusion.
    """
    if len(parts) == 1:
        return parts[0]
    together = Detections.concatenate(parts)
    groups = np.zeros_like(together.labels) if class_agnostic else together.labels
    limit = max_detections + 1  # one more tells whether any is left out
    if method == "fusion":
        fused = fuse_boxes(together.boxes, together.scores, groups, views=len(parts))
        together = replace(together.select(fused.best), boxes=fused.boxes, scores=fused.scores)
        merged = together.above(score_threshold)[:limit]
    elif nms_method == "hard":
        keep = nms(together.boxes, groups, iou_threshold=nms_iou, max_detections=limit)
        merged = together.select(keep)
    else:
        keep, scores = soft_nms(
            together.boxes,
            together.scores,
            groups,
            method=nms_method,
            iou_threshold=nms_iou,
            sigma=nms_sigma,
            score_threshold=float(np.nextafter(np.float32(score_threshold), np.float32(-1))),
            max_detections=limit,
            views=_views(parts),
        )
        merged = replace(together.select(keep), scores=scores)
    if len(merged) > max_detections:
        beyond = float(merged.scores[-1])
        merged = merged[:max_detections]
        return replace(merged, left_out_score=max(beyond, merged.left_out_score))
    return merged


def _views(parts: Sequence[Detections]) -> np.ndarray:
    """[N] the look of each detection, in the order in which `Detections.concatenate` has them."""
    views = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order: np.ndarray = views[np.argsort(-scores, kind="stable")]
    return order
