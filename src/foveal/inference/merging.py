"""One image's detections from several looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.detection.suppression import suppress
from foveal.structures import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence


def merge(
    parts: Sequence[Detections], *, nms_iou: float, most: int, class_agnostic: bool
) -> Detections:
    """Put together what was found in the same image, the best of what overlaps.

    Args:
        parts: at least one, all of one image, boxes in original pixels.
        nms_iou: a detection that overlaps a better one of its class by more goes.
        most: most detections that are kept.
        class_agnostic: suppress over all classes together.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    boxes, scores, labels = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("boxes", "scores", "labels")
    )
    order = np.argsort(-scores, kind="stable")
    found = Detections(
        boxes[order],
        scores[order],
        labels[order],
        classes=first.classes,
        width=first.width,
        height=first.height,
        path=first.path,
    )
    groups = torch.from_numpy(found.labels)
    kept = suppress(
        torch.from_numpy(found.boxes)[None],
        (torch.zeros_like(groups) if class_agnostic else groups)[None],
        torch.ones(1, len(found), dtype=torch.bool),
        limit=nms_iou,
        most=most,
    )[0].numpy()
    return found.select(kept[kept >= 0])
