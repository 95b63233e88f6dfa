"""Anchor boxes (paper, section 4): at every location of every pyramid level the same few shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from foveal.detection import anchor_compat
from foveal.detection.anchor_compat import Compat, Convention, convention_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

LevelSizes = tuple[tuple[int, int], ...]
"""(rows, columns) of each level."""


@dataclass(frozen=True, slots=True)
class AnchorGrid:
    """All anchors of a network, for inputs of any size.

    Level l divides the input into cells of strides[l] pixels. The middle of each cell is a
    location, and around it stand `len(scales) * len(ratios)` anchors with areas
    (sizes[l] * scale)^2 and height / width = ratio. Or they are given one by one, as `shapes`.

    The anchors of a level run row by row, location by location, and at a location scale by scale,
    ratio by ratio. The channels of the heads have the same order.

    Attributes:
        sizes: base size of each level, input pixels.
        strides: input pixels between the locations of each level.
        scales: factors on the base sizes.
        ratios: height / width.
        shapes: for each level the A anchors of a location, xyxy from it, input pixels, in place of
            sizes, scales and ratios; () for none.
        compat: 'torchvision' makes anchors as torchvision does (see `anchor_compat`).
    """

    sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    scales: tuple[float, ...] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    shapes: tuple[tuple[tuple[float, float, float, float], ...], ...] = ()
    compat: Compat = "none"

    @property
    def per_location(self) -> int:
        """The number of anchors at each location (the paper's A)."""
        return len(self.shapes[0]) if self.shapes else len(self.scales) * len(self.ratios)

    @property
    def convention(self) -> Convention:
        """How pixels are counted."""
        return convention_of(self.compat)

    def level_sizes(self, height: int, width: int) -> LevelSizes:
        """(rows, columns) of each level for an input of this size, each stride rounding up."""
        return tuple((-(-height // stride), -(-width // stride)) for stride in self.strides)

    def at_origin(self, level: int) -> NDArray[np.float32]:
        """The anchors of one location, as if it were the origin: [A, 4] float32 xyxy."""
        if self.shapes:
            return np.array(self.shapes[level], np.float32)
        if self.convention.whole_pixels:
            return anchor_compat.whole_pixel_shapes(self.sizes[level], self.scales, self.ratios)
        sides = np.array([self.sizes[level] * scale for scale in self.scales], np.float32)[:, None]
        root = np.sqrt(np.array(self.ratios, np.float32))
        widths, heights = sides * (1 / root), sides * root
        half = np.stack([widths.ravel(), heights.ravel()], axis=-1) / 2
        return np.concatenate([-half, half], axis=-1, dtype=np.float32)

    def sides(self) -> NDArray[np.float32]:
        """Width and height of each level's anchors, input pixels: [L, A, 2] float32."""
        levels = [self.at_origin(level) for level in range(len(self.strides))]
        return np.stack([corners[:, 2:] - corners[:, :2] for corners in levels])

    def centers(self, level: int, *, side: int, count: int) -> NDArray[np.float32]:
        """The coordinates of a level's locations along one axis.

        Args:
            level: 0 is the finest.
            side: of the input along this axis, pixels.
            count: of the level's cells along this axis.

        Returns:
            [count] float32, input pixels.
        """
        if self.compat != "none":
            return anchor_compat.centers(
                self.convention, stride=self.strides[level], side=side, count=count
            )
        return (np.arange(count, dtype=np.float32) + np.float32(0.5)) * self.strides[level]

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


@lru_cache(maxsize=64)
def _boxes(
    grid: AnchorGrid, height: int, width: int, level_sizes: LevelSizes
) -> NDArray[np.float32]:
    levels = []
    for level, (rows, columns) in enumerate(level_sizes):
        y = grid.centers(level, side=height, count=rows)
        x = grid.centers(level, side=width, count=columns)
        y, x = np.meshgrid(y, x, indexing="ij")
        centers = np.stack([x, y, x, y], axis=-1)
        levels.append((centers[:, :, None] + grid.at_origin(level)).reshape(-1, 4))
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
