"""All pyramid levels in one canvas, so that a shared convolution runs once and not L times.

On a CPU a convolution over a small level costs far more than its share of the places: a quarter of
the places took nearly half of the time. In the canvas the finest level lies at the left, the others
in rows at its right, all apart by a margin that is kept at zero: each level then sees the zero
padding that it would see alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

MARGIN = 1
"""Places between levels: as many as a 3x3 convolution looks beyond its own place."""


class Spot(NamedTuple):
    """Where a level lies in the canvas, in places."""

    top: int
    left: int
    height: int
    width: int


class Canvas(NamedTuple):
    """Levels side by side.

    Attributes:
        features: [B, C, H, W], zero between the levels.
        mask: [1, 1, H, W], 1 where a level lies, 0 between.
        spots: where each level lies.
    """

    features: Tensor
    mask: Tensor
    spots: tuple[Spot, ...]


def can_pack(levels: tuple[Tensor, ...]) -> bool:
    """Whether packing pays (on a CPU, not while tracing) and the levels find room."""
    if len(levels) < 2 or levels[0].device.type != "cpu" or torch.compiler.is_compiling():
        return False
    finest, *others = _spots(levels)
    return max(spot.top + spot.height for spot in others) <= finest.height


def pack(levels: tuple[Tensor, ...]) -> Canvas:
    """Put levels [B, C, H_l, W_l] into one canvas; see `can_pack`."""
    spots = _spots(levels)
    finest, first = spots[:2]
    rows: dict[int, list[Tensor]] = {}
    for level, spot in zip(levels[1:], spots[1:], strict=True):
        rows.setdefault(spot.top, []).append(pad(level, (0, MARGIN, 0, MARGIN)))
    column = _joined([_joined(row, dim=3) for row in rows.values()], dim=2)
    column = pad(column, (0, first.width - column.shape[3], 0, finest.height - column.shape[2]))
    features = torch.cat([pad(levels[0], (0, MARGIN)), column], dim=3)
    mask = features.new_zeros(1, 1, *features.shape[2:])
    for spot in spots:
        _view(mask, spot).fill_(1)
    return Canvas(features.contiguous(memory_format=torch.channels_last), mask, spots)


def unpack(features: Tensor, spots: tuple[Spot, ...]) -> tuple[Tensor, ...]:
    """The levels of a canvas [B, C, H, W], as views."""
    return tuple(_view(features, spot) for spot in spots)


def _view(features: Tensor, spot: Spot) -> Tensor:
    top, left, height, width = spot
    return features[:, :, top : top + height, left : left + width]


def _joined(parts: list[Tensor], *, dim: int) -> Tensor:
    """Parts one after the other, the others' sides filled up with zeros to the longest."""
    other = 5 - dim
    longest = max(part.shape[other] for part in parts)
    filled = [
        pad(
            part,
            (0, longest - part.shape[3], 0, 0)
            if other == 3
            else (0, 0, 0, longest - part.shape[2]),
        )
        for part in parts
    ]
    return torch.cat(filled, dim=dim)


def _spots(levels: tuple[Tensor, ...]) -> tuple[Spot, ...]:
    """The finest level at the left; the second, which is the widest, and the others in rows."""
    finest, *others = (level.shape[2:] for level in levels)
    column = finest[1] + MARGIN
    spots = [Spot(0, 0, *finest)]
    top, left, row_height = 0, column, 0
    for height, width in others:
        if left > column and left + width > column + others[0][1]:
            top, left, row_height = top + row_height + MARGIN, column, 0
        spots.append(Spot(top, left, height, width))
        left, row_height = left + width + MARGIN, max(row_height, height)
    return tuple(spots)
