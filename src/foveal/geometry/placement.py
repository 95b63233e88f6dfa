"""Where an image lies inside the network's input: the one way between the two frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Placement:
    """An image scaled, then shifted, into the network's input.

    An original point (x, y) lies at (x * scale_x + offset_x, y * scale_y + offset_y) of the input.
    Pixels are continuous: a pixel's center is at +0.5 in either frame.

    Attributes:
        width, height: size of the original image, pixels.
        scale_x, scale_y: input pixels per original pixel, positive.
        offset_x, offset_y: input pixels left of and above the image.
    """

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    def to_input(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes [..., 4] xyxy from original to input pixels, without clipping."""
        return (np.asarray(boxes, np.float64) * self._scale + self._offset).astype(np.float32)

    def to_original(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map boxes [..., 4] xyxy from input to original pixels, without clipping."""
        return ((np.asarray(boxes, np.float64) - self._offset) / self._scale).astype(np.float32)

    @property
    def _scale(self) -> NDArray[np.float64]:
        return np.array([self.scale_x, self.scale_y] * 2, np.float64)

    @property
    def _offset(self) -> NDArray[np.float64]:
        return np.array([self.offset_x, self.offset_y] * 2, np.float64)
