"""A small network for tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foveal.config import Settings, make_settings
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet

SMALL = (
    "model.backbone=test_resnet",
    "model.weights=none",
    "model.norm=live",
    "model.fpn_channels=16",
    "model.head_channels=16",
    "model.head_depth=1",
)


def make_small(*overrides: str, classes: int = 3) -> tuple[RetinaNet, Settings]:
    """A network of few parameters in evaluation mode, and its settings."""
    settings = make_settings(preset="retinanet", overrides=[*SMALL, *overrides])
    torch.manual_seed(0)
    return build_model(settings, classes).eval(), settings


class ThreeConvolutions(nn.Module):
    """The least that gives C3, C4 and C5."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        before = (3, *channels[:-1])
        self.stages = nn.ModuleList(
            nn.Conv2d(inputs, outputs, stride, stride)
            for inputs, outputs, stride in zip(before, channels, (8, 2, 2), strict=True)
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        return [features := stage(features) for stage in self.stages]


def make_thin(*overrides: str) -> tuple[RetinaNet, Settings]:
    """Small, with three levels and next to no backbone: a compiler is done with it sooner."""
    model, settings = make_small(
        "anchors.strides=[8, 16, 32]", "anchors.sizes=[16, 32, 64]", *overrides
    )
    model.backbone = ThreeConvolutions(model.backbone.channels)
    return model.to(memory_format=torch.channels_last).eval(), settings


@pytest.fixture
def small() -> tuple[RetinaNet, Settings]:
    return make_small()
