"""Files of format 1, written by the version that had it: they load and predict as they did."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.models.conftest import make_small

import foveal
from foveal.checkpoints import model_file
from foveal.checkpoints.anchor_order import OUTPUT_LAYER, to_ratio_major
from foveal.checkpoints.description import Export, describe, from_json, to_json
from foveal.checkpoints.starting import load_start, read_start
from foveal.config import AnchorSettings, Settings
from foveal.errors import ModelFileError
from foveal.structures import DEFAULT_SCORE_THRESHOLD, ModelCard

OLD = Path(__file__).with_name("old")
TORCHVISION = {
    "offset": 0.0,
    "rounding": "torchvision",
    "order": "ratio-major",
    "stride_from": "feature_size",
}
CLASSES = ("red cell", "white cell", "Plättchen")


def old(name: str) -> str:
    return (OLD / f"format1_{name}.json").read_text(encoding="utf-8")


def test_notes_of_a_trained_model_become_its_card() -> None:
    card = from_json(old("trained"), where="x").card
    assert card.classes == CLASSES
    assert (card.score_threshold, card.threshold_is_chosen) == (0.35, True)
    assert card.ignored_classes == ("DontCare",)
    assert card.metrics["AP"] == 0.6
    assert math.isnan(card.metrics["AP50"])
    assert card.epoch == 7


def test_numbers_among_the_notes_are_metrics_and_what_is_foreign_is_kept() -> None:
    description = from_json(old("last_epoch"), where="x")
    assert description.card.metrics == {"AP": 0.3, "AP50": 0.5}
    assert description.card.epoch == 2
    assert description.card.score_threshold == DEFAULT_SCORE_THRESHOLD
    assert not description.card.threshold_is_chosen
    assert description.record["notes"] == {"mine": "kept"}


def test_an_imported_model_says_where_it_came_from() -> None:
    card = from_json(old("imported"), where="x").card
    assert card.origin == "imported: torchvision, x.pth"


def test_settings_are_those_of_the_file() -> None:
    before = json.loads(old("trained"))["settings"]
    description = from_json(old("trained"), where="x")
    for name in ("model", "preparation"):
        settings = json.loads(getattr(description, name).model_dump_json())
        assert {key: settings[key] for key in before[name]} == before[name]
    assert description.decoding.max_detections == before["decoding"]["most"]
    assert description.decoding.score_threshold == before["decoding"]["threshold"]
    assert list(description.anchors.sizes) == before["anchors"]["sizes"]
    assert description.record["training"]["ema_decay"] == before["training"]["average"]
    assert description.record["assignment"]["foreground_iou"] == before["assignment"]["object_iou"]
    assert description.record["loss"]["box"] == before["loss"]["box"].replace(" ", "_")


def test_a_file_with_8_bit_ranges_of_its_own_engine_loads_and_forgets_them(tmp_path: Path) -> None:
    model, _ = make_small()
    document = json.loads(old("trained")) | {"int8": {"fpn.lateral.0": {"low": 0, "high": 1}}}
    path = tmp_path / "old.safetensors"
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, {"foveal": json.dumps(document)})
    loaded = model_file.load(path)
    images = torch.arange(3 * 64 * 64).remainder(251).to(torch.uint8).view(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = model(images), loaded.model(images)
    assert all(map(torch.equal, found.logits + found.deltas, expected.logits + expected.deltas))
    assert "int8" not in loaded.record


def old_anchors(**switches: Any) -> dict[str, Any]:
    """The section of a file that had four switches of the anchors."""
    document = json.loads(old("trained"))["settings"]["anchors"]
    return document | switches


@pytest.mark.parametrize(
    ("switches", "compat"),
    [
        ({}, "none"),
        ({"order": "ratio-major"}, "none"),
        (TORCHVISION, "torchvision"),
        (TORCHVISION | {"order": "size-major"}, "torchvision"),
        (TORCHVISION | {"stride_from": "feature size"}, "torchvision"),
        ({"offset": 0.25}, (0.25, False, False)),
        (TORCHVISION | {"rounding": "none"}, (0.0, False, True)),
        ({"rounding": "torchvision"}, (0.5, True, False)),
    ],
)
def test_four_switches_of_the_anchors_become_one(switches: dict[str, Any], compat: object) -> None:
    document = json.loads(old("trained"))
    document["settings"]["anchors"] = old_anchors(**switches)
    anchors = from_json(json.dumps(document), where="x").anchors
    assert anchors.compat == compat
    assert anchors.scales == AnchorSettings().scales


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("overrides", [(), ("model.head_depthwise=true",)])
def test_weights_for_anchors_in_torchvisions_order_are_permuted(
    version: int, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    overrides += ("anchors.compat=torchvision", "anchors.ratios=[0.5,2.0]")
    model, settings = make_small(*overrides)
    torch.nn.init.normal_(list(model.box.output.parameters())[-1])
    anchors = old_anchors(**TORCHVISION, ratios=[0.5, 2.0])
    if version == 1:
        document = json.loads(old("trained"))
        document["settings"]["anchors"] = anchors
        document["settings"]["model"] = settings.model.model_dump()
    else:
        document = json.loads(to_json(describe(settings, ModelCard(CLASSES)))) | {
            "anchors": anchors
        }
    state = {
        name: to_ratio_major(value, scales=3, ratios=2) if OUTPUT_LAYER.search(name) else value
        for name, value in model.state_dict().items()
    }
    assert sum(OUTPUT_LAYER.search(name) is not None for name in state) == 4
    state = {name: value.contiguous() for name, value in state.items()}
    save_file(state, tmp_path / "old.safetensors", {"foveal": json.dumps(document)})
    loaded = model_file.load(tmp_path / "old.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
    assert loaded.model.grid == model.grid
    other, _ = make_small(*overrides)
    assert load_start(other, read_start(tmp_path / "old.safetensors"), CLASSES) == ()
    assert torch.equal(list(other.box.parameters())[-1], list(model.box.parameters())[-1])


def test_weights_that_do_not_fit_the_old_anchors(tmp_path: Path) -> None:
    model, _ = make_small()
    document = json.loads(old("trained"))
    document["settings"]["anchors"] = old_anchors(**TORCHVISION, scales=[1.0, 1.2, 1.4, 1.6, 1.8])
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "old.safetensors", {"foveal": json.dumps(document)})
    with pytest.raises(ModelFileError, match="its tensors don't fit its anchors"):
        model_file.load(tmp_path / "old.safetensors")


def test_an_export_with_another_order_of_anchors_is_refused() -> None:
    export = Export("float32", nms=False, height=None, width=None, batch=None, float_layers=())
    description = describe(Settings(), ModelCard(CLASSES)).exported_as(export)
    document = json.loads(to_json(description)) | {"anchors": old_anchors(**TORCHVISION)}
    with pytest.raises(ModelFileError, match=r"x\.xml: was exported by an earlier version"):
        from_json(json.dumps(document), where="x.xml")
    document["anchors"]["ratios"] = [1.0]  # one ratio: both orders are the same
    assert from_json(json.dumps(document), where="x.xml").anchors.compat == "torchvision"
    document["anchors"] = old_anchors(**TORCHVISION)
    document["export"]["nms"] = True  # anchors and weights are inside
    assert from_json(json.dumps(document), where="x.xml").anchors.compat == "torchvision"


def test_the_trained_model_of_the_first_edition_finds_what_it_found(shared: Path) -> None:
    """Expected: what the version that wrote the file found in float32, scores above 0.5."""
    detector = foveal.load(shared / "models" / "bccd_light_format1.safetensors")
    image = shared / "data" / "bccd" / "JPEGImages" / "BloodImage_00007.jpg"
    expected = [
        (0.9958, 2, [201.05, 82.95, 417.32, 282.52]),
        (0.8459, 1, [21.48, 294.42, 134.51, 396.13]),
        (0.7202, 1, [496.17, 166.78, 611.88, 300.29]),
        (0.7126, 1, [538.37, 378.23, 640.0, 476.31]),
        (0.7021, 1, [510.35, 30.5, 628.14, 149.78]),
        (0.6556, 1, [496.27, 300.67, 606.63, 400.29]),
        (0.6194, 1, [172.32, 271.46, 274.41, 385.0]),
        (0.6072, 0, [194.68, 2.28, 245.54, 49.12]),
        (0.5699, 1, [31.44, 139.74, 134.36, 233.95]),
        (0.509, 1, [335.32, 306.41, 467.14, 429.81]),
    ]
    found = detector.predictor(score_threshold=0.5, precision="float32").detect(image)
    scores, labels, boxes = zip(*expected, strict=True)
    np.testing.assert_allclose(found.scores, scores, atol=2e-3)
    assert found.labels.tolist() == list(labels)
    np.testing.assert_allclose(found.boxes, boxes, atol=0.1)
    assert detector.card.metrics["AP"] == pytest.approx(0.5968, abs=1e-4)
