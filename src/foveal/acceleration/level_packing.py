"""All pyramid levels in one canvas, so that a shared convolution runs once and not L times.

On a CPU a convolution over a small level costs far more than its share of the places: a quarter of
the places took nearly half of the time. In the canvas the finest level lies at the left, the others
in rows at its right, all apart by a margin that is kept at zero: each level then sees the zero
padding that it would see alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from foveal.acceleration.recording import is_recorded

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
        spots: where each level lies.
        gaps: what lies between and beside them.
    """

    features: Tensor
    spots: tuple[Spot, ...]
    gaps: tuple[Spot, ...]


def can_pack(levels: tuple[Tensor, ...]) -> bool:
    """Whether packing pays (on a CPU, not while tracing) and the levels find room."""
    if len(levels) < 2 or levels[0].device.type != "cpu" or is_recorded():
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
    return Canvas(
        features.contiguous(memory_format=torch.channels_last),
        spots,
        _gaps(spots, *features.shape[2:]),
    )


def unpack(features: Tensor, spots: tuple[Spot, ...]) -> tuple[Tensor, ...]:
    """The levels of a canvas [B, C, H, W], as views."""
    return tuple(_view(features, spot) for spot in spots)


def relu_between_gaps(hidden: Tensor, gaps: tuple[Spot, ...]) -> Tensor:
    """ReLU in place, and zero in the gaps again; no pass over the features for the gaps' sake."""
    result: Tensor = _ReluBetweenGaps.apply(hidden, gaps)
    return result


class _ReluBetweenGaps(torch.autograd.Function):
    """The gradient passes where the result is positive, so never in a gap."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, gaps: tuple[Spot, ...]) -> Tensor:
        hidden.relu_()
        for gap in gaps:
            _view(hidden, gap).zero_()
        ctx.mark_dirty(hidden)
        ctx.save_for_backward(hidden)
        return hidden

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], result, 0), None


def _view(features: Tensor, spot: Spot) -> Tensor:
    top, left, height, width = spot
    return features[:, :, top : top + height, left : left + width]


def _joined(parts: list[Tensor], *, dim: int) -> Tensor:
    """Parts one after the other, the others' sides filled up with zeros to the longest."""
    other = 5 - dim
    longest = max(part.shape[other] for part in parts)
    sides = (0, 0) if other == 2 else ()  # pad counts from the last side: columns, then rows
    filled = [pad(part, (*sides, 0, longest - part.shape[other])) for part in parts]
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


def _gaps(spots: tuple[Spot, ...], height: int, width: int) -> tuple[Spot, ...]:
    """The rectangles of a canvas in which no level lies."""
    finest, *others = spots
    column = finest.width + MARGIN
    gaps = [Spot(0, finest.width, height, MARGIN)]
    rows: dict[int, list[Spot]] = {}
    for spot in others:
        rows.setdefault(spot.top, []).append(spot)
    bottom = 0
    for top, row in rows.items():
        bottom = min(top + max(spot.height for spot in row) + MARGIN, height)
        ends = [spot.left for spot in row[1:]] + [width]
        for spot, end in zip(row, ends, strict=True):
            right, below = spot.left + spot.width, top + spot.height
            gaps.append(Spot(top, right, bottom - top, end - right))
            gaps.append(Spot(below, spot.left, bottom - below, spot.width))
    gaps.append(Spot(bottom, column, height - bottom, width - column))
    return tuple(gap for gap in gaps if gap.height > 0 and gap.width > 0)
