"""Weights of classes: from the settings to the criterion, and what they change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.training.conftest import make_fake_batch, tiny_settings

from foveal.config import make_settings, to_toml
from foveal.errors import SettingsError
from foveal.models.build import build_model
from foveal.training.setup import make_criterion, resolve_class_weights

CLASSES = ("red", "green")


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({}, None),
        ({"green": 2.0}, (1.0, 2.0)),
        ({"green": 1.0}, None),
        ((), None),
        ((3.0, 1.0), (3.0, 1.0)),
    ],
)
def test_by_name_and_in_order(weights, expected):
    assert resolve_class_weights(weights, CLASSES) == expected


def test_what_does_not_fit_names_the_classes():
    with pytest.raises(SettingsError, match=r"'blue' is none of the classes.*red, green"):
        resolve_class_weights({"blue": 2.0}, CLASSES)
    with pytest.raises(SettingsError, match=r"3 values for 2 classes: red, green"):
        resolve_class_weights((1.0, 2.0, 3.0), CLASSES)


@pytest.mark.parametrize(
    "override", ["loss.class_weights={green = 2.0}", "loss.class_weights=[1, 2]"]
)
def test_they_are_set_and_shown(override, tmp_path):
    settings = make_settings(overrides=[override])
    assert make_criterion(settings, CLASSES).class_weights == (1.0, 2.0)
    file = tmp_path / "settings.toml"
    file.write_text(to_toml(settings))
    assert make_settings(file=file) == settings
    with pytest.raises(SettingsError):
        make_settings(overrides=["loss.class_weights={green = 0}"])


def test_only_the_classification_of_the_class_weighs_more():
    torch.manual_seed(0)
    model = build_model(tiny_settings(), 2)
    batch = make_fake_batch(3)
    raw, anchors = model(batch.images), model.anchors(64, 64)
    plain, heavy = (
        make_criterion(tiny_settings(*more), CLASSES)
        for more in ((), ("loss.class_weights={red = 3.0}",))
    )
    before, after = plain(raw, anchors, batch), heavy(raw, anchors, batch)
    assert torch.equal(before.box, after.box)
    columns = [
        replace(plain, class_weights=weights)(raw, anchors, batch).classification
        for weights in ((1.0, 0.0), (0.0, 1.0))
    ]
    torch.testing.assert_close(after.classification, 3 * columns[0] + columns[1])
    torch.testing.assert_close(before.classification, columns[0] + columns[1])
