"""Boxes from offsets in numpy: the twin of `box_coding.decode_boxes` where no torch is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_LOG_RATIO = math.log(1000 / 16)
"""Where dw and dh are cut off when decoding, so that no exponent overflows."""


def decode_boxes(deltas: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply offsets to anchors (R-CNN, Girshick et al. 2014, equations 6-9).

    Args:
        deltas: [..., 4] (dx, dy, dw, dh).
        anchors: [..., 4] xyxy, input pixels.

    Returns:
        [..., 4] xyxy, input pixels.
    """
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    anchor_centers = anchors[..., :2] + anchor_sides / 2
    half = np.exp(np.minimum(deltas[..., 2:], LARGEST_LOG_RATIO)) * anchor_sides / 2
    centers = deltas[..., :2] * anchor_sides + anchor_centers
    return np.concatenate([centers - half, centers + half], axis=-1, dtype=np.float32)
