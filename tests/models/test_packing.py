"""Levels in one canvas give the numbers and the gradients that they give one by one."""

from __future__ import annotations

import pytest
import torch

from foveal.models.heads import Head
from foveal.models.packing import can_pack, pack, unpack

SIZES = {
    "five levels": [(40, 56), (20, 28), (10, 14), (5, 7), (3, 4)],
    "just room": [(16, 24), (8, 12), (4, 6), (2, 3)],
    "portrait": [(56, 40), (28, 20), (14, 10), (7, 5)],
    "two levels": [(8, 8), (8, 4)],
}


def make_levels(sizes: list[tuple[int, int]], channels: int = 32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(2, channels, *size, generator=generator, dtype=torch.float64)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
        for size in sizes
    )


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_packing_and_unpacking_loses_nothing(sizes):
    levels = make_levels(sizes)
    assert can_pack(levels)
    canvas = pack(levels)
    for packed, level in zip(unpack(canvas.features, canvas.spots), levels, strict=True):
        assert torch.equal(packed, level)
    # Levels and gaps cover each place once; the gaps are zero.
    cover = torch.zeros(1, 1, *canvas.features.shape[2:])
    for part in unpack(cover, canvas.spots + canvas.gaps):
        part += 1
    assert (cover == 1).all()
    for gap in unpack(canvas.features, canvas.gaps):
        assert (gap == 0).all()


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_head_says_the_same_on_a_canvas(sizes, depthwise):
    torch.manual_seed(0)
    head = Head(32, anchors=3, values=2, depth=3, channels=32, depthwise=depthwise).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    levels = make_levels(sizes)
    alone, together = head(levels), head.on_canvas(pack(levels))
    for expected, found in zip(alone, together, strict=True):
        torch.testing.assert_close(found, expected)
    inputs = [*levels, *head.parameters()]
    expected = torch.autograd.grad(sum(part.square().sum() for part in alone), inputs)
    found = torch.autograd.grad(sum(part.square().sum() for part in together), inputs)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_what_finds_no_room_is_not_packed():
    assert not can_pack(make_levels([(8, 8)]))
    assert not can_pack(make_levels([(4, 4), (4, 4), (4, 4)]))
    assert Head(32, anchors=1, values=1, channels=32, norm="group").has_norms
    assert not Head(32, anchors=1, values=1, channels=32).has_norms
