"""Within the context modules compute what they do outside; where they can't, it is said."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foveal.acceleration import functions, winograd
from foveal.acceleration.functions import FasterFunctions
from foveal.acceleration.norm_folding import FoldedPair
from foveal.models.norms import FrozenBatchNorm


def make_pair(channels: int = 4, **options: object) -> FoldedPair:
    torch.manual_seed(0)
    norm = FrozenBatchNorm(channels)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return FoldedPair(nn.Conv2d(channels, channels, 3, **options), norm)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"groups": 4}, {"stride": 2}])
def test_a_norm_is_done_by_its_convolution(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    conv, norm = pair = make_pair(**options)
    conv.double()
    norm.double()
    features = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    expected = norm(conv(features))
    monkeypatch.setattr(torch, "batch_norm", None)  # is not called
    with FasterFunctions([pair]):
        found = norm(conv(features))
    torch.testing.assert_close(found, expected)


def test_a_norm_without_its_convolution_is_an_error() -> None:
    conv, norm = pair = make_pair()
    features = torch.randn(1, 4, 9, 9)
    with pytest.raises(RuntimeError, match="another input"), FasterFunctions([pair]):
        norm(features)
    with pytest.raises(RuntimeError, match="another input"), FasterFunctions([pair]):
        norm(conv(features) + 1)
    other = make_pair().norm
    with pytest.raises(RuntimeError, match="another input"), FasterFunctions([pair]):
        other(conv(features))


def test_a_norm_that_is_not_called_is_an_error() -> None:
    conv, norm = pair = make_pair()
    features = torch.randn(1, 4, 9, 9)
    with pytest.raises(RuntimeError, match="not called"), FasterFunctions([pair]):
        conv(features)
    with pytest.raises(ValueError, match="own"):  # an error inside is not hidden
        fail_after(conv, features, [pair])
    with FasterFunctions([pair]):  # nothing is left of it
        norm(conv(features))


def fail_after(conv: nn.Module, features: Tensor, pairs: list[FoldedPair]) -> None:
    with FasterFunctions(pairs):
        conv(features)
        raise ValueError("own")


def test_other_norms_are_computed() -> None:
    features = torch.randn(2, 4, 9, 9)
    live = nn.BatchNorm2d(4).train()
    with FasterFunctions([make_pair()]):
        found = live(features)
        found_without = F.batch_norm(features, None, None, training=True)
    torch.testing.assert_close(found, F.batch_norm(features, None, None, training=True))
    torch.testing.assert_close(found_without, found)
    assert live.running_mean is not None
    assert live.running_mean.any()


def test_large_convolutions_go_winograds_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []

    def convolve(*arguments: Tensor) -> Tensor:
        calls.append(arguments[0])
        return convolve_before(*arguments)

    convolve_before = winograd.convolve
    monkeypatch.setattr(functions.winograd, "convolve", convolve)
    conv = nn.Conv2d(96, 96, 3, padding=1)
    features = torch.randn(1, 96, 40, 40)
    expected = conv(features)
    with FasterFunctions():
        found = conv(features)
        conv(features[:, :, :9])
        F.conv2d(input=features, weight=conv.weight, padding=1)
    assert len(calls) == 2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_winograd_with_a_norm_and_its_activation() -> None:
    conv, norm = pair = make_pair(96, padding=1, bias=False)
    norm.activation = nn.ReLU(inplace=True)
    features = torch.randn(2, 96, 40, 37, requires_grad=True)
    expected = norm(conv(features))
    expected_gradient = torch.autograd.grad(expected.square().mean(), conv.weight)[0]
    with FasterFunctions([pair]):
        found = norm(conv(features))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    gradient = torch.autograd.grad(found.square().mean(), conv.weight)[0]
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("make", [nn.ReLU6, lambda inplace: nn.Hardtanh(-1, 2, inplace=inplace)])
def test_clamping_is_pytorchs(make: type[nn.Module], in_place: bool) -> None:
    activation = make(inplace=in_place)
    features = torch.linspace(-2, 8, 41).requires_grad_()
    expected = make(inplace=False)(features)
    with FasterFunctions():
        found = activation(features * 1)
    assert torch.equal(found, expected)
    gradients = [torch.autograd.grad(each.sum(), features)[0] for each in (found, expected)]
    assert torch.equal(*gradients)


def test_nothing_is_changed_outside() -> None:
    conv, norm = pair = make_pair()
    features = torch.randn(1, 4, 9, 9)
    with FasterFunctions([pair]):
        norm(conv(features))
    assert torch.equal(conv(features), F.conv2d(features, conv.weight, conv.bias))
    assert not torch.equal(norm(features), features)


@pytest.mark.parametrize("groups", [1, 64])
@pytest.mark.parametrize("height", [1, 3])
def test_the_gradient_of_narrow_maps_in_bf16(height: int, groups: int) -> None:
    """Some processors leave the taps that meet only padding unset: whatever lay there before."""
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=groups)
    features = torch.randn(2, 64, height, 1).to(memory_format=torch.channels_last)
    conv(features).square().sum().backward()
    expected = conv.weight.grad
    assert expected is not None
    for _ in range(4):
        conv.weight.grad = None
        dirty = [torch.full_like(conv.weight, torch.nan, dtype=torch.bfloat16) for _ in range(4)]
        del dirty
        with FasterFunctions(), torch.autocast("cpu", torch.bfloat16):
            output = conv(features)
        assert output.dtype is torch.bfloat16
        output.float().square().sum().backward()
        torch.testing.assert_close(conv.weight.grad, expected, rtol=0.05, atol=0.2)
