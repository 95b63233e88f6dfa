"""Checkpoints of yhenon's RetinaNet, beside a forward pass in plain torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.checkpoints import plain_network as plain
from torch import Tensor, nn

from foveal.checkpoints import yhenon
from foveal.checkpoints.coco_names import COCO_DETECTION_NAMES
from foveal.checkpoints.foreign_files import ForeignFile, read_foreign
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import import_model
from foveal.errors import WeightsError
from foveal.models.build import build_model

FACTORS = (0.1, 0.1, 0.2, 0.2)
NAMES = plain.Names(
    lateral=[f"fpn.P{level}_1" for level in (3, 4, 5)],
    output=[f"fpn.P{level}_2" for level in (3, 4, 5)],
    p6="fpn.P6",
    p7="fpn.P7_2",
    towers={
        "scores": [f"classificationModel.conv{number}" for number in (1, 2, 3, 4)],
        "boxes": [f"regressionModel.conv{number}" for number in (1, 2, 3, 4)],
    },
    scores="classificationModel.output",
    boxes="regressionModel.output",
)


def shapes(network: str, *, classes: int = 4, width: int = 16) -> plain.Shapes:
    return plain.resnet_shapes(network, prefix="", norms=plain.LIVE) | plain.layer_shapes(
        NAMES, plain.c_channels(network), classes=classes, width=width
    )


@pytest.fixture(scope="module")
def state() -> plain.State:
    return plain.random_state(shapes("resnet18"))


def anchors(height: int, width: int) -> Tensor:
    """Of each location ratio by ratio, scale by scale; centers in the middle of cells."""
    boxes = []
    for level in range(3, 8):
        stride, size = 2**level, 2 ** (level + 2)
        for y in range(-(-height // stride)):
            for x in range(-(-width // stride)):
                for ratio in (0.5, 1, 2):
                    for scale in (1, 2 ** (1 / 3), 2 ** (2 / 3)):
                        w = size * scale / ratio**0.5
                        center = (x + 0.5) * stride, (y + 0.5) * stride
                        half = w / 2, w * ratio / 2
                        low = [place - side for place, side in zip(center, half, strict=True)]
                        high = [place + side for place, side in zip(center, half, strict=True)]
                        boxes.append([*low, *high])
    return torch.tensor(boxes)


@pytest.mark.parametrize(
    ("network", "size"), [("resnet18", plain.SIZES[1]), ("resnet50", plain.SIZES[0])]
)
def test_the_raw_output_is_the_same(network: str, size: tuple[int, int], tmp_path: Path) -> None:
    weights = plain.random_state(shapes(network))
    assert len(weights) == {"resnet18": 156, "resnet50": 354}[network]
    torch.save(weights, tmp_path / "c.pt")
    imported = import_model(tmp_path / "c.pt")
    assert (imported.source, imported.reason) == ("yhenon", "fpn.P7_2.weight is there")
    image, seen = plain.padded_input(*size)
    with torch.inference_mode():
        maps = plain.resnet(seen, weights, prefix="", eps=1e-5)
        scores, boxes = plain.outputs(weights, NAMES, maps)
    plain.assert_same(
        imported,
        image,
        logits=plain.in_our_order(plain.by_anchor(scores, 4)),
        deltas=plain.in_our_order(plain.by_anchor(boxes, 4)),
        anchors=plain.in_our_order(anchors(*seen.shape[-2:])),
        factors=FACTORS,
    )
    settings = imported.loaded.settings
    assert (settings.preparation.shorter, settings.preparation.longer) == (608, 1024)
    assert imported.loaded.card.classes == ("class 0", "class 1", "class 2", "class 3")
    assert "at most 100" in " ".join(imported.notes)


def as_module(state: plain.State) -> nn.Module:
    """A module that has these tensors under these names."""
    root = nn.Module()
    for name, value in state.items():
        *path, last = name.split(".")
        here = root
        for part in path:
            if part not in here._modules:
                here.add_module(part, nn.Module())
            here = here.get_submodule(part)
        if last in ("weight", "bias"):
            here.register_parameter(last, nn.Parameter(value))
        else:
            here.register_buffer(last, value)
    return root


def test_whole_modules(state: plain.State, tmp_path: Path) -> None:
    """Its training saves the module itself, at the end with DataParallel around it."""
    torch.save(as_module(state), tmp_path / "csv_retinanet_3.pt")
    torch.save(nn.DataParallel(as_module(state)), tmp_path / "model_final.pt")
    for name in ("csv_retinanet_3.pt", "model_final.pt"):
        file = read_foreign(tmp_path / name)
        converted = yhenon.convert(file, ImportOptions())
        assert len(file.tensors) == len(state)
        assert torch.equal(converted.state["backbone.body.conv1.weight"], state["conv1.weight"])
        assert converted.unused == ()


def test_a_wrong_order_or_factor_would_be_seen(state: plain.State) -> None:
    converted = yhenon.convert(ForeignFile(Path("c.pt"), state), ImportOptions())
    box = state["regressionModel.output.bias"].reshape(3, 3, 4)
    expected = (box.transpose(0, 1) * torch.tensor(FACTORS)).flatten()
    torch.testing.assert_close(converted.state["box.output.bias"], expected)
    assert not torch.allclose(expected, box.flatten() * torch.tensor(FACTORS * 9))
    scores = state["classificationModel.output.bias"].reshape(3, 3, 4)
    assert torch.equal(
        converted.state["classification.output.bias"], scores.transpose(0, 1).flatten()
    )


@pytest.mark.parametrize("network", ["resnet34", "resnet152"])
def test_names_and_shapes_of_larger_networks(network: str) -> None:
    weights = plain.random_state(shapes(network, classes=80, width=256), device="meta")
    converted = yhenon.convert(ForeignFile(Path("c.pt"), weights), ImportOptions())
    assert converted.settings.model.backbone == network
    assert converted.classes == COCO_DETECTION_NAMES
    with torch.device("meta"):
        own = build_model(converted.settings, 80, empty=True).state_dict()
    found = {
        key: value.shape
        for key, value in converted.state.items()
        if not key.endswith("num_batches_tracked")
    }
    assert found == {key: own[key].shape for key in own if key not in ("mean", "std")}
    assert {converted.foreign_name(key) for key in found} == {
        key for key in weights if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("prefix", ["", "module.", "module.net."])
def test_prefixes_and_what_is_beside(prefix: str, state: plain.State) -> None:
    named = {prefix + key: value for key, value in state.items()}
    named[f"{prefix}fc.weight"] = torch.zeros(2, 2)
    if prefix:
        named["focalLoss.x"] = torch.zeros(1)
    converted = yhenon.convert(ForeignFile(Path("c.pt"), named), ImportOptions())
    assert set(converted.unused) == {"fc.weight", *(["focalLoss.x"] if prefix else [])}
    assert torch.equal(converted.state["backbone.body.conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"regressionModel.output.bias": torch.zeros(26)}, {}, "gives 26 values at each location"),
        (
            {
                "regressionModel.output.bias": torch.zeros(60),
                "classificationModel.output.bias": torch.zeros(60),
            },
            {},
            "has 15 anchors at each location. Expected 9",
        ),
        ({"classificationModel.output.bias": None}, {}, "has no classificationModel.output"),
        ({"layer3.1.conv1.weight": None}, {}, r"its backbone has \(2, 2, 1, 2\) blocks"),
        ({}, {"classes": ("a", "b", "c")}, "has 4 classes and there are 3 names"),
        ({}, {"background": True}, "class layers have no background channel"),
    ],
)
def test_what_does_not_fit(
    change: dict[str, Tensor | None], options: dict[str, object], message: str, state: plain.State
) -> None:
    changed = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        yhenon.convert(ForeignFile(Path("c.pt"), changed), ImportOptions(**options))


def test_other_networks_are_not_taken_for_it() -> None:
    for key in ("backbone.body.conv1.weight", "layer1.0.conv1.weight"):
        assert yhenon.recognize(ForeignFile(Path("c.pt"), {key: torch.zeros(1)})) is None
