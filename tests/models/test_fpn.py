"""The pyramid: its arithmetic by hand, its sizes, its settings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from foveal.models.fpn import FeaturePyramid


def features(channels: tuple[int, ...] = (8, 12, 16)) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sides = ((16, 24), (8, 12), (4, 6))
    return tuple(
        torch.randn(2, count, *side, generator=generator)
        for count, side in zip(channels, sides, strict=True)
    )


def identity(fpn: FeaturePyramid) -> None:
    """Make every convolution of a one-channel pyramid hand its center through."""
    for module in fpn.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            module.weight.data[0, 0, module.kernel_size[0] // 2, module.kernel_size[1] // 2] = 1


def test_by_hand() -> None:
    fpn = FeaturePyramid((1, 1, 1), channels=1)
    identity(fpn)
    c3, c4, c5 = (
        torch.full((1, 1, side, side), value) for side, value in ((8, 1.0), (4, 10.0), (2, -100.0))
    )
    c5[0, 0, 1, 1] = 300.0
    levels = fpn((c3, c4, c5))
    assert [level.shape[-1] for level in levels] == [8, 4, 2, 1, 1]
    assert levels[0][0, 0, 0, 0] == 1 + 10 - 100
    assert levels[0][0, 0, 7, 7] == 1 + 10 + 300
    assert levels[1][0, 0, 1, 1] == 10 - 100
    assert levels[3].item() == -100
    assert levels[4].item() == 0  # P7 is computed from relu(P6)


@pytest.mark.parametrize(("source", "count"), [("C5", 16), ("P5", 10)])
def test_as_torchvision(source: str, count: int) -> None:
    torch.manual_seed(0)
    own = FeaturePyramid((8, 12, 16), channels=10, p6_from=source)
    foreign = FeaturePyramidNetwork([8, 12, 16], 10, extra_blocks=LastLevelP6P7(count, 10))
    state = {}
    for key, value in own.state_dict().items():
        kind, index, name = key.split(".")
        block = {"lateral": "inner_blocks", "output": "layer_blocks"}.get(kind)
        state[
            f"{block}.{index}.0.{name}" if block else f"extra_blocks.p{6 + int(index)}.{name}"
        ] = value
    foreign.load_state_dict(state)
    expected = foreign(dict(zip("abc", features(), strict=True)))
    for ours, theirs in zip(own(features()), expected.values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_relu_before_p7_is_a_setting() -> None:
    fpn = FeaturePyramid((1, 1, 1), channels=1, relu_before_p7=False)
    identity(fpn)
    levels = fpn(tuple(torch.full((1, 1, side, side), -1.0) for side in (8, 4, 2)))
    assert levels[4].item() == -1


@pytest.mark.parametrize("levels", [3, 4, 6])
def test_other_numbers_of_levels(levels: int) -> None:
    fpn = FeaturePyramid((8, 12, 16), channels=4, levels=levels)
    rows = [level.shape[-2] for level in fpn(features())]
    assert rows == [16, 8, 4, 2, 1, 1][:levels]
    sum(level.sum() for level in fpn(features())).backward()
    assert all(value.grad is not None for value in fpn.parameters())


def test_depthwise_sums_have_the_same_sizes_and_fewer_weights() -> None:
    full = FeaturePyramid((8, 12, 16), channels=32)
    light = FeaturePyramid((8, 12, 16), channels=32, depthwise=True)
    levels = light(features())
    assert [level.shape for level in levels] == [level.shape for level in full(features())]
    sum(level.square().sum() for level in levels).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in light.parameters())
    assert 6 * count(light.output) < count(full.output)


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
