"""Settings become the network that they describe, or a clear error."""

from __future__ import annotations

import logging

import pytest
import torch
from tests.models.conftest import SMALL, make_small

from foveal.config import make_settings
from foveal.errors import SettingsError
from foveal.models.build import build_model


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.bands=4"], "preparation.mean has 3 values and model.bands is 4"),
        (["anchors.strides=[4, 16, 32, 64, 128]"], "the pyramid has strides 8, 16, 32"),
        (["anchors.strides=[8, 16]", "anchors.sizes=[32, 64]"], "at least up to 32"),
        (["model.head_norm=group", "model.head_channels=48"], "multiple of 32"),
        (["model.head_bias_before_norm=true"], "there is no norm"),
        (["model.backbone=resnet"], "no such network"),
        (["model.frozen_stages=9"], "has 5 stages"),
    ],
)
def test_contradictions(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_model(make_settings(preset="retinanet", overrides=[*SMALL, *overrides]), 3)


def test_no_classes() -> None:
    with pytest.raises(SettingsError, match="at least one"):
        build_model(make_settings(preset="retinanet", overrides=SMALL), 0)


def test_the_memory_is_channels_last() -> None:
    model, _ = make_small()
    weight = model.fpn.output[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("override", "advice"),
    [("model.norm=frozen", "model.norm=group"), ("model.frozen_stages=2", "frozen_stages=0")],
)
def test_what_is_frozen_without_weights_is_warned_of(
    override: str, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(preset="retinanet", overrides=[*SMALL, override])
    with caplog.at_level(logging.WARNING):
        build_model(settings, 3, empty=True)
        assert not caplog.records
        build_model(settings, 3)
    assert advice in caplog.text
    assert len(caplog.records) == 1


def test_every_anchor_setting_arrives() -> None:
    anchors = make_settings(preset="torchvision").anchors
    grid = build_model(
        make_settings(preset="torchvision", overrides=["model.weights=none"]), 2, empty=True
    ).grid
    assert {name: getattr(grid, name) for name in type(anchors).model_fields} == {
        name: getattr(anchors, name) for name in type(anchors).model_fields
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.box_coding=distances"], r"one square anchor a location.*anchors.ratios=\[1\]"),
        (
            ["model.box_coding=distances", "anchors.scales=[1]", "anchors.ratios=[2]"],
            r"the ratios \[2.0\]",
        ),
        (["model.box_bins=17"], "expected 0, or at least 2 .* --set model.box_coding=distances"),
        (["model.box_coding=distances", "model.box_bins=1"], "box_bins is 1 and"),
    ],
)
def test_distances_are_of_one_square_anchor(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_settings(preset="retinanet", overrides=[*SMALL, *overrides])
