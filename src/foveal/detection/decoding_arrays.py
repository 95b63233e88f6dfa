"""Decoding in numpy, for whatever computes on a CPU: exported models need no torch.

Of millions of logits a few hundred count. So the numbers are read once, and nothing is sorted,
exponentiated or looked at again that can't be among the best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.detection.box_coding_arrays import decode_boxes
from foveal.detection.nms import nms
from foveal.detection.quality_arrays import rate_above
from foveal.detection.soft_nms import SIGMA, soft_nms
from foveal.geometry.arrays import clip
from foveal.structures import PaddedDetections, RawOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.detection.soft_nms import NmsMethod

_SMALLEST_BLOCK = 64
"""Logits whose maximum is taken in one go, at least."""
_FEW = 2**18
"""So many logits are faster looked at one by one, unless most of them are above the limit."""


def decode_arrays(
    raw: RawOutput[NDArray[Any]],
    anchors: NDArray[np.float32],
    *,
    extents: NDArray[np.float32] | None,
    threshold_logit: float,
    top_per_level: int,
    nms_iou: float,
    max_detections: int,
    class_agnostic: bool,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
    score_threshold: float = 0.0,
) -> PaddedDetections[NDArray[Any]]:
    """Decode a batch, image by image.

    Args:
        raw: the network's output, logits [B, A_l, K], deltas [B, A_l, 4] and maybe quality.
        anchors: [A, 4] xyxy, input pixels.
        threshold_logit: logits must be above it.
        extents, top_per_level, nms_iou, max_detections, class_agnostic, nms_method, nms_sigma: as
            for `decoding.decode`.
        score_threshold: scores that soft-NMS has lowered must be above it.
    """
    batch = len(raw.logits[0])
    padded: PaddedDetections[NDArray[Any]] = PaddedDetections(
        np.zeros((batch, max_detections, 4), np.float32),
        np.zeros((batch, max_detections), np.float32),
        np.zeros((batch, max_detections), np.int64),
        np.zeros(batch, np.int64),
        left_out := np.zeros(batch, np.float32),
    )
    # Numbers that are not finite are legal here and come out as such, as from tensors.
    with np.errstate(over="ignore", invalid="ignore"):
        for image in range(batch):
            logits, labels, boxes, lost = _candidates(
                _rated(raw, image, threshold_logit=threshold_logit),
                [level[image] for level in raw.deltas],
                anchors,
                threshold_logit=threshold_logit,
                top_per_level=top_per_level,
            )
            if extents is not None:
                boxes = clip(boxes, extents[image])
            groups = np.zeros_like(labels) if class_agnostic else labels
            limit = max_detections + 1  # one more tells whether any is left out
            if nms_method == "hard":
                keep = nms(boxes, groups, iou_threshold=nms_iou, max_detections=limit)
                scores = _sigmoid(logits[keep])
            else:
                keep, scores = soft_nms(
                    boxes,
                    _sigmoid(logits),
                    groups,
                    method=nms_method,
                    iou_threshold=nms_iou,
                    sigma=nms_sigma,
                    score_threshold=score_threshold,
                    max_detections=limit,
                )
            beyond = [*scores[max_detections:], *_sigmoid(np.array([lost]))]
            left_out[image] = max(beyond)
            keep, scores = keep[:max_detections], scores[:max_detections]
            count = len(keep)
            padded.boxes[image, :count] = boxes[keep]
            padded.scores[image, :count] = scores
            padded.labels[image, :count] = labels[keep]
            padded.counts[image] = count
    return padded


def _rated(
    raw: RawOutput[NDArray[Any]], image: int, *, threshold_logit: float
) -> list[NDArray[Any]]:
    """An image's logits [A_l, K] of each level, with their quality where there is one."""
    if not raw.quality:
        return [level[image] for level in raw.logits]
    return [
        rate_above(logits[image], quality[image], threshold_logit=threshold_logit)
        for logits, quality in zip(raw.logits, raw.quality, strict=True)
    ]


def _candidates(
    logits: Sequence[NDArray[Any]],
    deltas: Sequence[NDArray[Any]],
    anchors: NDArray[np.float32],
    *,
    threshold_logit: float,
    top_per_level: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], np.float32]:
    """The best of each level together, best first, and what nothing of the rest is above.

    Returns:
        logits [n], labels [n], boxes [n, 4]; and the highest logit that what `top_per_level` left
        out may have, minus infinity where it left out nothing.
    """
    best = []
    labels = []
    offsets = []
    origins = []
    lost = np.float32(-np.inf)
    start = 0
    for level, level_deltas in zip(logits, deltas, strict=True):
        count, num_classes = level.shape
        flat = np.asarray(level, np.float32).reshape(-1)
        pairs = _best_of_level(flat, limit=np.float32(threshold_logit), top=top_per_level)
        if len(pairs) == top_per_level < flat.size:
            lost = max(lost, flat[pairs[-1]])
        anchor = pairs // num_classes
        best.append(flat[pairs])
        labels.append(pairs - anchor * num_classes)
        offsets.append(np.asarray(level_deltas[anchor], np.float32))
        origins.append(anchors[start : start + count][anchor])
        start += count
    scored = np.concatenate(best)
    order = np.argsort(-scored, kind="stable")
    boxes = decode_boxes(np.concatenate(offsets)[order], np.concatenate(origins)[order])
    return scored[order], np.concatenate(labels)[order], boxes, lost


def _best_of_level(
    logits: NDArray[np.float32], *, limit: np.float32, top: int
) -> NDArray[np.int64]:
    """Where the `top` largest finite logits [n] above a limit are, best first, ties in order."""
    where = _above(logits, limit=limit, top=top)
    values = logits[where]
    real = values < np.inf
    if not real.all():
        where, values = where[real], values[real]
    if len(values) > top:
        large = values >= np.partition(values, -top)[-top]
        where, values = where[large], values[large]
    return where[np.argsort(-values, kind="stable")[:top]]


def _above(logits: NDArray[np.float32], *, limit: np.float32, top: int) -> NDArray[np.int64]:
    """Where logits [n] are above a limit, in order; maybe not those that are not among the `top`.

    Only blocks whose maximum is above the limit are looked into. And where there are many blocks,
    the maximum that `top` of them reach is a limit too.
    """
    if len(logits) <= _FEW:
        hit = logits > limit
        if np.count_nonzero(hit) <= 4 * top:
            return np.flatnonzero(hit)
    block = max(_SMALLEST_BLOCK, len(logits) // (4 * top))
    blocks = logits[: len(logits) // block * block].reshape(-1, block)
    maxima = blocks.max(axis=1)
    finite = maxima[np.isfinite(maxima)]  # a block with a NaN may hold no number at all
    if len(finite) > top:
        reached = np.partition(finite, -top)[-top]
        limit = max(limit, np.nextafter(reached, np.float32(-np.inf)))
    open_blocks = np.flatnonzero(~(maxima <= limit))
    row, column = np.divmod(np.flatnonzero(blocks[open_blocks] > limit), block)
    rest = np.flatnonzero(logits[blocks.size :] > limit) + blocks.size
    return np.concatenate([open_blocks[row] * block + column, rest])


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    small = np.exp(-np.abs(logits))  # never overflows
    return np.asarray(np.where(logits >= 0, 1, small) / (1 + small), np.float32)
