"""Which frozen norms are folded into which convolutions."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from foveal.acceleration.norm_folding import FoldedPair, find_pairs, fold
from foveal.models.norms import FrozenBatchNorm, set_norm

EXAMPLE = torch.zeros(1, 3, 64, 64)


def body(name: str) -> nn.Module:
    module = timm.create_model(name, features_only=True, out_indices=(2, 3))
    set_norm(module, norm="frozen")
    return module


@pytest.mark.parametrize(
    ("name", "norms"), [("resnet18", 15), ("mobilenetv2_100", 48), ("hgnetv2_b0", 20)]
)
def test_all_norms_of_known_networks(name: str, norms: int) -> None:
    module = body(name)
    pairs = find_pairs(module, EXAMPLE)
    assert len(pairs) >= norms
    assert {pair.norm for pair in pairs} == {
        child for child in module.modules() if isinstance(child, FrozenBatchNorm)
    }
    assert len({pair.conv for pair in pairs}) == len(pairs)


def test_the_module_is_left_as_it_was() -> None:
    module = body("resnet18").train()
    module.layer2.eval()
    modes = [child.training for child in module.modules()]
    before = copy.deepcopy(module.state_dict())
    find_pairs(module, EXAMPLE)
    assert [child.training for child in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(child._forward_hooks for child in module.modules())


class Net(nn.Module):
    """A convolution and a norm, and what a test makes of them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = FrozenBatchNorm(3)
        self.other = FrozenBatchNorm(3)

    def forward(self, images: Tensor) -> object:
        features = self.conv(images)
        normalized = self.norm(torch.relu(features) if self.way == "relu first" else features)
        return {
            "sum": lambda: normalized + features,
            "list": lambda: torch.cat([normalized, features]),
            "returned": lambda: (normalized, {"raw": features}),
            "two norms": lambda: normalized + self.other(features),
            "conv twice": lambda: self.conv(normalized),
            "norm twice": lambda: self.norm(normalized),
            "shape": lambda: normalized.view(features.shape),
        }.get(self.way, lambda: normalized)()


@pytest.mark.parametrize("way", ["sum", "list", "returned", "two norms", "conv twice"])
def test_an_output_that_is_seen_elsewhere_stays_as_it_is(way: str) -> None:
    assert find_pairs(Net(way), EXAMPLE) == []


@pytest.mark.parametrize("way", ["norm twice", "relu first"])
def test_a_norm_that_does_more_stays(way: str) -> None:
    assert find_pairs(Net(way), EXAMPLE) == []


def test_a_plain_pair_is_found() -> None:
    net = Net("")
    assert find_pairs(net, EXAMPLE) == [FoldedPair(net.conv, net.norm)]


def test_without_norms() -> None:
    assert find_pairs(nn.Conv2d(3, 4, 1), EXAMPLE) == []


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_folded_convolution_by_hand(has_bias: bool) -> None:
    """(2 x + b - 3) / sqrt(4 - eps + eps) * 5 + 7 = 5 x + (b - 3) * 5 / 2 + 7."""
    norm = FrozenBatchNorm(1, eps=0.5)
    norm.weight.fill_(5)
    norm.bias.fill_(7)
    norm.running_mean.fill_(3)
    norm.running_var.fill_(3.5)
    bias = torch.tensor([1.0]) if has_bias else None
    weight, shift = fold(norm, torch.full((1, 1, 1, 1), 2.0), bias)
    assert weight.item() == pytest.approx(5)
    assert shift.item() == pytest.approx((1 - 3 if has_bias else -3) * 2.5 + 7)
