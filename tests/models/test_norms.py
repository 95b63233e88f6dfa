"""Batch norm frozen, live and turned into group norm."""

from __future__ import annotations

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from foveal.models.norms import (
    ActivatedGroupNorm,
    FrozenBatchNorm,
    GroupNorm,
    LiveBatchNorm,
    set_norm,
)


def random_block(norm: type[nn.Module]) -> nn.Sequential:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 48, 3), norm(48))
    layer = block[1]
    for name in ("weight", "bias", "running_mean"):
        nn.init.normal_(getattr(layer, name))
    nn.init.uniform_(layer.running_var, 0.5, 2)
    return block.eval()


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNormAct2d])
def test_frozen_equals_batch_norm_in_evaluation(norm: type[nn.Module]) -> None:
    block = random_block(norm)
    images = torch.randn(2, 3, 9, 9)
    expected = block(images)
    set_norm(block, norm="frozen")
    assert isinstance(block[1], FrozenBatchNorm)
    block.train()
    torch.testing.assert_close(block(images), expected)
    torch.testing.assert_close(block(images), expected)
    assert not list(block[1].parameters())


def test_frozen_by_hand() -> None:
    layer = FrozenBatchNorm(1, eps=0.0)
    layer.running_mean.fill_(3)
    layer.running_var.fill_(4)
    layer.weight.fill_(10)
    layer.bias.fill_(1)
    assert layer(torch.tensor([[[[7.0]]]])).item() == 21.0


def test_frozen_keeps_bfloat16_and_passes_the_gradient() -> None:
    layer = FrozenBatchNorm(8)
    layer.weight.fill_(2)
    images = torch.randn(1, 8, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    found = layer(images)
    assert found.dtype == torch.bfloat16
    found.sum().backward()
    torch.testing.assert_close(images.grad, torch.full_like(images, 2.0))


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 16), (7, 1)])
def test_group_norm_takes_over_scale_and_shift(channels: int, groups: int) -> None:
    block = nn.Sequential(nn.BatchNorm2d(channels))
    nn.init.constant_(block[0].weight, 3)
    set_norm(block, norm="group", eps=0.5)
    layer = block[0]
    assert isinstance(layer, ActivatedGroupNorm)
    assert (layer.num_groups, layer.eps) == (groups, 0.5)
    assert layer.weight.detach().unique().tolist() == [3]


def test_group_norm_keeps_the_activation() -> None:
    block = nn.Sequential(BatchNormAct2d(32))
    set_norm(block, norm="group")
    assert block(torch.randn(2, 32, 4, 4)).min() == 0


def test_live_with_an_eps_of_0_trains() -> None:
    block = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    set_norm(block, norm="live", eps=0.0)
    output = block.train()(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert output.var(dim=(0, 2, 3), correction=0).tolist() == pytest.approx([1, 1], rel=1e-4)


def test_live_changes_only_eps() -> None:
    block = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm2d(4)))
    set_norm(block, norm="live", eps=0.25)
    assert [type(block[0]), type(block[1][0])] == [LiveBatchNorm] * 2
    assert (block[0].eps, block[1][0].eps) == (0.25, 0.25)


@pytest.mark.parametrize("images", [0, 1, 2])
def test_group_norm_of_one_value_a_group_leaves_the_bias(images: int) -> None:
    layer = GroupNorm(32, 32)
    nn.init.normal_(layer.bias)
    found = layer(torch.randn(images, 32, 1, 1, requires_grad=True))
    torch.testing.assert_close(found[..., 0, 0], layer.bias.expand(images, -1), atol=1e-4, rtol=0)
    found.sum().backward()
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 64, 1, 1), (1, 32, 2, 3), (3, 96, 5, 4)])
def test_group_norm_equals_torchs_where_that_computes(shape: tuple[int, ...]) -> None:
    features = torch.randn(shape)
    ours, theirs = GroupNorm(32, shape[1]), nn.GroupNorm(32, shape[1])
    assert torch.equal(ours(features), theirs(features))


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNormAct2d])
def test_live_equals_batch_norm_in_training(kind: type[nn.Module]) -> None:
    block, expected = random_block(kind).train(), random_block(kind).train()
    set_norm(block, norm="live")
    assert isinstance(block[1], LiveBatchNorm)
    assert block.state_dict().keys() == expected.state_dict().keys()
    images = torch.randn(2, 3, 9, 9)
    assert torch.equal(block(images), expected(images))
    for name, value in expected.state_dict().items():
        assert torch.equal(block.state_dict()[name], value), name
    assert torch.equal(block.eval()(images), expected.eval()(images))


def test_live_with_one_value_a_channel_takes_the_running_statistics() -> None:
    block = random_block(nn.BatchNorm2d)
    set_norm(block, norm="live")
    before = {name: value.clone() for name, value in block.state_dict().items()}
    one = torch.randn(1, 3, 3, 3)
    expected = block(one)
    found = block.train()(one)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert block[1].weight.grad.isfinite().all()
    for name, value in before.items():
        assert torch.equal(block.state_dict()[name], value), name
