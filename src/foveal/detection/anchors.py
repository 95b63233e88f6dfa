"""Anchor boxes (paper, section 4): at every place of every pyramid level the same few shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

LevelSizes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class AnchorGrid:
    """The shapes and the places of all anchors.

    At each place of level l stand `len(scales) * len(ratios)` anchors with areas
    (sizes[l] * scale)^2 and height / width = ratio. A level's boxes run row by row, place by place,
    and at a place in the given order: the order of the heads' output channels.

    Attributes:
        sizes: base size of each level, input pixels.
        strides: input pixels between the places of each level.
        scales: factors on the base sizes.
        ratios: height / width.
        offset: where in its cell an anchor's center lies, in strides.
        rounding: 'torchvision' truncates sizes * scales to whole pixels and rounds the corners.
        order: 'size-major' runs through the ratios first, 'ratio-major' through the scales.
        stride_from: 'feature_size' takes input size // level size for the stride, as torchvision.
    """

    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    offset: float = 0.5
    rounding: Literal["none", "torchvision"] = "none"
    order: Literal["size-major", "ratio-major"] = "size-major"
    stride_from: Literal["nominal", "feature_size"] = "nominal"

    @property
    def per_place(self) -> int:
        """How many anchors stand at each place (the paper's A)."""
        return len(self.scales) * len(self.ratios)

    def level_sizes(self, height: int, width: int) -> LevelSizes:
        """(rows, columns) of each level for an input of this size, each stride rounding up."""
        return tuple((-(-height // stride), -(-width // stride)) for stride in self.strides)

    def boxes(
        self, height: int, width: int, level_sizes: LevelSizes | None = None
    ) -> NDArray[np.float32]:
        """All anchors for one input size, cached and read-only.

        Args:
            height, width: of the network's input, pixels.
            level_sizes: (rows, columns) of each level where they are not the strides' own.

        Returns:
            [A, 4] float32 xyxy, input pixels, level after level.
        """
        return _boxes(self, height, width, level_sizes or self.level_sizes(height, width))

    def tensor(
        self,
        height: int,
        width: int,
        level_sizes: LevelSizes | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """The same anchors as a tensor on a device, cached; not to be written to.

        Args:
            height, width: of the network's input, pixels.
            level_sizes: (rows, columns) of each level where they are not the strides' own.
            device: where they are needed.

        Returns:
            [A, 4] float32 xyxy, input pixels, level after level.
        """
        sizes = level_sizes or self.level_sizes(height, width)
        return _tensor(self, height, width, sizes, str(device))

    def shapes(self, level: int) -> NDArray[np.float32]:
        """The anchors of one location, centered at the origin: [per_place, 4] float32 xyxy."""
        scaled = np.array([self._scaled_size(level, scale) for scale in self.scales], np.float32)
        root = np.sqrt(np.array(self.ratios, np.float32))
        if self.order == "size-major":
            widths = scaled[:, None] * (1 / root)
            heights = scaled[:, None] * root
        else:
            widths = (1 / root)[:, None] * scaled
            heights = root[:, None] * scaled
        half = np.stack([widths.ravel(), heights.ravel()], axis=-1) / 2
        corners = np.concatenate([-half, half], axis=-1)
        return corners.round() if self.rounding == "torchvision" else corners

    def _scaled_size(self, level: int, scale: float) -> float:
        # The tolerance keeps 2^(1/3) etc. read back from text on the same side of a whole number.
        size = self.sizes[level] * scale
        return float(int(size + 1e-6)) if self.rounding == "torchvision" else size

    def _step(self, level: int, inputs: tuple[int, int], places: tuple[int, int]) -> list[int]:
        if self.stride_from == "nominal":
            return [self.strides[level]] * 2
        return [side // count for side, count in zip(inputs, places, strict=True)]


@lru_cache(maxsize=64)
def _boxes(
    grid: AnchorGrid, height: int, width: int, level_sizes: LevelSizes
) -> NDArray[np.float32]:
    levels = []
    for level, (rows, columns) in enumerate(level_sizes):
        step_y, step_x = grid._step(level, (height, width), (rows, columns))
        y = (np.arange(rows, dtype=np.float32) + np.float32(grid.offset)) * np.float32(step_y)
        x = (np.arange(columns, dtype=np.float32) + np.float32(grid.offset)) * np.float32(step_x)
        centers_y, centers_x = np.meshgrid(y, x, indexing="ij")
        centers = np.stack([centers_x, centers_y, centers_x, centers_y], axis=-1)
        levels.append((centers[:, :, None] + grid.shapes(level)).reshape(-1, 4))
    boxes = np.concatenate(levels)
    boxes.flags.writeable = False
    return boxes


@lru_cache(maxsize=64)
def _tensor(
    grid: AnchorGrid, height: int, width: int, level_sizes: LevelSizes, device: str
) -> Tensor:
    import torch

    # An ordinary tensor even when first asked for in inference: training reads the cache too.
    with torch.inference_mode(False):
        return torch.tensor(_boxes(grid, height, width, level_sizes), device=device)
