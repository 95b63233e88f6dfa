"""Files of format 1, written by the version that had it: they load and predict as they did."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.models.conftest import make_small

import foveal
from foveal.checkpoints import model_file
from foveal.checkpoints.description import from_json
from foveal.structures import DEFAULT_SCORE_THRESHOLD

OLD = Path(__file__).with_name("old")
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
        assert json.loads(getattr(description, name).model_dump_json()) == before[name]
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
