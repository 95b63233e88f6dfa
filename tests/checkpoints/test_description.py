"""What a file says of its model: there and back, and every mistake named."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from foveal.checkpoints.description import (
    FORMAT_VERSION,
    Description,
    Export,
    describe,
    from_json,
    to_json,
)
from foveal.config import Settings, make_settings
from foveal.errors import DataError, ModelFileError
from foveal.structures import DEFAULT_SCORE_THRESHOLD, DetectionProfile, ModelCard

CARD = ModelCard(
    ("red cell", "Plättchen"),
    score_threshold=0.41,
    threshold_is_chosen=True,
    ignored_classes=("DontCare",),
    metrics={"AP": 0.5, "AP50": 0.75},
    epoch=12,
    origin="imported: torchvision, a.pth",
    profile=DetectionProfile(4, 0.41, (0,) * 9 + (3,), (0,) * 15 + (3,), (1, 2)),
)


def described(**settings: str) -> Description:
    overrides = [f"{name.replace('__', '.')}={value}" for name, value in settings.items()]
    return describe(make_settings(overrides=overrides), CARD)


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(to_json(described())) | changes)


@pytest.mark.parametrize("preset", ["standard", "light", "torchvision"])
def test_everything_comes_back(preset: str) -> None:
    description = describe(make_settings(preset=preset), CARD)
    assert from_json(to_json(description), where="x") == description


def test_what_was_exported_says_how() -> None:
    export = Export(precision="int8", nms=True, height=320, width=416, float_layers=("a", "b"))
    description = described().exported_as(export)
    assert from_json(to_json(description), where="x").export == export
    assert from_json(to_json(described()), where="x").export is None


def test_numbers_that_are_none_are_valid_json() -> None:
    """Other programs read the document too, and NaN is no JSON."""
    card = replace(CARD, metrics={"AP": math.nan})
    text = to_json(describe(Settings(), card))
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert math.isnan(from_json(text, where="x").card.metrics["AP"])


def test_a_file_from_before_there_were_profiles_has_none() -> None:
    document = json.loads(to_json(described()))
    del document["card"]["profile"]
    read = from_json(json.dumps(document), where="x").card
    assert read == replace(CARD, profile=None)


def test_a_profile_of_other_classes_is_refused() -> None:
    document = json.loads(to_json(described()))
    document["card"]["profile"]["classes"] = [1]
    with pytest.raises(ModelFileError, match="a profile of 1 classes, expected 2"):
        from_json(json.dumps(document), where="x")


def test_settings_have_the_parts_that_prediction_needs() -> None:
    description = described(
        model__backbone="resnet18",
        anchors__compat="[0.25, false, true]",
        decoding__max_detections="7",
        training__epochs="3",
    )
    settings = from_json(to_json(description), where="x").settings()
    assert settings.model.backbone == "resnet18"
    assert settings.anchors.compat == (0.25, False, True)
    assert settings.decoding.max_detections == 7
    assert settings.training == Settings().training
    assert description.record["training"]["epochs"] == 3


def test_a_card_has_the_one_default_threshold() -> None:
    assert ModelCard(("a",)).score_threshold == DEFAULT_SCORE_THRESHOLD
    assert not ModelCard(("a",)).threshold_is_chosen


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ()}, "at least one"),
        ({"classes": ("a", "b", "a")}, "none of them twice"),
        ({"classes": ("a",), "score_threshold": 1.5}, "expected 0 to 1"),
    ],
)
def test_a_card_that_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ModelCard(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ("[1]", "can't be read"),
        ('{"classes": []}', "can't be read"),
        (changed(version=FORMAT_VERSION + 1), "format version 3, expected 1 to 2"),
        (changed(model={"bands": "three"}), r"model\.bands: "),
        (changed(extra=1), "extra: Extra inputs"),
        (changed(record=None), "record: "),
        (changed(export={"precision": "int4"}), r"export\.precision: "),
        ('{"version": 1}', "incomplete"),
        ('{"version": 1, "settings": {}, "notes": {}, "classes": ["a"]}', "incomplete"),
    ],
)
def test_a_document_that_is_wrong_names_the_file_and_the_place(text: str, message: str) -> None:
    with pytest.raises(ModelFileError, match=rf"cells\.onnx: .*{message}"):
        from_json(text, where="cells.onnx")


def test_reading_one_loads_no_torch() -> None:
    code = (
        "import sys, foveal.checkpoints.description, foveal.checkpoints.finding\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
