"""Whether contestants compute the same thing: which detections of one another has too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foveal.geometry.arrays import iou
from foveal.structures import Detections

SAME_IOU, SAME_SCORE = 0.9, 1e-3
"""In the same precision: a detection of the same class counts as the same above this IoU, with a
score that is no further away."""
ALIKE_IOU, ALIKE_SCORE = 0.5, 0.05
"""In another precision."""
MIN_AGREEMENT = 0.95
"""The least fraction in the same precision: below it a benchmark stops."""


def agreement(
    detections: Sequence[Detections],
    expected: Sequence[Detections],
    *,
    min_iou: float = SAME_IOU,
    max_score_gap: float = SAME_SCORE,
) -> float:
    """The fraction of the expected detections that are there too; 1 where none is expected."""
    hits = total = 0
    for ours, theirs in zip(detections, expected, strict=True):
        total += len(theirs)
        for box, label, score in zip(theirs.boxes, theirs.labels, theirs.scores, strict=True):
            alike = (ours.labels == label) & (np.abs(ours.scores - score) <= max_score_gap)
            hits += bool((iou(box[None], ours.boxes) > min_iou)[alike].any())
    return hits / total if total else 1.0


def demand_agreement(
    name: str, detections: Sequence[Detections], expected: Sequence[Detections], *, other: str
) -> float:
    """The fraction of the expected detections that are there too, in the same precision.

    Raises:
        SystemExit: it is too small, and nothing is measured.
    """
    fraction = agreement(detections, expected)
    if fraction < MIN_AGREEMENT:
        raise SystemExit(
            f"{name} has only {fraction:.1%} of the detections of {other} "
            f"({sum(map(len, detections))} and {sum(map(len, expected))}): nothing is measured"
        )
    return fraction
