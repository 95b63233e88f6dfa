"""One image's detections from several looks at it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.detection.nms import nms
from foveal.structures import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence


def merge(
    parts: Sequence[Detections], *, nms_iou: float, max_detections: int, class_agnostic: bool
) -> Detections:
    """Put together what was found in the same image, the best of what overlaps.

    Args:
        parts: at least one, all of one image, boxes in original pixels.
        nms_iou: a detection that overlaps a better one of its class by more goes.
        max_detections: how many at most.
        class_agnostic: NMS over all classes together.
    """
    if len(parts) == 1:
        return parts[0]
    together = Detections.concatenate(parts)
    keep = nms(
        together.boxes,
        np.zeros_like(together.labels) if class_agnostic else together.labels,
        iou_threshold=nms_iou,
        max_detections=max_detections + 1,  # one more tells whether any is left out
    )
    merged = together.select(keep[:max_detections])
    if len(keep) > max_detections:
        beyond = float(together.scores[keep[-1]])
        return replace(merged, left_out_score=max(beyond, merged.left_out_score))
    return merged
