"""From raw output to detections (paper, section 4): threshold, best of each level, NMS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from foveal.detection.decoding_arrays import decode_arrays
from foveal.detection.soft_nms import SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.detection.soft_nms import NmsMethod
    from foveal.structures import PaddedDetections, RawOutput

CANDIDATES_A_DETECTION = 10
"""So many candidates of a level for each detection are enough, even if all objects are found on it.
An object has many anchors; of fewer candidates the best objects' anchors would leave no room for
the others."""


@overload
def decode(
    raw: RawOutput[Tensor],
    anchors: Tensor,
    *,
    extents: Tensor | None = None,
    score_threshold: float = 0.05,
    top_per_level: int = 1000,
    nms_iou: float = 0.5,
    max_detections: int = 100,
    class_agnostic: bool = False,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
) -> PaddedDetections[Tensor]: ...


@overload
def decode(
    raw: RawOutput[NDArray[Any]],
    anchors: NDArray[np.float32],
    *,
    extents: NDArray[np.float32] | None = None,
    score_threshold: float = 0.05,
    top_per_level: int = 1000,
    nms_iou: float = 0.5,
    max_detections: int = 100,
    class_agnostic: bool = False,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
) -> PaddedDetections[NDArray[Any]]: ...


def decode(
    raw: RawOutput[Any],
    anchors: Any,
    *,
    extents: Any = None,
    score_threshold: float = 0.05,
    top_per_level: int = 1000,
    nms_iou: float = 0.5,
    max_detections: int = 100,
    class_agnostic: bool = False,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
) -> PaddedDetections[Any]:
    """Turn a batch's raw output into detections; an image's do not depend on the others.

    Where the network has a quality branch, the score is the geometric mean of the class's and the
    quality's probability (see `quality`).

    Tensors give tensors on their device, numpy arrays give numpy arrays without loading torch,
    with the same numbers. Candidates are pairs of an anchor and a class whose logit is finite. Of
    equal logits the first level's, anchor's and class's comes first. (Which of several equals is
    the last of `top_per_level` is torch's choice if they are tensors.)

    Args:
        raw: the network's output.
        anchors: [A, 4] xyxy, input pixels.
        extents: [B, 4] xyxy, where each image lies in its input; boxes are cut off there. None
            leaves them as they are.
        score_threshold: scores must be above it.
        top_per_level: how many candidates a level may have, over all classes.
        nms_iou: NMS removes a candidate that overlaps a better one of its class by more.
        max_detections: how many detections an image may have.
        class_agnostic: NMS over all classes together.
        nms_method: 'hard' removes; see `foveal.detection.soft_nms` for the others, which lower
            scores. Lowered scores must be above the threshold too.
        nms_sigma: of 'soft_gaussian'.

    Returns:
        Detections in input pixels, padded to `max_detections`.
    """
    settings: dict[str, Any] = {
        "extents": extents,
        "threshold_logit": _logit(score_threshold),
        "top_per_level": top_per_level,
        "nms_iou": nms_iou,
        "max_detections": max_detections,
        "class_agnostic": class_agnostic,
        "nms_method": nms_method,
        "nms_sigma": nms_sigma,
        "score_threshold": score_threshold,
    }
    if isinstance(anchors, np.ndarray):
        return decode_arrays(raw, anchors, **settings)
    from foveal.detection.decoding_tensors import decode_tensors

    return decode_tensors(raw, anchors, **settings)


def _logit(score_threshold: float) -> float:
    if score_threshold <= 0:
        return -math.inf
    return math.log(score_threshold / (1 - score_threshold)) if score_threshold < 1 else math.inf
