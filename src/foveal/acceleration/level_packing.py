"""All pyramid levels side by side, so that a head's convolutions run once and not L times.

On a CPU a convolution in bf16 over a small level costs far more than its share of the locations:
a quarter of the locations took nearly half of the time. Packed, the finest level lies at the left
and the others in rows at its right, all apart by padding that is kept at zero: each level then sees
the zero padding that it would see alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from foveal.models.box_heads import BoxHead, BoxOutput
from foveal.models.heads import Head, HiddenLayer, by_anchor

MARGIN = 1
"""Locations between levels: as many as a 3x3 convolution looks beyond its own location."""


class Region(NamedTuple):
    """A rectangle of the packed levels, in locations."""

    top: int
    left: int
    height: int
    width: int


class PackedLevels(NamedTuple):
    """Levels side by side.

    Attributes:
        features: [B, C, H, W], zero between the levels.
        regions: where each level lies.
        padding: what lies between and beside them.
    """

    features: Tensor
    regions: tuple[Region, ...]
    padding: tuple[Region, ...]


def can_pack(levels: tuple[Tensor, ...], *heads: Head | BoxHead) -> bool:
    """Whether levels [B, C, H_l, W_l] find room, and no head's norms would see the padding."""
    if len(levels) < 2 or any(layer.norm is not None for head in heads for layer in layers(head)):
        return False
    finest, *others = _regions(levels)
    return max(region.top + region.height for region in others) <= finest.height


def pack(levels: tuple[Tensor, ...]) -> PackedLevels:
    """Put levels [B, C, H_l, W_l] side by side; see `can_pack`."""
    regions = _regions(levels)
    finest, first = regions[:2]
    rows: dict[int, list[Tensor]] = {}
    for level, region in zip(levels[1:], regions[1:], strict=True):
        rows.setdefault(region.top, []).append(pad(level, (0, MARGIN, 0, MARGIN)))
    column = _joined([_joined(row, dim=3) for row in rows.values()], dim=2)
    column = pad(column, (0, first.width - column.shape[3], 0, finest.height - column.shape[2]))
    features = torch.cat([pad(levels[0], (0, MARGIN)), column], dim=3)
    return PackedLevels(
        features.contiguous(memory_format=torch.channels_last),
        regions,
        _padding(regions, *features.shape[2:]),
    )


def unpack(features: Tensor, regions: tuple[Region, ...]) -> tuple[Tensor, ...]:
    """The levels in packed features [B, C, H, W], as views."""
    return tuple(_view(features, region) for region in regions)


def apply_head(head: Head, levels: PackedLevels) -> tuple[Tensor, ...]:
    """What `head` says of the levels: [B, H_l * W_l * anchors, values] for each."""
    return _predicted(head.output, _hidden(head, levels), levels.regions, head.values)


def apply_box_head(head: BoxHead, levels: PackedLevels) -> BoxOutput:
    """What `head` says of the levels."""
    hidden, regions = _hidden(head, levels), levels.regions
    predicted = _predicted(head.output, hidden, regions, head.values)
    if head.quality is None:
        return head.read(predicted, ())
    return head.read(predicted, _predicted(head.quality, hidden, regions, 1))


def layers(head: Head | BoxHead) -> list[HiddenLayer]:
    """The hidden layers of a head."""
    return [layer for layer in head.tower if isinstance(layer, HiddenLayer)]


def _hidden(head: Head | BoxHead, levels: PackedLevels) -> Tensor:
    """The packed features that a head's last layers see."""
    hidden = levels.features
    for layer in layers(head):
        hidden = relu_between_padding(layer.conv(hidden), levels.padding)
    return hidden


def _predicted(
    last: nn.Module, hidden: Tensor, regions: tuple[Region, ...], values: int
) -> tuple[Tensor, ...]:
    """What a last layer says of packed features: [B, H_l * W_l * anchors, values] a level."""
    return tuple(by_anchor(part, values) for part in unpack(last(hidden), regions))


def relu_between_padding(hidden: Tensor, padding: tuple[Region, ...]) -> Tensor:
    """ReLU of [B, C, H, W] in place, and zero in the padding, also for the gradient.

    The zeros are written before ReLU and behind autograd's back, which is sound: no convolution
    needs its own output for its gradient, and ReLU passes none where its result is zero.
    """
    with torch.no_grad():
        for region in padding:
            _view(hidden, region).zero_()
    return hidden.relu_()


def _view(features: Tensor, region: Region) -> Tensor:
    top, left, height, width = region
    return features[:, :, top : top + height, left : left + width]


def _joined(parts: list[Tensor], *, dim: int) -> Tensor:
    """Parts one after the other, the others' sides filled up with zeros to the longest."""
    other = 5 - dim
    longest = max(part.shape[other] for part in parts)
    sides = (0, 0) if other == 2 else ()  # pad counts from the last side: columns, then rows
    filled = [pad(part, (*sides, 0, longest - part.shape[other])) for part in parts]
    return torch.cat(filled, dim=dim)


def _regions(levels: tuple[Tensor, ...]) -> tuple[Region, ...]:
    """The finest level at the left; the second, which is the widest, and the others in rows."""
    finest, *others = (level.shape[2:] for level in levels)
    column = finest[1] + MARGIN
    regions = [Region(0, 0, *finest)]
    top, left, row_height = 0, column, 0
    for height, width in others:
        if left > column and left + width > column + others[0][1]:
            top, left, row_height = top + row_height + MARGIN, column, 0
        regions.append(Region(top, left, height, width))
        left, row_height = left + width + MARGIN, max(row_height, height)
    return tuple(regions)


def _padding(regions: tuple[Region, ...], height: int, width: int) -> tuple[Region, ...]:
    """The rectangles of packed levels in which no level lies."""
    finest, *others = regions
    column = finest.width + MARGIN
    padding = [Region(0, finest.width, height, MARGIN)]
    rows: dict[int, list[Region]] = {}
    for region in others:
        rows.setdefault(region.top, []).append(region)
    bottom = 0
    for top, row in rows.items():
        bottom = min(top + max(region.height for region in row) + MARGIN, height)
        ends = [region.left for region in row[1:]] + [width]
        for region, end in zip(row, ends, strict=True):
            right, below = region.left + region.width, top + region.height
            padding.append(Region(top, right, bottom - top, end - right))
            padding.append(Region(below, region.left, bottom - below, region.width))
    padding.append(Region(bottom, column, height - bottom, width - column))
    return tuple(region for region in padding if region.height > 0 and region.width > 0)
