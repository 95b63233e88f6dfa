"""Greedy non-maximum suppression (NMS): keep the best box, remove what overlaps it, and so on.

Two forms of one definition: candidates come best first; each is kept unless a better one of its
group is kept and overlaps it by more than `iou_threshold`. `nms` is for one image's numpy arrays,
`batched_nms` for a batch of tensors on any device. Only calling the second loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.geometry.arrays import iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

_FIRST_BLOCK, _LARGEST_BLOCK = 64, 512
"""Candidates that are compared at once. Most objects' best boxes are among the first few, and what
these leave of the others is little; more at once would not fit the processor's cache."""
_USUALLY_ENOUGH = 1024
"""Candidates of an image of which NMS usually keeps as many as an image may keep."""
_LARGEST_CALL = 2048
"""Candidates in one call of torchvision's NMS, whose time grows with their square."""
_LARGEST_COORDINATE = 2.0**20
"""Pixels; what lies beyond is drawn to it. Inputs are far smaller."""


def nms(
    boxes: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    iou_threshold: float,
    max_detections: int,
) -> NDArray[np.int64]:
    """Which of an image's candidates greedy NMS keeps.

    Args:
        boxes: [N, 4] xyxy, best first. A box with a NaN overlaps none.
        groups: [N] only candidates of one group suppress each other: classes, or zeros for NMS
            over all classes.
        iou_threshold: IoU above which a candidate is removed.
        max_detections: how many may be kept.

    Returns:
        [M] indices into N, best first; M is at most `max_detections`.
    """
    boxes = boxes.clip(-_LARGEST_COORDINATE, _LARGEST_COORDINATE)
    keep = np.zeros(0, np.int64)

    def overlaps(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        close: NDArray[np.bool_] = iou(boxes[one][:, None], boxes[other]) > iou_threshold
        close &= groups[one][:, None] == groups[other]
        return close

    start, size = 0, _FIRST_BLOCK
    while start < len(boxes) and len(keep) < max_detections:
        block = np.arange(start, min(start + size, len(boxes)))
        if len(keep):
            block = block[~overlaps(keep, block).any(axis=0)]
        keep = np.concatenate([keep, block[_greedy(overlaps(block, block))]])
        start, size = start + size, min(2 * size, _LARGEST_BLOCK)
    return keep[:max_detections]


def _greedy(close: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Greedy NMS where it is known which of n candidates overlap, best first: [n, n] to [n]."""
    keep = np.ones(len(close), np.bool_)
    for index in range(len(close)):
        if keep[index]:
            keep[index + 1 :] &= ~close[index, index + 1 :]
    return keep


def batched_nms(
    boxes: Tensor,
    groups: Tensor,
    counts: Tensor,
    *,
    iou_threshold: float,
    max_detections: int,
) -> Tensor:
    """Which candidates greedy NMS keeps, each image on its own.

    Args:
        boxes: [B, N, 4] xyxy, best first. A box with a NaN overlaps none.
        groups: [B, N] int64, only candidates of one group suppress each other: classes, or zeros
            for NMS over all classes.
        counts: [B] int64, so many of the N are candidates, the first ones.
        iou_threshold: IoU above which a candidate is removed.
        max_detections: how many an image may keep.

    Returns:
        [B, max_detections] int64 indices into N, best first, -1 where an image has fewer.
    """
    if boxes.device.type == "mps":  # Apple's GPUs know no float64
        return batched_nms(
            boxes.cpu(),
            groups.cpu(),
            counts.cpu(),
            iou_threshold=iou_threshold,
            max_detections=max_detections,
        ).to(boxes.device)
    keep = groups.new_full((len(boxes), max_detections), -1)
    lengths = counts.tolist()
    unfinished = list(range(len(lengths)))
    # What greedy NMS keeps of the first candidates does not depend on those that follow.
    for longest in (_USUALLY_ENOUGH, max(lengths, default=0)):
        considered = counts.clamp(max=longest)
        for images in _calls(unfinished, [min(length, longest) for length in lengths]):
            keep[images] = _nms_of_images(
                boxes[images, :longest],
                groups[images, :longest],
                considered[images],
                iou_threshold=iou_threshold,
                max_detections=max_detections,
            )
        unfinished = [image for image in unfinished if lengths[image] > longest]
        if unfinished:
            is_full = (keep[:, -1] >= 0).tolist()
            unfinished = [image for image in unfinished if not is_full[image]]
    return keep


def _calls(images: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Put images that have candidates together, as many as make a call of a good size."""
    calls: list[list[int]] = []
    room = 0
    for image in images:
        if lengths[image] > room:
            calls.append([])
            room = max(_LARGEST_CALL, lengths[image])
        if lengths[image]:
            calls[-1].append(image)
            room -= lengths[image]
    return calls


def _nms_of_images(
    boxes: Tensor, groups: Tensor, counts: Tensor, *, iou_threshold: float, max_detections: int
) -> Tensor:
    """Like `batched_nms`, in one call of torchvision's operator.

    Candidates of different groups must not overlap: each group is moved far away from the others.
    In float64 that rounds no coordinate that matters; in float32, as `torchvision.ops.batched_nms`
    does it, it would.
    """
    import torch
    from torchvision.ops import nms as nms_of_all

    batch, count = groups.shape
    columns = torch.arange(count, device=boxes.device)
    image, column = torch.nonzero(columns < counts[:, None], as_tuple=True)
    group = image * (groups.max() + 1) + groups[image, column]
    corners = boxes[image, column].double().clamp(-_LARGEST_COORDINATE, _LARGEST_COORDINATE)
    apart = corners + (group * (2 * _LARGEST_COORDINATE + 1))[:, None]
    best = nms_of_all(apart, -column.double(), iou_threshold).sort().values
    image, column = image[best], column[best]
    rank = torch.arange(len(best), device=boxes.device) - torch.searchsorted(image, image)
    # One column more than may be kept: what comes too late is written there and cut off.
    keep = groups.new_full((batch, max_detections + 1), -1)
    keep[image, rank.clamp(max=max_detections)] = column
    return keep[:, :max_detections]
