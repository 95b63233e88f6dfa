"""Models of DeepForest, beside a forward pass in plain torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.checkpoints import plain_networks
from tests.checkpoints.imports import (
    SIZES,
    image_of,
    is_equal,
    own_output,
    ratio_major_as_ours,
)
from tests.checkpoints.make_shapes import KINDS
from tests.checkpoints.make_shapes import torchvision as torchvision_shapes
from tests.checkpoints.plain_networks import State, random_state

from foveal.checkpoints import deepforest, torchvision
from foveal.checkpoints.foreign_files import ForeignFile
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import find_source, import_model
from foveal.errors import WeightsError

LABELS = {"Dead": 1, "Alive": 0}
HUB = {"config": {"architecture": "retinanet", "label_dict": LABELS, "num_classes": 2}}


def trained(**changes: object) -> dict[str, object]:
    """What a training of 2.x keeps of its configuration."""
    config = {
        "architecture": "retinanet",
        "label_dict": None,
        "nms_thresh": 0.05,
        "score_thresh": 0.1,
        "detections_per_img": 200,
        "model": {"name": "weecology/deepforest-tree", "revision": "main"},
    }
    return {"label_dict": LABELS, "hyper_parameters": {"config": config | changes}}


@pytest.fixture(scope="module")
def small() -> State:
    """Without values, which most tests need not."""
    with torch.device("meta"):
        shapes = torchvision_shapes(KINDS["r18"], classes=2)
        return {name: torch.empty(sides) for name, sides in shapes.items()}


def test_the_output_is_the_same(tmp_path: Path) -> None:
    """A folder of the hub; with eps 0 the output differs."""
    weights = random_state(torchvision_shapes(KINDS["r50"], classes=2))
    for key, value in weights.items():
        if key.endswith("running_var"):
            value.mul_(1e-3)  # so that eps matters
        if len(value.shape) == 1 and key.endswith("weight"):
            value.mul_(0.03)
    save_file(
        {f"model.{key}": value for key, value in weights.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(HUB["config"]))
    imported = import_model(tmp_path)
    assert imported.source == "deepforest"
    for size in SIZES:
        image = image_of(*size)
        own = own_output(imported.loaded, image)
        for eps in (1e-5, 0.0):
            expected = plain_networks.torchvision(weights, image, KINDS["r50"], eps=eps)
            assert is_equal(own, ratio_major_as_ours(expected)) == (eps > 0)
    card, settings = imported.loaded.card, imported.loaded.settings
    assert card.classes == ("Alive", "Dead")
    assert (card.score_threshold, card.scale) == (0.1, 2.0)
    assert (settings.decoding.nms_iou, settings.decoding.max_detections) == (0.05, 300)
    assert (settings.preparation.shorter, settings.preparation.longer) == (800, 1333)


def test_no_channel_is_background(small: State) -> None:
    """torchvision's importer would take the first one for it."""
    file = ForeignFile(Path("c.safetensors"), small, HUB)
    source, _, others = find_source(file)
    assert (source, others) == ("deepforest", {})
    converted = deepforest.convert(file, ImportOptions())
    assert converted.classes == ("Alive", "Dead")
    assert converted.state["classification.output.bias"].shape == (18,)
    trap = torchvision.convert(file, ImportOptions())
    assert trap.state["classification.output.bias"].shape == (9,)


@pytest.mark.parametrize(
    ("values", "eps"),
    [
        (HUB, 1e-5),
        ({"config": {"label_dict": {"Tree": 0, "Bird": 1}, "model": None}}, 1e-5),
        ({"label_dict": LABELS}, 0.0),
        ({"hyper_parameters": {"config": {"label_dict": LABELS, "num_classes": 2}}}, 0.0),
        (trained(), 1e-5),
        (trained(model={"name": None}), 0.0),
        (trained(score_thresh=None, retinanet={"score_thresh": 0.3}), 0.0),
    ],
)
def test_the_eps_of_each_kind_is_said(values: dict[str, object], eps: float, small: State) -> None:
    file = ForeignFile(Path("c.ckpt"), small, values)
    assert deepforest.recognize(file) is not None
    converted = deepforest.convert(file, ImportOptions())
    assert converted.settings.model.norm_eps == eps
    assert f"eps of its norms is taken to be {'1e-5' if eps else '0'}" in converted.notes[0]
    told = deepforest.convert(file, ImportOptions(overrides=("model.norm_eps=0.5",)))
    assert told.settings.model.norm_eps == 0.5
    assert not any("eps of its norms" in note for note in told.notes)


def test_thresholds_and_limits_are_the_files(small: State) -> None:
    converted = deepforest.convert(ForeignFile(Path("c.ckpt"), small, trained()), ImportOptions())
    assert (converted.score_threshold, converted.scale) == (0.1, 2.0)
    assert converted.settings.decoding.max_detections == 200
    before = trained(score_thresh=None, retinanet={"score_thresh": 0.3}, nms_thresh=0.2)
    converted = deepforest.convert(ForeignFile(Path("c.ckpt"), small, before), ImportOptions())
    assert converted.score_threshold == 0.3
    assert converted.settings.decoding.nms_iou == 0.2


def test_a_trainings_metrics_are_left_out(small: State) -> None:
    state = {f"model.{key}": value for key, value in small.items()} | {
        "iou_metric.x": torch.zeros(1),
        "mAP_metric.y": torch.zeros(1),
    }
    file = ForeignFile(Path("c.ckpt"), state)
    assert deepforest.recognize(file) == "torchvision's names and iou_metric.x are there"
    converted = deepforest.convert(file, ImportOptions(classes=("a", "b")))
    assert set(converted.unused) == {"iou_metric.x", "mAP_metric.y"}
    assert converted.classes == ("a", "b")


def test_weights_alone_are_taken_for_torchvisions_unless_people_say_so(small: State) -> None:
    file = ForeignFile(Path("NEON.pt"), small)
    assert find_source(file)[0] == "torchvision"
    source, reason, others = find_source(file, "deepforest")
    assert (source, set(others)) == ("deepforest", {"torchvision"})
    assert "and you say so" in reason
    assert deepforest.convert(file, ImportOptions()).classes == ("class 0", "class 1")
    other = ForeignFile(Path("x.pt"), {"fpn.P7_2.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="deepforest"):
        find_source(other, "deepforest")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (
            {"config": {"architecture": "DeformableDetr", "label_dict": LABELS}},
            ImportOptions(),
            "is DeepForest's 'DeformableDetr'. Expected its architecture 'retinanet'",
        ),
        ({"label_dict": {"a": 1, "b": 2}}, ImportOptions(), r"\(a: 1, b: 2\). Expected 0, 1, 2"),
        ({"label_dict": {"a": 0, "b": 1, "c": 2}}, ImportOptions(), "2 class channels .* 3 names"),
        (HUB, ImportOptions(classes=("a",)), "2 class channels and there are 1 names"),
        (HUB, ImportOptions(background=True), "class layers have no background channel"),
    ],
)
def test_what_does_not_fit(
    values: dict[str, object], options: ImportOptions, message: str, small: State
) -> None:
    file = ForeignFile(Path("c.ckpt"), small, values)
    assert deepforest.recognize(file) is not None
    with pytest.raises(WeightsError, match=message):
        deepforest.convert(file, options)
