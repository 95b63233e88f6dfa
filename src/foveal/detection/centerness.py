"""How near a location is to the center of its object (FCOS, Tian et al. 2019, equation 3)."""

from __future__ import annotations

from torch import Tensor

from foveal.detection.box_coding import encode_distances


def centerness(boxes: Tensor, anchors: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)), with the distances of the box's sides.

    Args:
        boxes: [..., 4] xyxy, input pixels, positive area.
        anchors: [..., 4] xyxy, input pixels; their centers are the locations.

    Returns:
        [...] in 0..1: 1 in the box's center, 0 at its edge and outside.
    """
    distances = encode_distances(boxes, anchors)
    before, after = distances[..., :2], distances[..., 2:]
    ratios = before.minimum(after) / before.maximum(after)  # the larger is at least half a side
    return ratios.clamp(min=0).prod(dim=-1).sqrt()
