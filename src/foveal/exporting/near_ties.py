"""Detections that rounding decides about: which of two near ties NMS or a limit keeps.

Two programs that compute the same in another order differ in the last digits. Of two boxes with the
same score to these digits NMS may keep the one here and the other there, and the least of the
detections that a limit lets through may be another. Neither is a mistake of an export.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.detection.box_coding_arrays import decode_boxes
from foveal.geometry.arrays import clip, iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.config import DecodingSettings
    from foveal.structures import PaddedDetections, RawOutput

_IOU_ROUNDING = 0.005
"""An overlap this near to the limit of NMS may be on either side of it."""
_PIXELS, _SCORE = 0.05, 1e-3
"""A box that is so far away is as unlike as one whose score differs by so much."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """What is the same to two programs.

    Attributes:
        scores: scores that differ by no more.
        boxes: boxes of which no side differs by more, input pixels.
    """

    scores: float
    boxes: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All that a network says of one image, before NMS.

    Attributes:
        boxes: [A, 4] input pixels, cut off at the image's edge.
        scores: [A, K].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def nearest(self, box: NDArray[np.float32], score: float, label: int) -> tuple[float, float]:
        """How far the candidate of that class is that is most like a detection.

        Args:
            box: [4] input pixels.
            score: of the detection.
            label: of its class.

        Returns:
            The largest difference of a side, input pixels, and that of the scores.
        """
        gaps = np.abs(self.boxes - box).max(axis=1)
        score_gaps = np.abs(self.scores[:, label] - score)
        best = int(np.argmin(gaps / _PIXELS + score_gaps / _SCORE))
        return float(gaps[best]), float(score_gaps[best])


def candidates_of(
    raw: RawOutput[NDArray[np.float32]],
    row: int,
    *,
    anchors: NDArray[np.float32],
    extent: NDArray[np.float32],
) -> Candidates:
    """The candidates of an image.

    Args:
        raw: logits [B, A_l, K] with the quality inside, and deltas [B, A_l, 4].
        row: which image of the batch.
        anchors: [A, 4] xyxy, input pixels.
        extent: [4] xyxy, where the image lies in its input.
    """
    logits = np.concatenate([level[row] for level in raw.logits]).astype(np.float32)
    deltas = np.concatenate([level[row] for level in raw.deltas])
    with np.errstate(over="ignore", invalid="ignore"):  # numbers that are not finite stay so
        scores = 1 / (1 + np.exp(-logits))
        boxes = clip(decode_boxes(deltas, anchors), extent)
    return Candidates(boxes.astype(np.float32), scores.astype(np.float32))


def is_near_tie(
    lost: int,
    wanted: PaddedDetections[NDArray[Any]],
    got: PaddedDetections[NDArray[Any]],
    row: int,
    *,
    candidates: Candidates,
    decoding: DecodingSettings,
    rounding: Rounding,
) -> bool:
    """Whether a detection may be missing for no other reason than rounding.

    It may where its score is as low as what the score threshold or a limit cuts off; or where a
    box took its place that overlaps it by more than NMS allows, has no lower score, and is among
    the network's own candidates.

    Args:
        lost: which of the detections.
        wanted: the network's own, where it is, padded to [B, D].
        got: those of the export, where it is not, padded to [B, E].
        row: which image of the batch.
        candidates: of that image, as the network itself has them.
        decoding: with which both are decoded.
        rounding: how far both may differ.
    """
    box, score = wanted.boxes[row, lost], float(wanted.scores[row, lost])
    label, count = int(wanted.labels[row, lost]), int(got.counts[row])
    scores = got.scores[row, :count]
    cut_off = decoding.score_threshold
    if got.left_out is not None:
        cut_off = max(cut_off, float(got.left_out[row]))
    elif count and count == got.scores.shape[1]:
        cut_off = max(cut_off, float(scores.min()))
    if score <= cut_off + rounding.scores:
        return True
    if decoding.nms_method != "hard":
        return False  # the others lower scores, and what they lowered them to is no candidate
    labels = got.labels[row, :count]
    covers = iou(box[None], got.boxes[row, :count]) > decoding.nms_iou - _IOU_ROUNDING
    covers &= scores >= score - rounding.scores
    if not decoding.class_agnostic:
        covers &= labels == label
    for other in np.flatnonzero(covers):
        gap, score_gap = candidates.nearest(
            got.boxes[row, other], float(scores[other]), int(labels[other])
        )
        if gap <= rounding.boxes and score_gap <= rounding.scores:
            return True
    return False
