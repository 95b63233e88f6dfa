"""The network as it is exported computes what the model computes, in plainer parts."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.exporting.models import noise, small_model
from torch import nn

from foveal.config import make_settings
from foveal.detection.quality import rated
from foveal.exporting.network import Clamp6, ExportedNetwork, fold_norms
from foveal.models.build import build_model
from foveal.models.norms import FrozenBatchNorm
from foveal.models.retinanet import RetinaNet


def built(*overrides: str) -> RetinaNet:
    """A network with norms that are not the identity, in evaluation mode."""
    settings = make_settings(
        preset="retinanet",
        overrides=[
            "model.weights=none",
            "model.fpn_channels=16",
            "model.head_channels=32",
            "model.head_depth=1",
            *overrides,
        ],
    )
    torch.manual_seed(0)
    model = build_model(settings, 2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return model.eval()


ONE_ANCHOR = ("anchors.scales=[1]", "anchors.ratios=[1]", "model.backbone=test_resnet")
FCOS = (*ONE_ANCHOR, "model.box_coding=distances", "model.quality=centerness",
        "model.level_scales=true", "model.head_norm=group")  # fmt: skip
BINS = (*ONE_ANCHOR, "model.box_coding=distances", "model.box_bins=17", "model.quality=iou")
ATSS = ("model.backbone=test_resnet", "model.quality=centerness", "model.head_depthwise=true")


@pytest.mark.parametrize("overrides", [FCOS, BINS, ATSS])
def test_quality_is_in_the_logits(overrides: tuple[str, ...]) -> None:
    model = built(*overrides)
    nn.init.normal_(model.box.output.bias if overrides is not ATSS else model.box.output[1].bias)
    *_, last = model.box.quality.modules()
    nn.init.constant_(last.bias, -1.5)
    images = torch.from_numpy(noise(2, 64, 96))
    with torch.no_grad():
        raw, got = model(images), ExportedNetwork(model)(images)
    wanted = rated(raw)
    assert not wanted.quality
    for one, other in zip((*wanted.logits, *wanted.deltas), got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    assert (wanted.logits[0] - raw.logits[0]).abs().min() > 0.1


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.backbone=test_resnet", "model.norm=live"),
        ("model.backbone=test_resnet", "model.norm=frozen", "model.frozen_stages=1"),
        ("model.backbone=test_resnet", "model.norm=group", "model.head_norm=group"),
        ("model.backbone=mobilenetv2_035", "model.fpn_depthwise=true", "model.head_depthwise=true"),
        ("model.backbone=test_convnext", "model.p6_from=P5"),
        ("model.backbone=test_efficientnet_gn",),
        ("model.backbone=tf_efficientnet_lite0", "model.norm=live"),  # pads as TensorFlow does
    ],
)
def test_same_numbers(overrides: tuple[str, ...]) -> None:
    model = built(*overrides)
    network = ExportedNetwork(model)
    images = torch.from_numpy(noise(2, 128, 160))
    with torch.no_grad():
        wanted, got = model(images), network(images)
    for one, other in zip((*wanted.logits, *wanted.deltas), got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_every_norm_is_folded() -> None:
    network = ExportedNetwork(built("model.backbone=mobilenetv2_035"))
    kinds = {type(module) for module in network.modules()}
    assert not kinds & {FrozenBatchNorm, nn.BatchNorm2d, nn.ReLU6, nn.GroupNorm}
    assert Clamp6 in kinds
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_model_stays_as_it_was() -> None:
    model = small_model().model
    before = copy.deepcopy(model.state_dict())
    ExportedNetwork(model)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_a_convolution_that_is_used_twice_keeps_its_norms() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.first, self.second = FrozenBatchNorm(3), FrozenBatchNorm(3)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.second(self.conv(self.first(self.conv(features))))

    assert fold_norms(Twice(), torch.zeros(1, 3, 4, 4)) == 0
