"""Soft-NMS: what overlaps a better box loses score instead of being removed.

Bodla et al. 2017, "Soft-NMS: improving object detection with one line of code", arXiv 1704.04503.
The best candidate is kept, the scores of those of its group that overlap it are lowered, then the
best of what is left is kept, and so on. Of a crowd, more are found that way.

Two forms of one definition, as in `foveal.detection.nms`: `soft_nms` is for one image's numpy
arrays, `batched_soft_nms` for a batch of tensors on any device. Only calling the second loads
torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foveal.geometry.arrays import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

NmsMethod = Literal["hard", "soft_linear", "soft_gaussian"]
"""'hard' removes (`foveal.detection.nms`), the others lower scores: by equation 2 and 3."""
SoftMethod = Literal["soft_linear", "soft_gaussian"]

SIGMA = 0.5
"""Of equation 3, as in the paper's experiments."""


def soft_nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    method: SoftMethod,
    iou_threshold: float,
    sigma: float,
    score_threshold: float,
    max_detections: int,
    views: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lower the scores of an image's candidates that overlap better ones, and keep the best.

    Args:
        boxes: [N, 4] xyxy, best first. A box with a NaN overlaps none.
        scores: [N] 0..1.
        groups: [N] only candidates of one group lower each other's scores: classes, or zeros.
        method: 'soft_linear' multiplies a score by 1 - IoU where the IoU is above the threshold
            (equation 2), 'soft_gaussian' by exp(-IoU^2 / sigma) (equation 3).
        iou_threshold: of 'soft_linear'.
        sigma: of 'soft_gaussian'.
        score_threshold: lowered scores must be above it.
        max_detections: how many may be kept.
        views: [N] candidates of one view do not lower each other's scores: they have been through
            NMS already. None: all are of one look, which has not.

    Returns:
        [M] indices into N and [M] the lowered scores, the highest first; M is at most
        `max_detections`. Of equal scores the first candidate comes first.
    """
    keep: list[int] = []
    kept: list[np.float32] = []
    left = np.asarray(scores, np.float32).copy()
    while len(keep) < max_detections and len(left):
        best = int(left.argmax())
        if not left[best] > score_threshold:
            break
        keep.append(best)
        kept.append(left[best])
        overlaps = iou(boxes[best], boxes)
        others = groups == groups[best]
        if views is not None:
            others &= views != views[best]
        factor = _factor(np, overlaps, method, iou_threshold, sigma)
        left = np.where(others, left * factor, left).astype(np.float32)
        left[best] = -1
    return np.array(keep, np.int64), np.array(kept, np.float32)


def batched_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    *,
    method: SoftMethod,
    iou_threshold: float,
    sigma: float,
    score_threshold: float,
    max_detections: int,
) -> tuple[Tensor, Tensor]:
    """Like `soft_nms`, each image of a batch on its own and all at the same time.

    Args:
        boxes: [B, N, 4] xyxy, best first. A box with a NaN overlaps none.
        scores: [B, N] 0..1; what is no candidate has a score of 0 or less.
        groups: [B, N] int64, as for `soft_nms`.
        method, iou_threshold, sigma, score_threshold, max_detections: as for `soft_nms`.

    Returns:
        [B, max_detections] int64 indices into N, -1 where an image has fewer; and [B,
        max_detections] the lowered scores, 0 there.
    """
    import torch

    from foveal.geometry.boxes import iou as iou_of_tensors

    keep = groups.new_full((len(boxes), max_detections), -1)
    kept = scores.new_zeros((len(boxes), max_detections))
    left = scores.clone()
    for place in range(max_detections if left.numel() else 0):
        value, best = left.max(dim=1, keepdim=True)
        real = value > score_threshold
        if not real.any():
            break
        keep[:, place : place + 1] = torch.where(real, best, -1)
        kept[:, place : place + 1] = torch.where(real, value, 0.0)
        box = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        factor = _factor(torch, iou_of_tensors(box, boxes), method, iou_threshold, sigma)
        left = torch.where(groups == groups.gather(1, best), left * factor, left)
        left.scatter_(1, best, -1.0)
    return keep, kept


def _factor(
    library: Any, overlaps: Any, method: SoftMethod, iou_threshold: float, sigma: float
) -> Any:
    """By what the scores of candidates are multiplied that overlap the best one so far."""
    overlaps = library.nan_to_num(overlaps)
    if method == "soft_linear":
        return library.where(overlaps > iou_threshold, 1 - overlaps, library.ones_like(overlaps))
    return library.exp(-(overlaps**2) / sigma)
