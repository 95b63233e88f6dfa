"""Checkpoints of yhenon's RetinaNet, beside a forward pass in plain torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.checkpoints import plain_networks
from tests.checkpoints.imports import (
    SIZES,
    convert,
    foreign_file,
    image_of,
    is_equal,
    own_output,
    ratio_major_as_ours,
)
from tests.checkpoints.make_shapes import KINDS, make
from tests.checkpoints.plain_networks import YHENON_FACTORS, State, random_state
from torch import Tensor, nn

from foveal.checkpoints import yhenon
from foveal.checkpoints.coco_names import COCO_DETECTION_NAMES
from foveal.checkpoints.foreign_files import read_foreign
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import import_model
from foveal.errors import WeightsError


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(make("yhenon", "r18", classes=4, width=16))


def test_the_output_is_the_same(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "c.pt")
    imported = import_model(tmp_path / "c.pt")
    assert (imported.source, imported.reason) == ("yhenon", "fpn.P7_2.weight is there")
    for size in SIZES:
        image = image_of(*size)
        expected = plain_networks.yhenon(state, image, KINDS["r18"])
        assert is_equal(own_output(imported.loaded, image), ratio_major_as_ours(expected))
        assert not is_equal(own_output(imported.loaded, image), expected)
    settings = imported.loaded.settings
    assert (settings.preparation.shorter, settings.preparation.longer) == (608, 1024)
    assert imported.loaded.card.classes == ("class 0", "class 1", "class 2", "class 3")
    assert "at most 100" in " ".join(imported.notes)


def test_bottlenecks_give_the_same() -> None:
    state = random_state(make("yhenon", "r50", classes=4, width=16))
    _, loaded = convert(yhenon, foreign_file(state))
    for size in SIZES:
        image = image_of(*size)
        expected = plain_networks.yhenon(state, image, KINDS["r50"])
        assert is_equal(own_output(loaded, image), ratio_major_as_ours(expected))


def as_module(state: State) -> nn.Module:
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


def test_whole_modules(state: State, tmp_path: Path) -> None:
    """Its training saves the module itself, at the end with DataParallel around it."""
    torch.save(as_module(state), tmp_path / "csv_retinanet_3.pt")
    torch.save(nn.DataParallel(as_module(state)), tmp_path / "model_final.pt")
    for name in ("csv_retinanet_3.pt", "model_final.pt"):
        file = read_foreign(tmp_path / name)
        converted = yhenon.convert(file, ImportOptions())
        assert len(file.tensors) == len(state)
        assert torch.equal(converted.state["backbone.body.conv1.weight"], state["conv1.weight"])
        assert converted.unused == ()


def test_a_wrong_order_or_factor_would_be_seen(state: State) -> None:
    converted = yhenon.convert(foreign_file(state), ImportOptions())
    box = state["regressionModel.output.bias"].reshape(3, 3, 4)
    expected = (box.transpose(0, 1) * torch.tensor(YHENON_FACTORS)).flatten()
    torch.testing.assert_close(converted.state["box.output.bias"], expected)
    assert not torch.allclose(expected, box.flatten() * torch.tensor(YHENON_FACTORS * 9))
    scores = state["classificationModel.output.bias"].reshape(3, 3, 4)
    assert torch.equal(
        converted.state["classification.output.bias"], scores.transpose(0, 1).flatten()
    )


@pytest.mark.parametrize("network", ["r34", "r152"])
def test_names_and_shapes_of_other_networks(network: str) -> None:
    with torch.device("meta"):
        state = {name: torch.empty(sides) for name, sides in make("yhenon", network).items()}
    imported, _ = convert(yhenon, foreign_file(state))
    assert imported.settings.model.backbone == network.replace("r", "resnet")
    assert imported.classes == COCO_DETECTION_NAMES


@pytest.mark.parametrize("prefix", ["", "module.", "module.net."])
def test_prefixes_and_what_is_beside(prefix: str, state: State) -> None:
    named = {prefix + key: value for key, value in state.items()}
    named[f"{prefix}fc.weight"] = torch.zeros(2, 2)
    if prefix:
        named["focalLoss.x"] = torch.zeros(1)
    converted = yhenon.convert(foreign_file(named), ImportOptions())
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
    change: dict[str, Tensor | None], options: dict[str, object], message: str, state: State
) -> None:
    changed = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        yhenon.convert(foreign_file(changed), ImportOptions(**options))


def test_other_networks_are_not_taken_for_it() -> None:
    for key in ("backbone.body.conv1.weight", "layer1.0.conv1.weight"):
        assert yhenon.recognize(foreign_file({key: torch.zeros(1)})) is None
