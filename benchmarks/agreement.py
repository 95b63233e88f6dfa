"""Whether contestants compute the same thing: which detections of one another has too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from foveal.structures import Detections

SAME_IOU, SAME_SCORE = 0.9, 1e-3
"""In the same precision: a detection of the same class counts as the same above this IoU, with a
score that is no further away."""
ALIKE_IOU, ALIKE_SCORE = 0.5, 0.05
"""In another precision."""
LEAST_AGREEING = 0.95
"""The least share in the same precision: below it a benchmark stops."""


def agreement(
    found: Sequence[Detections],
    expected: Sequence[Detections],
    *,
    least_iou: float = SAME_IOU,
    most_apart: float = SAME_SCORE,
) -> float:
    """The share of the expected detections that were found too; 1 where none is expected."""
    hits = total = 0
    for ours, theirs in zip(found, expected, strict=True):
        total += len(theirs)
        for box, label, score in zip(theirs.boxes, theirs.labels, theirs.scores, strict=True):
            alike = (ours.labels == label) & (np.abs(ours.scores - score) <= most_apart)
            hits += bool((iou(box, ours.boxes) > least_iou)[alike].any())
    return hits / total if total else 1.0


def demand_agreement(
    name: str, found: Sequence[Detections], expected: Sequence[Detections], *, other: str
) -> float:
    """The share of the expected detections that were found too, in the same precision.

    Raises:
        SystemExit: it is too small, and nothing is measured.
    """
    share = agreement(found, expected)
    if share < LEAST_AGREEING:
        raise SystemExit(
            f"{name} has only {share:.1%} of the detections of {other} "
            f"({sum(map(len, found))} and {sum(map(len, expected))}): nothing is measured"
        )
    return share


def iou(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of one box [4] with many [N, 4]."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-9)
