"""The in-place ReLU6: PyTorch's numbers, without its copy."""

import pytest
import torch
from torch import nn

from foveal.models.activations import InPlaceReLU6
from foveal.models.norms import set_norm


def run(activation: nn.Module, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.linspace(-2, 8, 41, dtype=dtype).requires_grad_()
    found = activation(features * 1)
    found.backward(torch.arange(41, dtype=dtype))
    assert features.grad is not None
    return found.detach(), features.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_pytorch(dtype: torch.dtype) -> None:
    for ours, theirs in zip(
        run(InPlaceReLU6(), dtype), run(nn.ReLU6(inplace=True), dtype), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_nothing_is_copied() -> None:
    features = torch.randn(3, 4, requires_grad=True) * 1
    assert InPlaceReLU6()(features).data_ptr() == features.data_ptr()
    plain = torch.randn(3, 4)
    assert InPlaceReLU6()(plain).data_ptr() == plain.data_ptr()


def test_it_compiles_whole() -> None:
    activation = InPlaceReLU6()
    compiled = torch.compile(lambda x: activation(x * 1), backend="aot_eager", fullgraph=True)
    features = torch.linspace(-2, 8, 11).requires_grad_()
    compiled(features).sum().backward()
    assert features.grad is not None
    assert features.grad.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(("in_place", "kind"), [(True, InPlaceReLU6), (False, nn.ReLU6)])
def test_norms_take_it_over_where_it_was_in_place(in_place: bool, kind: type) -> None:
    norm = nn.BatchNorm2d(4)
    norm.act = nn.ReLU6(inplace=in_place)
    body = nn.Sequential(nn.Conv2d(4, 4, 1), norm)
    set_norm(body, norm="frozen")
    assert isinstance(body[1].activation, kind)
