"""Packed levels give the numbers and the gradients that levels give one by one."""

from __future__ import annotations

import pytest
import torch

from foveal.acceleration.level_packing import (
    apply_box_head,
    apply_head,
    can_pack,
    pack,
    relu_between_padding,
    unpack,
)
from foveal.models.box_heads import BoxHead
from foveal.models.heads import Head

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
    packed = pack(levels)
    for found, level in zip(unpack(packed.features, packed.regions), levels, strict=True):
        assert torch.equal(found, level)
    # Levels and padding cover each location once; the padding is zero.
    cover = torch.zeros(1, 1, *packed.features.shape[2:])
    for part in unpack(cover, packed.regions + packed.padding):
        part += 1
    assert (cover == 1).all()
    for region in unpack(packed.features, packed.padding):
        assert (region == 0).all()


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_head_says_the_same_of_packed_levels(sizes, depthwise):
    torch.manual_seed(0)
    head = Head(32, anchors=3, values=2, depth=3, channels=32, depthwise=depthwise).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    levels = make_levels(sizes)
    alone, together = head(levels), apply_head(head, pack(levels))
    for expected, found in zip(alone, together, strict=True):
        torch.testing.assert_close(found, expected)
    inputs = [*levels, *head.parameters()]
    expected = torch.autograd.grad(sum(part.square().sum() for part in alone), inputs)
    found = torch.autograd.grad(sum(part.square().sum() for part in together), inputs)
    for theirs, ours in zip(expected, found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("quality", [False, True])
def test_a_box_head_with_additions_says_the_same_of_packed_levels(quality):
    torch.manual_seed(0)
    levels = make_levels(SIZES["two levels"])
    plain = Head(32, anchors=1, values=4 * 17, depth=2, channels=32)
    head = BoxHead(
        plain, channels=32, anchors=1, levels=2, coding="distances", bins=17, quality=quality
    ).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    alone, together = head(levels), apply_box_head(head, pack(levels))
    assert len(together.quality) == 2 * quality
    flat = [[part for level in output for part in level] for output in (alone, together)]
    for expected, found in zip(*flat, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    inputs = [*levels, *head.parameters()]
    theirs, ours = (
        torch.autograd.grad(sum(part.square().sum() for part in parts), inputs) for parts in flat
    )
    for expected, found in zip(theirs, ours, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_padding_gets_no_gradient():
    packed = pack(make_levels(SIZES["two levels"]))
    features = torch.ones_like(packed.features).requires_grad_()
    result = relu_between_padding(features * 1, packed.padding)
    (gradient,) = torch.autograd.grad(result.sum(), features)
    assert torch.equal(gradient, result)
    assert gradient.sum() == 2 * 32 * (64 + 32), "one at each location of a level, else zero"


def test_what_finds_no_room_is_not_packed():
    assert not can_pack(make_levels([(8, 8)]))
    assert not can_pack(make_levels([(4, 4), (4, 4), (4, 4)]))


def test_norms_must_not_see_the_padding():
    levels = make_levels(SIZES["two levels"])
    plain = Head(32, anchors=1, values=1, channels=32)
    assert can_pack(levels, plain)
    assert not can_pack(levels, plain, Head(32, anchors=1, values=1, channels=32, norm="group"))
