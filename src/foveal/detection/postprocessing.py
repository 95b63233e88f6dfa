"""From a network's output to detections in original pixels: decoding, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.detection.decoding import decode
from foveal.detection.soft_nms import SIGMA
from foveal.structures import Detections, PaddedDetections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.detection.anchors import AnchorGrid
    from foveal.detection.soft_nms import NmsMethod
    from foveal.geometry.placement import Placement
    from foveal.structures import RawOutput

_JUST_BELOW = 1 - 1e-5
"""Decoding looks at logits: whether a score reaches the threshold is decided on the scores."""
_NO_SIDE = 0.05
"""Original pixels: what is left of a box beyond the image's edge is no object."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Which image an input shows, and where.

    Attributes:
        placement: where the image, mirrored if the input shows it so, lies in the input.
        mirrored: left and right are exchanged.
        path: the image's file, where it came from one.
    """

    placement: Placement
    mirrored: bool = False
    path: Path | None = None

    @property
    def extent(self) -> NDArray[np.float32]:
        """[4] xyxy: where the image lies in its input, input pixels."""
        width, height = self.placement.width, self.placement.height
        return self.placement.to_input(np.array([0, 0, width, height], np.float32))

    def to_original(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes [N, 4] xyxy from input to original pixels, inside the image."""
        width, height = self.placement.width, self.placement.height
        original = self.placement.to_original(boxes)
        if self.mirrored:
            original[:, [0, 2]] = width - original[:, [2, 0]]
        return np.clip(original, 0, np.array([width, height, width, height], np.float32))


def postprocess(
    output: RawOutput[Any] | PaddedDetections[NDArray[Any]],
    grid: AnchorGrid,
    origins: Sequence[Origin],
    *,
    size: tuple[int, int],
    classes: tuple[str, ...],
    score_threshold: float,
    top_per_level: int,
    nms_iou: float,
    max_detections: int,
    class_agnostic: bool,
    nms_method: NmsMethod = "hard",
    nms_sigma: float = SIGMA,
) -> list[Detections]:
    """Turn a batch's output into each image's detections.

    Args:
        output: logits [B, A_l, K] and deltas [B, A_l, 4] of each level, tensors or arrays; or
            detections in input pixels where the runtime decodes by itself.
        grid: the network's anchors.
        origins: one for each image, at least one. The batch may hold more images, to be ignored.
        size: (height, width) of the inputs.
        classes: the K class names.
        score_threshold: scores must reach it.
        top_per_level, nms_iou, max_detections, class_agnostic, nms_method, nms_sigma: as for
            `foveal.detection.decoding.decode`.

    Returns:
        Boxes in original pixels, inside the image, best first. They are marked as capped where a
        limit left something out whose score may reach the threshold.
    """
    if not isinstance(output, PaddedDetections):
        output = _decode(
            output,
            grid,
            np.stack([origin.extent for origin in origins]),
            size=size,
            score_threshold=score_threshold * _JUST_BELOW,
            top_per_level=top_per_level,
            nms_iou=nms_iou,
            max_detections=max_detections,
            class_agnostic=class_agnostic,
            nms_method=nms_method,
            nms_sigma=nms_sigma,
        )
    detections = []
    for row, origin in enumerate(origins):
        real = slice(int(output.counts[row]))
        boxes, scores = origin.to_original(output.boxes[row, real]), output.scores[row, real]
        keep = scores >= np.float32(score_threshold)
        keep &= (boxes[:, 2:] - boxes[:, :2] > _NO_SIDE).all(axis=1)
        left_out = _left_out(output, row)
        detections.append(
            Detections(
                boxes[keep],
                scores[keep],
                output.labels[row, real][keep],
                classes=classes,
                width=origin.placement.width,
                height=origin.placement.height,
                path=origin.path,
                left_out_score=left_out if left_out >= np.float32(score_threshold) else 0.0,
            )
        )
    return detections


def _left_out(output: PaddedDetections[NDArray[Any]], row: int) -> float:
    """The score that nothing is above of what was left out of an image, 0 where nothing was.

    Where a runtime decodes by itself and says nothing of it, a full row may have had more.
    """
    if output.left_out is not None:
        return float(output.left_out[row])
    limit = output.scores.shape[1]
    return float(output.scores[row, -1]) if int(output.counts[row]) == limit else 0.0


def _decode(
    raw: RawOutput[Any],
    grid: AnchorGrid,
    extents: NDArray[np.float32],
    *,
    size: tuple[int, int],
    **settings: Any,
) -> PaddedDetections[NDArray[Any]]:
    """Decode where the output is, on the device or the host; extents are [b, 4], b of B images."""
    logits = raw.logits[0]
    missing = len(logits) - len(extents)
    extents = np.concatenate([extents, extents[-1:].repeat(missing, axis=0)])
    if isinstance(logits, np.ndarray):
        return decode(raw, grid.boxes(*size), extents=extents, **settings)
    anchors = grid.tensor(*size, device=logits.device)
    padded = decode(raw, anchors, extents=anchors.new_tensor(extents), **settings)
    left_out = padded.left_out
    boxes, scores, labels, counts = (part.cpu().numpy() for part in padded[:4])
    return PaddedDetections(
        boxes, scores, labels, counts, None if left_out is None else left_out.cpu().numpy()
    )
