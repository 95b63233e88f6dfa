"""The subnets: order of their outputs, sharing, initial values, settings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from foveal.models.heads import Head


def test_the_outputs_run_by_row_place_anchor_and_class() -> None:
    head = Head(1, anchors=2, values=3, depth=0)
    nn.init.zeros_(head.output.weight)
    nn.init.zeros_(head.output.bias)
    for channel in range(6):  # channel = 10^channel times the value of the place
        head.output.weight.data[channel, 0, 1, 1] = 10.0**channel
    level = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    (found,) = head((level,))
    assert found.shape == (1, 12, 3)
    assert found[0, 0].tolist() == [1, 10, 100]
    assert found[0, 1].tolist() == [1e3, 1e4, 1e5]
    assert found[0, 2].tolist() == [2, 20, 200]
    assert found[0, 6].tolist() == [4, 40, 400]


def test_the_class_subnet_starts_at_the_prior() -> None:
    torch.manual_seed(0)
    head = Head(256, anchors=9, values=80, prior=0.01)
    (logits,) = head((torch.randn(1, 256, 8, 8),))
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.05)
    assert head.output.bias[0].item() == pytest.approx(-math.log(99))


def test_initial_values_are_the_papers() -> None:
    torch.manual_seed(0)
    head = Head(256, anchors=9, values=4)
    convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 5
    for module in convolutions:
        assert module.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not module.bias.any()


def test_all_levels_share_the_weights() -> None:
    head = Head(8, anchors=2, values=5, channels=8)
    level = torch.randn(1, 8, 4, 4)
    first, second = head((level, level))
    assert torch.equal(first, second)


@pytest.mark.parametrize("values", [1, 4])
def test_channels_last_needs_no_copy(values: int) -> None:
    head = Head(8, anchors=3, values=values, channels=8).to(memory_format=torch.channels_last)
    level = torch.randn(2, 8, 5, 7).to(memory_format=torch.channels_last)
    made = []
    head.output.register_forward_hook(lambda _module, _inputs, output: made.append(output))
    (found,) = head((level,))
    assert found.data_ptr() == made[0].data_ptr()
    assert found.is_contiguous()


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_settings(norm: str, depthwise: bool) -> None:
    torch.manual_seed(0)
    head = Head(16, anchors=3, values=2, depth=2, channels=32, norm=norm, depthwise=depthwise)
    (found,) = head((torch.randn(2, 16, 6, 6),))
    assert found.shape == (2, 108, 2)
    found.square().sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in head.parameters())
    names = {key.split(".", 2)[2] for key, _ in head.tower.named_parameters(prefix="tower")}
    expected = {
        (False, "none"): {"conv.weight", "conv.bias"},
        (False, "group"): {"conv.weight", "norm.weight", "norm.bias"},
        (True, "none"): {"conv.0.weight", "conv.1.weight", "conv.1.bias"},
        (True, "group"): {"conv.0.weight", "conv.1.weight", "norm.weight", "norm.bias"},
    }
    assert names == expected[depthwise, norm]
    output = ["0.weight", "1.weight", "1.bias"] if depthwise else ["weight", "bias"]
    assert [name for name, _ in head.output.named_parameters()] == output


def test_a_depthwise_subnet_starts_at_the_prior() -> None:
    torch.manual_seed(0)
    head = Head(64, anchors=9, values=3, channels=64, depthwise=True, prior=0.01)
    (logits,) = head((torch.randn(1, 64, 16, 16),))
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.05)


def test_a_depthwise_subnet_keeps_its_signal() -> None:
    torch.manual_seed(0)
    head = Head(64, anchors=1, values=4, channels=64, depthwise=True)
    hidden = head.tower(torch.randn(1, 64, 16, 16))
    assert 0.01 < hidden.std().item() < 1


def test_a_bias_before_the_norm_is_there_when_asked_for() -> None:
    head = Head(32, anchors=1, values=1, depth=2, channels=32, norm="group", bias_before_norm=True)
    plain = Head(32, anchors=1, values=1, depth=2, channels=32, norm="group")
    assert head.state_dict().keys() - plain.state_dict().keys() == {
        "tower.0.conv.bias",
        "tower.1.conv.bias",
    }
