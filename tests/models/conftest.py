"""A small network for tests."""

from __future__ import annotations

import pytest
import torch

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
    settings = make_settings(overrides=[*SMALL, *overrides])
    torch.manual_seed(0)
    return build_model(settings, classes).eval(), settings


@pytest.fixture
def small() -> tuple[RetinaNet, Settings]:
    return make_small()
