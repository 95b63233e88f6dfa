"""Winograd's convolution against PyTorch's own, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from foveal.acceleration.winograd import convolve, suits

SHAPES = [
    (1, 3, 5, 4, 4),
    (2, 8, 16, 12, 20),
    (3, 5, 7, 10, 13),
    (2, 4, 4, 1, 1),
    (1, 4, 6, 90, 122),
    (7, 4, 6, 17, 23),
]
"""Batch, channels in and out, height, width: one block, several, several images in one."""


def results(
    run: object, features: Tensor, weight: Tensor, bias: Tensor | None, gradient: Tensor
) -> list[Tensor]:
    leaves = [
        leaf.clone().requires_grad_() for leaf in (features, weight) + (bias is not None) * (bias,)
    ]
    output = run(*leaves, *([None] if bias is None else []))  # type: ignore[operator]
    output.backward(gradient)
    return [output.detach(), *(leaf.grad for leaf in leaves)]


def direct(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv2d(features, weight, bias, padding=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_outputs_and_gradients_are_those_of_the_direct_sum(
    shape: tuple[int, ...], has_bias: bool, memory: torch.memory_format
) -> None:
    torch.manual_seed(0)
    batch, channels, outputs, height, width = shape
    features = torch.randn(batch, channels, height, width).to(memory_format=memory)
    weight = torch.randn(outputs, channels, 3, 3).to(memory_format=memory)
    bias = torch.randn(outputs) if has_bias else None
    gradient = torch.randn(batch, outputs, height, width).to(memory_format=memory)
    found = results(convolve, features, weight, bias, gradient)
    expected = results(
        direct,
        features.double(),
        weight.double(),
        None if bias is None else bias.double(),
        gradient.double(),
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_backward_within_autocast_stays_in_float32() -> None:
    torch.manual_seed(0)
    features, weight, gradient = (
        torch.randn(*s) for s in ((2, 4, 9, 9), (4, 4, 3, 3), (2, 4, 9, 9))
    )
    expected = results(convolve, features, weight, None, gradient)
    leaves = [each.clone().requires_grad_() for each in (features, weight)]
    output = convolve(*leaves, None)
    with torch.autocast("cpu", torch.bfloat16):
        output.backward(gradient)
    assert all(
        torch.equal(leaf.grad, wanted) for leaf, wanted in zip(leaves, expected[1:], strict=True)
    )


def test_rounding_is_small() -> None:
    """The direct sum has 2e-7 to 9e-7, by kernel; the points 1 and 2 would have 3.3e-6."""
    torch.manual_seed(0)
    features, weight = torch.randn(2, 256, 24, 40), torch.randn(256, 256, 3, 3)
    expected = direct(features.double(), weight.double(), None)
    error = (convolve(features, weight, None) - expected).square().mean()
    assert (error / expected.square().mean()).sqrt() < 2.2e-6


def test_a_part_that_needs_no_gradient_gets_none() -> None:
    features, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3)
    only_weight = weight.clone().requires_grad_()
    convolve(features, only_weight, None).sum().backward()
    only_features = features.clone().requires_grad_()
    convolve(only_features, weight, None).sum().backward()
    assert only_weight.grad is not None
    assert only_features.grad is not None


@pytest.mark.parametrize("side", [8, 9])
def test_relu_in_place_may_follow(side: int) -> None:
    features = torch.randn(1, 4, side, side, requires_grad=True)
    convolve(features, torch.randn(4, 4, 3, 3), None).relu_().sum().backward()
    assert features.grad is not None


def test_equal_images_of_a_batch_give_equal_outputs() -> None:
    image = torch.randn(1, 96, 40, 52)
    found = convolve(image.expand(5, -1, -1, -1), torch.randn(96, 96, 3, 3), None)
    assert torch.equal(found[0], found[4])


PLAIN = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
"""What a 3x3 convolution that keeps the size hands over."""


def kernels(outputs: int = 96, channels: int = 96, side: int = 3) -> Tensor:
    return torch.randn(outputs, channels, side, side)


@pytest.mark.parametrize("padding", [1, (1, 1), [1, 1]])
def test_what_suits(padding: object) -> None:
    features = torch.randn(1, 96, 40, 40)
    assert suits(features, kernels(), **{**PLAIN, "padding": padding})
    assert suits(features, kernels(), padding=padding)


@pytest.mark.parametrize(
    ("weight", "changes"),
    [
        (kernels(), {"stride": (2, 2)}),
        (kernels(), {"stride": (1, 2)}),
        (kernels(), {"padding": (0, 0)}),
        (kernels(), {"padding": "same"}),
        (kernels(), {"dilation": (2, 2)}),
        (kernels(96, 1), {"groups": 96}),
        (kernels(side=1), {"padding": (0, 0)}),
        (kernels(9, 96), {}),
        (kernels(96, 9), {}),
        (kernels().double(), {}),
    ],
)
def test_other_convolutions_go_the_usual_way(weight: Tensor, changes: dict[str, object]) -> None:
    features = torch.randn(1, 96, 40, 40, dtype=weight.dtype)
    assert not suits(features, weight, **{**PLAIN, **changes})


def test_small_maps_bfloat16_and_single_images_go_the_usual_way() -> None:
    assert not suits(torch.randn(1, 96, 20, 20), kernels(), **PLAIN)
    assert suits(torch.randn(3, 96, 20, 20), kernels(), **PLAIN)
    assert not suits(torch.randn(0, 96, 40, 40), kernels(), **PLAIN)
    assert not suits(torch.randn(96, 40, 40), kernels(), **PLAIN)
    with torch.autocast("cpu", torch.bfloat16):
        assert not suits(torch.randn(1, 96, 40, 40), kernels(), **PLAIN)
