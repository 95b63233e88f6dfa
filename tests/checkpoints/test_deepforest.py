"""Models of DeepForest, beside a forward pass in plain torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.checkpoints import plain_network as plain
from torch import Tensor

from foveal.checkpoints import deepforest, torchvision
from foveal.checkpoints.foreign_files import ForeignFile
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import find_source, import_model
from foveal.errors import WeightsError

NAMES = plain.Names(
    lateral=[f"backbone.fpn.inner_blocks.{number}.0" for number in range(3)],
    output=[f"backbone.fpn.layer_blocks.{number}.0" for number in range(3)],
    p6="backbone.fpn.extra_blocks.p6",
    p7="backbone.fpn.extra_blocks.p7",
    towers={
        "scores": [f"head.classification_head.conv.{number}.0" for number in range(4)],
        "boxes": [f"head.regression_head.conv.{number}.0" for number in range(4)],
    },
    scores="head.classification_head.cls_logits",
    boxes="head.regression_head.bbox_reg",
)
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


def shapes(network: str = "resnet50", *, classes: int = 2) -> plain.Shapes:
    body = plain.resnet_shapes(network, prefix="backbone.body.", norms=plain.FROZEN)
    return body | plain.layer_shapes(
        NAMES, plain.c_channels(network), classes=classes, width=256, p6_from_c5=False
    )


@pytest.fixture(scope="module")
def small() -> plain.State:
    """Without values, which most tests need not."""
    return plain.random_state(shapes("resnet18"), device="meta")


def anchors(height: int, width: int) -> Tensor:
    """torchvision's: of each location ratio by ratio, from its corner, in whole pixels."""
    boxes = []
    for level in range(3, 8):
        rows, columns = (-(-side // 2**level) for side in (height, width))
        steps = height // rows, width // columns
        kinds = []
        for ratio in (0.5, 1.0, 2.0):
            for size in (2 ** (level + 2) * 2 ** (third / 3) for third in range(3)):
                side = torch.tensor(float(int(size + 1e-6)))
                root = torch.tensor(ratio).sqrt()
                w, h = side / root, side * root
                kinds.append(torch.stack([-w, -h, w, h]).div(2).round())
        for y in range(rows):
            for x in range(columns):
                corner = torch.tensor([x * steps[1], y * steps[0]] * 2)
                boxes += [corner + kind for kind in kinds]
    return torch.stack(boxes)


def test_the_raw_output_is_the_same(tmp_path: Path) -> None:
    """A folder of the hub; with eps 0 the output differs."""
    weights = plain.random_state(shapes("resnet18"))
    for key, value in weights.items():
        if key.endswith("running_var"):
            value.mul_(1e-3)  # so that eps matters
        if len(value.shape) == 1 and key.endswith("weight"):
            value.mul_(0.03)
    from safetensors.torch import save_file

    save_file(
        {f"model.{key}": value for key, value in weights.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(HUB["config"]))
    imported = import_model(tmp_path)
    assert imported.source == "deepforest"
    image, seen = plain.padded_input(*plain.SIZES[1])
    for eps in (0.0, 1e-5):
        with torch.inference_mode():
            maps = plain.resnet(seen, weights, prefix="backbone.body.", eps=eps)
            scores, boxes = plain.outputs(weights, NAMES, maps, p6_from_c5=False)
        expected = {
            "logits": plain.in_our_order(plain.by_anchor(scores, 2)),
            "deltas": plain.in_our_order(plain.by_anchor(boxes, 4)),
            "anchors": plain.in_our_order(anchors(*seen.shape[-2:])),
        }
        if eps == 0.0:
            with pytest.raises(AssertionError):
                plain.assert_same(imported, image, **expected)
        else:
            plain.assert_same(imported, image, **expected)
    card, settings = imported.loaded.card, imported.loaded.settings
    assert card.classes == ("Alive", "Dead")
    assert (card.score_threshold, card.scale) == (0.1, 2.0)
    assert (settings.decoding.nms_iou, settings.decoding.max_detections) == (0.05, 300)
    assert (settings.preparation.shorter, settings.preparation.longer) == (800, 1333)


def test_no_channel_is_background(small: plain.State) -> None:
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
def test_the_eps_of_each_kind_is_said(
    values: dict[str, object], eps: float, small: plain.State
) -> None:
    file = ForeignFile(Path("c.ckpt"), small, values)
    assert deepforest.recognize(file) is not None
    converted = deepforest.convert(file, ImportOptions())
    assert converted.settings.model.norm_eps == eps
    assert f"eps of its norms is taken to be {'1e-5' if eps else '0'}" in converted.notes[0]
    told = deepforest.convert(file, ImportOptions(overrides=("model.norm_eps=0.5",)))
    assert told.settings.model.norm_eps == 0.5
    assert not any("eps of its norms" in note for note in told.notes)


def test_thresholds_and_limits_are_the_files(small: plain.State) -> None:
    converted = deepforest.convert(ForeignFile(Path("c.ckpt"), small, trained()), ImportOptions())
    assert (converted.score_threshold, converted.scale) == (0.1, 2.0)
    assert converted.settings.decoding.max_detections == 200
    before = trained(score_thresh=None, retinanet={"score_thresh": 0.3}, nms_thresh=0.2)
    converted = deepforest.convert(ForeignFile(Path("c.ckpt"), small, before), ImportOptions())
    assert converted.score_threshold == 0.3
    assert converted.settings.decoding.nms_iou == 0.2


def test_a_trainings_metrics_are_left_out(small: plain.State) -> None:
    state = {f"model.{key}": value for key, value in small.items()} | {
        "iou_metric.x": torch.zeros(1),
        "mAP_metric.y": torch.zeros(1),
    }
    file = ForeignFile(Path("c.ckpt"), state)
    assert deepforest.recognize(file) == "torchvision's names and iou_metric.x are there"
    converted = deepforest.convert(file, ImportOptions(classes=("a", "b")))
    assert set(converted.unused) == {"iou_metric.x", "mAP_metric.y"}
    assert converted.classes == ("a", "b")


def test_weights_alone_are_taken_for_torchvisions_unless_people_say_so(small: plain.State) -> None:
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
    values: dict[str, object], options: ImportOptions, message: str, small: plain.State
) -> None:
    file = ForeignFile(Path("c.ckpt"), small, values)
    assert deepforest.recognize(file) is not None
    with pytest.raises(WeightsError, match=message):
        deepforest.convert(file, options)
