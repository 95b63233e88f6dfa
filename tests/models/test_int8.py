"""8-bit convolutions against the same rounding in float64, and what rounding does on average."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foveal.models import int8
from foveal.models.activations import InPlaceReLU6
from foveal.models.int8 import (
    InputRange,
    Int8Convolution,
    can_be_quantised,
    mean_shift,
    quantise,
    quantise_plainly,
    quantise_weight,
    scale_channels,
    step_and_zero,
)

pytestmark = pytest.mark.skipif(
    not int8.int8_is_fast(), reason="needs a processor with VNNI and PyTorch's operators for it"
)

CONVS = [
    nn.Conv2d(16, 96, 1),
    nn.Conv2d(96, 96, 3, padding=1, groups=96, bias=False),
    nn.Conv2d(96, 96, 3, padding=1, stride=2, groups=96),
    nn.Conv2d(3, 32, 7, padding=3, stride=2),
    nn.Conv2d(24, 40, 3, padding=2, dilation=2, groups=8),
]


def features_like(conv: nn.Conv2d, *size: int) -> Tensor:
    return torch.randn(size[0], conv.in_channels, *size[1:]) + 0.3


def seen(features: Tensor, passed_on: tuple[float, float] | None = None) -> InputRange:
    low, high = min(0.0, float(features.min())), float(features.max())
    means = tuple(features.mean(dim=(0, 2, 3)).tolist())
    return InputRange(low * 0.9, high * 0.9, means, passed_on=passed_on)


def by_hand(conv: nn.Conv2d, features: Tensor, known: InputRange) -> Tensor:
    """Rounded inputs (another test's matter) and weights, multiplied in float64."""
    step, zero = step_and_zero(known.low, known.high)
    rounded = quantise(features, step, zero).double() - zero
    scales, levels = quantise_weight(conv.weight.detach())
    weight = levels.double() * scales.double()[:, None, None, None]
    error = (weight - conv.weight.double()).sum(dim=(2, 3))
    means = torch.tensor(known.means).double().view(conv.groups, -1, 1)
    shift = (error.view(conv.groups, -1, error.shape[1]) @ means).flatten()
    bias = -shift if conv.bias is None else conv.bias.double() - shift
    return nn.functional.conv2d(
        rounded * step, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
    ).detach()


@pytest.mark.parametrize("conv", CONVS, ids=str)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_sums_are_those_of_rounded_numbers_at_every_size(conv, memory):
    known = seen(features_like(conv, 2, 20, 31))
    made = Int8Convolution(conv, conv.weight.detach(), conv.bias, None, known)
    for size in ((2, 20, 31), (1, 9, 8), (3, 20, 31), (2, 20, 31)):
        features = features_like(conv, *size).to(memory_format=memory)
        expected = by_hand(conv, features, known)
        found = made(features)
        assert found.dtype is torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "limits"), [(nn.ReLU(), (0, 1e9)), (InPlaceReLU6(), (0, 6)), (nn.SiLU(), None)]
)
def test_activations(activation, limits):
    conv = CONVS[0]
    features = features_like(conv, 2, 9, 11) * 4
    known = seen(features)
    found = Int8Convolution(conv, conv.weight.detach(), conv.bias, activation, known)(features)
    plain = by_hand(conv, features, known)
    expected = nn.functional.silu(plain) if limits is None else plain.clamp(*limits)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_what_is_passed_on_are_the_taker_s_own_8_bits(conv):
    features = features_like(conv, 2, 20, 31)
    known = seen(features, passed_on=(0.0, 1.5))
    found = Int8Convolution(conv, conv.weight.detach(), conv.bias, None, known)(features)
    expected = by_hand(conv, features, known) / (1.5 / 255)
    assert found.dtype is torch.uint8
    assert (found.double() - expected.clamp(0, 255)).abs().max() <= 0.501
    assert (found == 0).any()
    assert (found == 255).any()


def test_another_activation_goes_on_in_float32():
    conv = CONVS[0]
    features = features_like(conv, 1, 5, 5)
    known = seen(features, passed_on=(0.0, 1.5))
    made = Int8Convolution(conv, conv.weight.detach(), conv.bias, nn.SiLU(), known)
    assert made(features).dtype is torch.float32


def test_8_bits_are_taken_as_they_are():
    conv = CONVS[0]
    features = features_like(conv, 2, 9, 11).relu()
    known = seen(features)
    made = Int8Convolution(conv, conv.weight.detach(), conv.bias, None, known)
    bits = quantise(features, *step_and_zero(known.low, known.high))
    assert torch.equal(made(bits), made(features))


@settings(max_examples=100, deadline=None)
@given(
    st.floats(-1e3, 0), st.floats(1e-3, 1e3), st.lists(st.floats(-2e3, 2e3, width=32), min_size=1)
)
def test_both_ways_to_8_bits_agree(low, high, values):
    step, zero = step_and_zero(low, high)
    features = torch.tensor(values)
    fast, plain = (to(features, step, zero).int() for to in (quantise, quantise_plainly))
    assert (fast - plain).abs().max() <= 1  # where a value lies between two, rounding decides
    inside = (features >= low) & (features <= high)
    back = (fast - zero) * step
    assert ((back - features).abs()[inside] <= 0.51 * step + 1e-4 * features.abs()[inside]).all()


def test_8_bits_keep_the_order_of_memory():
    features = torch.randn(2, 8, 5, 7).contiguous(memory_format=torch.channels_last)
    bits = quantise(features, 0.02, 128)
    assert bits.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(bits, quantise(features.contiguous(), 0.02, 128))


def test_without_pytorch_s_quantised_types(monkeypatch):
    features = torch.randn(2, 8, 5, 7).contiguous(memory_format=torch.channels_last)
    expected = quantise(features, 0.02, 128)
    monkeypatch.setattr(int8, "_has_quantised_types", lambda: False)
    assert (quantise(features, 0.02, 128).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_rounding_shifts_no_channel_on_the_average(conv):
    """Where each channel is the same all over, an error of the weights is nothing but a shift."""
    inner = nn.Conv2d(conv.in_channels, conv.out_channels, 3, groups=conv.groups)
    means = torch.randn(conv.in_channels)
    features = means[None, :, None, None].expand(1, -1, 5, 5)
    scales, levels = quantise_weight(inner.weight.detach())
    error = levels * scales[:, None, None, None] - inner.weight.detach()
    shift = mean_shift(error, means, inner.groups)
    moved = nn.functional.conv2d(features, error, groups=inner.groups)[0, :, 1, 1]
    torch.testing.assert_close(shift, moved, rtol=1e-4, atol=1e-6)
    assert shift.abs().max() > 1e-4


@pytest.mark.parametrize("conv", CONVS, ids=str)
def test_channels_that_come_and_go_multiplied(conv):
    """Taken out of the weights and put into them again, factors change nothing."""
    inputs = 2 ** torch.randint(-3, 4, (conv.in_channels,)).float()
    outputs = 2 ** torch.randint(-3, 4, (conv.out_channels,)).float()
    known = InputRange(
        0.0, 1.0, (0.0,) * conv.in_channels, tuple(inputs.tolist()), gives=tuple(outputs.tolist())
    )
    weight, bias = scale_channels(conv.weight.detach(), conv.bias, known, conv.groups)
    features = features_like(conv, 2, 9, 8)
    rest = (conv.stride, conv.padding, conv.dilation, conv.groups)
    found = nn.functional.conv2d(features * inputs[:, None, None], weight, bias, *rest)
    expected = conv(features) * outputs[:, None, None]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_relu6_of_multiplied_channels_is_done_by_the_8_bits():
    conv = nn.Conv2d(16, 8, 1)
    nn.init.normal_(conv.weight, std=1.0)
    features = features_like(conv, 2, 9, 11)
    gives = tuple((2 ** torch.arange(8.0)).div(8).tolist())
    means = tuple(features.mean(dim=(0, 2, 3)).tolist())
    low, high = float(features.min()), float(features.max())
    known = InputRange(low, high, means, (), (0.0, 6.0), (1.0,) * 8)
    plain, multiplied = (
        Int8Convolution(conv, conv.weight.detach(), conv.bias, InPlaceReLU6(), each)(features)
        for each in (replace(known, gives=()), known)
    )
    assert (plain.int() - multiplied.int()).abs().max() <= 1
    assert (plain == 255).any()
    halves = Int8Convolution(
        conv, conv.weight.detach(), conv.bias, InPlaceReLU6(), replace(known, gives=gives)
    )(features)
    expected = by_hand(conv, features, known) * torch.tensor(gives)[:, None, None] / 6 * 255
    assert (halves - expected.clamp(0, 255)).abs().max() < 0.51


def test_a_channel_of_zeros_stays_zero():
    scales, levels = quantise_weight(torch.zeros(2, 3, 1, 1))
    assert torch.isfinite(scales).all()
    assert not levels.any()


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError])
def test_operators_that_are_gone_or_others_are_noticed(error, monkeypatch):
    def fail(*_: object) -> Tensor:
        raise error

    assert int8._operators_work()
    monkeypatch.setattr(Int8Convolution, "__call__", fail)
    assert not int8._operators_work()


@pytest.mark.parametrize(
    ("conv", "expected"),
    [
        (nn.Conv2d(3, 3, 3, padding=1), True),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), False),
        (nn.Conv2d(3, 3, 3, padding="same"), False),
        (nn.Conv2d(3, 3, 3).double(), False),
    ],
)
def test_convolutions_that_the_operators_do_not_know_are_left_alone(conv, expected):
    assert can_be_quantised(conv) is expected
