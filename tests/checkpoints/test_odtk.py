"""Checkpoints of NVIDIA's ODTK, of both generations, beside a forward pass in plain torch."""

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
)
from tests.checkpoints.make_shapes import KINDS, ODTK_NAMES, behind, make, odtk_layers
from tests.checkpoints.plain_networks import State, random_state
from torch import Tensor
from torchvision.models import mobilenet_v2

from foveal.checkpoints import odtk
from foveal.checkpoints.coco_names import COCO_DETECTION_NAMES
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import import_model
from foveal.errors import WeightsError

RATIOS = (1.0, 2.0, 0.5)
SCALES = tuple(4 * octave for octave in plain_networks.OCTAVES)
STATED = {"ratios": list(RATIOS), "scales": list(SCALES)}


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(make("odtk", "r18", classes=4, width=16))


@pytest.mark.parametrize("new", [True, False])
def test_the_output_is_the_same(new: bool, state: State, tmp_path: Path) -> None:
    called = ODTK_NAMES["r18"]
    stated = {"backbone": [called], "classes": 4, "iteration": 5} | (STATED if new else {})
    torch.save({"state_dict": state, **stated}, tmp_path / "c.pth")
    imported = import_model(tmp_path / "c.pth")
    assert imported.source == "odtk"
    assert ("since 0.2.1" if new else "before 0.2.1") in imported.notes[0]
    preparation = imported.loaded.settings.preparation
    assert (preparation.shorter, preparation.longer, preparation.multiple) == (800, 1333, 128)
    for size in SIZES:
        image = image_of(*size)
        expected = plain_networks.odtk(state, image, KINDS["r18"], called=called, new=new)
        assert is_equal(own_output(imported.loaded, image), expected)
        other = plain_networks.odtk(state, image, KINDS["r18"], called=called, new=not new)
        assert not is_equal(own_output(imported.loaded, image), other)


def test_bottlenecks_give_the_same() -> None:
    state, called = random_state(make("odtk", "r50", classes=4, width=16)), ODTK_NAMES["r50"]
    _, loaded = convert(odtk, foreign_file(state))
    for size in SIZES:
        image = image_of(*size)
        expected = plain_networks.odtk(state, image, KINDS["r50"], called=called, new=False)
        assert is_equal(own_output(loaded, image), expected)


def test_mobilenet_is_timms() -> None:
    """torchvision's own network gives the maps."""
    called = ODTK_NAMES["mobile"]
    network = mobilenet_v2(weights=None).eval()
    own = random_state({key: tuple(value.shape) for key, value in network.state_dict().items()})
    network.load_state_dict(own)
    body = {f"backbones.{called}.features.{key}": value for key, value in own.items()}
    layers = behind(odtk_layers(called), (32, 96, 320), classes=4, width=16)
    state = body | random_state(layers, seed=1)
    imported, loaded = convert(odtk, foreign_file(state, STATED))
    image = image_of(*SIZES[1])
    x = plain_networks.normalized(image, plain_networks.MEAN, plain_networks.STD, bgr=False)
    maps = []
    with torch.inference_mode():
        for number, block in enumerate(network.features[:18]):
            x = block(x)
            if number in (6, 13, 17):
                maps.append(x)
        expected = plain_networks.odtk(state, image, None, called=called, new=True, maps=maps)
    assert is_equal(own_output(loaded, image), expected)
    assert all(".features.18." in key or ".classifier." in key for key in imported.unused)


def test_names_and_shapes_of_resnet34() -> None:
    with torch.device("meta"):
        state = {name: torch.empty(sides) for name, sides in make("odtk", "r34").items()}
    imported, _ = convert(odtk, foreign_file(state))
    assert imported.settings.model.backbone == "resnet34"
    assert imported.classes == COCO_DETECTION_NAMES
    assert [key.rsplit(".", 2)[-2] for key in imported.unused] == ["fc", "fc"]


def test_the_sides_of_old_anchors_are_those_of_the_published_models() -> None:
    for stride, sides in plain_networks.ODTK_SIDES.items():
        found = odtk.anchor_shapes(stride, scales=(1.0,), ratios=RATIOS, whole_sides=True)
        assert tuple((x2 - x1, y2 - y1) for x1, y1, x2, y2 in found) == sides
        assert all(x1 == -x2 and y1 == -y2 for x1, y1, x2, y2 in found)


def test_new_anchors_are_a_pixel_longer() -> None:
    (square,) = odtk.anchor_shapes(8, scales=(4.0,), ratios=(1.0,), whole_sides=False)
    assert square == (-16, -16, 17, 17)


def test_scales_and_ratios_of_the_file(state: State) -> None:
    stated = {"scales": torch.tensor([1.0, 2.0, 3.0]), "ratios": [0.25, 1.0, 4.0], "classes": 4}
    converted = odtk.convert(foreign_file(state, stated), ImportOptions())
    first = converted.settings.anchors.shapes[0]
    assert first[0] == (-8.0, -2.0, 9.0, 3.0)
    assert len(first) == 9
    assert first[-1] == (-6.0, -24.0, 7.0, 25.0)


@pytest.mark.parametrize(
    ("change", "values", "message"),
    [
        ({}, {"angles": [0.0, 0.5]}, "network for rotated boxes"),
        ({}, {"classes": 80}, "says that it has 80 classes, and its cls_head.8 has channels for 4"),
        ({}, {"scales": [1.0], "ratios": [1.0, 2.0]}, "9 anchors at each location, .* 1 scales"),
        ({"backbones.Other.pyramid7.weight": torch.zeros(1)}, {}, "has 2 backbones"),
        ({"cls_head.8.weight": None}, {}, "has no cls_head.8; it is incomplete"),
        ({"box_head.8.bias": torch.zeros(54)}, {}, "gives 54 values at each location"),
    ],
)
def test_what_does_not_fit(
    change: dict[str, Tensor | None], values: dict[str, object], message: str, state: State
) -> None:
    changed = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        odtk.convert(foreign_file(changed, values), ImportOptions())


def test_other_networks_are_not_taken_for_it() -> None:
    for key in ("box_head.8.weight", "backbones.x.pyramid7.weight"):
        assert odtk.recognize(foreign_file({key: torch.zeros(1)})) is None
