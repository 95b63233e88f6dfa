"""Weighted box fusion: of the same object seen several times, the mean of what was seen.

Solovyev, Wang, Gabruseva 2021, "Weighted boxes fusion: ensembling boxes from different object
detection models", arXiv 1910.13302, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foveal.geometry.arrays import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUSION_IOU = 0.55
"""The paper's: what overlaps a fused box by more is the same object."""


class FusedBoxes(NamedTuple):
    """What was fused, the highest score first.

    Attributes:
        boxes: [M, 4] float32 xyxy, means weighted by the scores.
        scores: [M] float32, means over all views; a view that has not seen the object counts as 0.
        best: [M] int64, of each the candidate with the highest score.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    best: NDArray[np.int64]


def fuse_boxes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    views: int,
    iou_threshold: float = FUSION_IOU,
) -> FusedBoxes:
    """Put boxes of one object together, whichever view they are from.

    Candidates come one after the other, the best first. Each joins the fused box of its group that
    it overlaps most, if by more than the threshold, and moves it; else it begins a new one. An
    object's score is the sum of its candidates' divided by the number of views, or of candidates
    where these are more (equations 1 to 3, and 5 without weights of models).

    Args:
        boxes: [N, 4] xyxy.
        scores: [N] 0..1.
        groups: [N] only candidates of one group are put together: classes, or zeros.
        views: how many looks the candidates are from.
        iou_threshold: see above.
    """
    fused = np.zeros((len(boxes), 4), np.float64)
    sums = np.zeros((len(boxes), 4), np.float64)
    weights = np.zeros(len(boxes), np.float64)
    members = np.zeros(len(boxes), np.int64)
    best = np.zeros(len(boxes), np.int64)
    found = 0
    for index in np.argsort(-scores, kind="stable").tolist():
        box, weight = boxes[index].astype(np.float64), float(scores[index])
        overlaps = iou(fused[:found], box)
        overlaps[groups[best[:found]] != groups[index]] = 0
        place = int(overlaps.argmax()) if found else 0
        if not (found and overlaps[place] > iou_threshold):
            place, found = found, found + 1
            best[place] = index
        members[place] += 1
        weights[place] += weight
        sums[place] += weight * box
        # Candidates without any score weigh nothing: the first one's box stays.
        fused[place] = sums[place] / weights[place] if weights[place] > 0 else boxes[best[place]]
    mean = weights[:found] / np.maximum(members[:found], views)
    order = np.argsort(-mean, kind="stable")
    return FusedBoxes(fused[order].astype(np.float32), mean[order].astype(np.float32), best[order])
