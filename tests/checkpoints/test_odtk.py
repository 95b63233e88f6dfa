"""Checkpoints of NVIDIA's ODTK, of both generations, beside a forward pass in plain torch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.checkpoints import plain_network as plain
from torch import Tensor
from torchvision.models import mobilenet_v2

from foveal.checkpoints import odtk
from foveal.checkpoints.coco_names import COCO_DETECTION_NAMES
from foveal.checkpoints.foreign_files import ForeignFile
from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import import_model
from foveal.errors import WeightsError
from foveal.models.build import build_model

RATIOS = (1.0, 2.0, 0.5)
SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))
STATED = {"ratios": list(RATIOS), "scales": list(SCALES)}

OLD_SIDES = {
    8: ((8, 8), (6, 12), (11, 6)),
    16: ((16, 16), (11, 22), (23, 12)),
    32: ((32, 32), (23, 46), (45, 22)),
    64: ((64, 64), (45, 90), (91, 46)),
    128: ((128, 128), (91, 182), (181, 90)),
}
"""Width and height of the published ResNets' anchors, before scaling."""

CALLED = {
    "resnet18": "ResNet18FPN",
    "resnet34": "ResNet34FPN",
    "resnet50": "ResNet50FPN",
    "resnet101": "ResNet101FPN",
    "resnet152": "ResNet152FPN",
    "resnext101_32x8d": "ResNeXt101_32x8dFPN",
    "mobilenetv2_100": "MobileNetV2FPN",
}


def names(network: str) -> plain.Names:
    pyramid = f"backbones.{CALLED[network]}."
    return plain.Names(
        lateral=[f"{pyramid}lateral{level}" for level in (3, 4, 5)],
        output=[f"{pyramid}smooth{level}" for level in (3, 4, 5)],
        p6=f"{pyramid}pyramid6",
        p7=f"{pyramid}pyramid7",
        towers={
            "scores": [f"cls_head.{number}" for number in (0, 2, 4, 6)],
            "boxes": [f"box_head.{number}" for number in (0, 2, 4, 6)],
        },
        scores="cls_head.8",
        boxes="box_head.8",
    )


def shapes(network: str, *, classes: int = 4, width: int = 16) -> plain.Shapes:
    body = f"backbones.{CALLED[network]}.features."
    channels = plain.c_channels(network)
    return (
        plain.resnet_shapes(network, prefix=body, norms=plain.LIVE)
        | {f"{body}fc.weight": (10, channels[2]), f"{body}fc.bias": (10,)}
        | plain.layer_shapes(names(network), channels, classes=classes, width=width)
    )


@pytest.fixture(scope="module")
def state() -> plain.State:
    return plain.random_state(shapes("resnet18"))


def anchors(height: int, width: int, *, new: bool) -> Tensor:
    """Of each location scale by scale, ratio by ratio, from the corner of its cell."""
    boxes = []
    for stride, sides in OLD_SIDES.items():
        for row in range(-(-height // stride)):
            for column in range(-(-width // stride)):
                for scale in SCALES:
                    for ratio, old in zip(RATIOS, sides, strict=True):
                        exact = stride / math.sqrt(ratio), stride * math.sqrt(ratio)
                        w, h = (side * scale for side in (exact if new else old))
                        x, y = column * stride + (stride - w) / 2, row * stride + (stride - h) / 2
                        more = 1 if new else 0
                        boxes.append([x, y, x + w + more, y + h + more])
    return torch.tensor(boxes)


def check(
    network: str, weights: plain.State, maps: list[Tensor], path: Path, *, size: tuple[int, int]
) -> None:
    new = network != "resnet50"
    stated = STATED if new else {}
    torch.save({"backbone": [CALLED[network]], "classes": 4, "state_dict": weights, **stated}, path)
    imported = import_model(path)
    assert imported.source == "odtk"
    image, seen = plain.padded_input(*size)
    with torch.inference_mode():
        scores, boxes = plain.outputs(weights, names(network), maps)
    plain.assert_same(
        imported,
        image,
        logits=plain.by_anchor(scores, 4),
        deltas=plain.by_anchor(boxes, 4),
        anchors=anchors(*seen.shape[-2:], new=new),
    )
    assert ("since 0.2.1" if new else "before 0.2.1") in imported.notes[0]
    preparation = imported.loaded.settings.preparation
    assert (preparation.shorter, preparation.longer, preparation.multiple) == (800, 1333, 128)


@pytest.mark.parametrize(
    ("network", "size"), [("resnet18", plain.SIZES[1]), ("resnet50", plain.SIZES[0])]
)
def test_the_raw_output_is_the_same(network: str, size: tuple[int, int], tmp_path: Path) -> None:
    weights = plain.random_state(shapes(network))
    assert len(weights) == {"resnet18": 158, "resnet50": 356}[network]
    _, seen = plain.padded_input(*size)
    with torch.inference_mode():
        body = f"backbones.{CALLED[network]}.features."
        maps = plain.resnet(seen, weights, prefix=body, eps=1e-5)
    check(network, weights, maps, tmp_path / "c.pth", size=size)


def test_mobilenet_is_timms(tmp_path: Path) -> None:
    """torchvision's own network gives the maps."""
    torch.manual_seed(0)
    network = mobilenet_v2(weights=None).eval()
    body = {
        f"backbones.MobileNetV2FPN.features.{key}": value
        for key, value in plain.random_state(
            {key: tuple(value.shape) for key, value in network.state_dict().items()}
        ).items()
    }
    network.load_state_dict(
        {
            key.removeprefix("backbones.MobileNetV2FPN.features."): value
            for key, value in body.items()
        }
    )
    layers = plain.layer_shapes(names("mobilenetv2_100"), (32, 96, 320), classes=4, width=16)
    weights = body | plain.random_state(layers)
    _, x = plain.padded_input(*plain.SIZES[1])
    maps = []
    with torch.inference_mode():
        for number, block in enumerate(network.features[:18]):
            x = block(x)
            if number in (6, 13, 17):
                maps.append(x)
    check("mobilenetv2_100", weights, maps, tmp_path / "c.pth", size=plain.SIZES[1])


@pytest.mark.parametrize("network", ["resnet34", "resnet101", "resnext101_32x8d"])
def test_names_and_shapes_of_larger_networks(network: str) -> None:
    weights = plain.random_state(shapes(network, classes=80, width=256), device="meta")
    converted = odtk.convert(ForeignFile(Path("c.pth"), weights), ImportOptions())
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
        key for key in weights if not key.endswith("num_batches_tracked") and ".fc." not in key
    }
    assert [key.rsplit(".", 2)[-2] for key in converted.unused] == ["fc", "fc"]


def test_the_sides_of_old_anchors_are_those_of_the_published_models() -> None:
    for stride, sides in OLD_SIDES.items():
        found = odtk.anchor_shapes(stride, scales=(1.0,), ratios=RATIOS, whole_sides=True)
        assert tuple((x2 - x1, y2 - y1) for x1, y1, x2, y2 in found) == sides
        assert all(x1 == -x2 and y1 == -y2 for x1, y1, x2, y2 in found)


def test_new_anchors_are_a_pixel_longer() -> None:
    (square,) = odtk.anchor_shapes(8, scales=(4.0,), ratios=(1.0,), whole_sides=False)
    assert square == (-16, -16, 17, 17)


def test_scales_and_ratios_of_the_file(state: plain.State) -> None:
    stated = {"scales": torch.tensor([1.0, 2.0, 3.0]), "ratios": [0.25, 1.0, 4.0], "classes": 4}
    converted = odtk.convert(ForeignFile(Path("c.pth"), state, stated), ImportOptions())
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
    change: dict[str, Tensor | None], values: dict[str, object], message: str, state: plain.State
) -> None:
    changed = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(WeightsError, match=message):
        odtk.convert(ForeignFile(Path("c.pth"), changed, values), ImportOptions())


def test_other_networks_are_not_taken_for_it() -> None:
    for key in ("box_head.8.weight", "backbones.x.pyramid7.weight"):
        assert odtk.recognize(ForeignFile(Path("c.pth"), {key: torch.zeros(1)})) is None
