"""Frozen norms folded into convolutions give the numbers and the gradients of the unfolded."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from foveal.models.folding import NormedConv2d, fold_norms
from foveal.models.norms import FrozenBatchNorm, set_norm


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    body = timm.create_model(name, features_only=True, out_indices=(2, 3))
    for module in body.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    set_norm(body, norm="frozen")
    return body.double()


@pytest.mark.parametrize(
    ("name", "norms"), [("resnet18", 15), ("mobilenetv2_100", 48), ("hgnetv2_b0", None)]
)
def test_same_numbers_and_gradients(name, norms):
    plain = network(name)
    folded = copy.deepcopy(plain)
    count = fold_norms(folded, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    total = sum(isinstance(module, FrozenBatchNorm) for module in folded.modules())
    assert count == total if norms is None else norms <= count == total
    assert list(folded.state_dict()) == list(plain.state_dict())
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    for model in (plain, folded):
        sum(feature.square().mean() for feature in model(images)).backward()
    for ours, expected in zip(folded(images), plain(images), strict=True):
        torch.testing.assert_close(ours, expected)
    for ours, expected in zip(folded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)


def test_changed_weights_and_norms_are_seen_in_inference():
    body = network("resnet18")
    fold_norms(body, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        first = body(images)[0].clone()
        assert torch.equal(body(images)[0], first)
    with torch.no_grad():
        body.conv1.weight.mul_(2)
    with torch.inference_mode():
        second = body(images)[0].clone()
    assert not torch.allclose(first, second)
    with torch.no_grad():
        body.bn1.bias.add_(1)
    with torch.inference_mode():
        assert not torch.allclose(second, body(images)[0])
    (body(images)[0]).sum().backward()
    assert body.conv1.weight.grad is not None


def test_a_copy_has_norms_of_its_own():
    body = network("resnet18")
    fold_norms(body, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    other = copy.deepcopy(body)
    assert isinstance(other.conv1, NormedConv2d)
    assert other.conv1._norm[0] is other.bn1
    assert other.bn1 is not body.bn1


def test_a_norm_that_follows_no_convolution_stays():
    body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), FrozenBatchNorm(4))
    assert fold_norms(body, torch.zeros(1, 3, 4, 4)) == 0
    assert not body[2].folded
