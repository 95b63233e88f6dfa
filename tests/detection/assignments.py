"""Boxes, grids and batches that the tests of all methods of assignment share."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.detection.anchors import AnchorGrid
from foveal.structures import Batch, RawOutput

ONE = AnchorGrid(sizes=(32.0, 64.0, 128.0), strides=(8, 16, 32), scales=(1.0,), ratios=(1.0,))
NINE = AnchorGrid(sizes=(32.0, 64.0, 128.0), strides=(8, 16, 32))
HEIGHT, WIDTH = 96, 128


def level_lengths(grid: AnchorGrid) -> tuple[int, ...]:
    return tuple(
        rows * columns * grid.per_location for rows, columns in grid.level_sizes(HEIGHT, WIDTH)
    )


def random_boxes(*counts: int, seed: int, largest: float = 70.0) -> Tensor:
    """[B, N, 4] boxes of all sizes from 1 px, image by image; padding is not empty."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(counts), max(counts), 2)
    sides = 1 + (largest - 1) * torch.rand(shape, generator=generator) ** 2
    center = torch.rand(shape, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    return torch.cat([center - sides / 2, center + sides / 2], dim=2)


def make_batch(
    boxes: Tensor, counts: Tensor, ignored: Tensor | None = None, seed: int = 0
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        images=torch.zeros(len(boxes), 3, 1, 1, dtype=torch.uint8),
        boxes=boxes,
        labels=torch.randint(3, boxes.shape[:2], generator=generator),
        ignored=torch.zeros(boxes.shape[:2], dtype=torch.bool) if ignored is None else ignored,
        counts=counts,
        has_ignored=ignored is not None,
    )


def random_raw(grid: AnchorGrid, images: int, *, seed: int = 0, spread: float = 0.3) -> RawOutput:
    generator = torch.Generator().manual_seed(seed)

    def levels(values: int, scale: float) -> tuple[Tensor, ...]:
        return tuple(
            torch.randn(images, length, values, generator=generator) * scale
            for length in level_lengths(grid)
        )

    return RawOutput(levels(3, 2.0), levels(4, spread))
