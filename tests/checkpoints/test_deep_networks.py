"""Networks of 101 layers, plain and in groups, of each source that has them.

Beside each importer's own tests, which have smaller networks and every trap: here nothing but that
depth and groups are the same. Behind the backbone they are narrow, and few classes.
"""

from __future__ import annotations

from typing import Any

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
from tests.checkpoints.make_shapes import (
    KINDS,
    NETWORKS,
    ODTK_NAMES,
    make,
    read_shapes,
    to_text,
)
from tests.checkpoints.plain_networks import Output, State, random_state

from foveal.checkpoints.imported_model import ImportOptions
from foveal.checkpoints.importing import IMPORTERS, find_source

STATED = {"odtk": {"ratios": [1.0, 2.0, 0.5], "scales": [4 * 2 ** (n / 3) for n in range(3)]}}
"""What the file says beside the weights."""

GROUPED = [
    *(("mmdetection", f"x101_{groups}") for groups in ("32x4d", "64x4d")),
    ("odtk", "x101_32x8d"),
    ("torchvision", "x101_64x4d"),
]
"""Torchvision's X101-32x8d has the body of ODTK's, and is told by the same shapes."""

DEEP = [
    *((source, "r101") for source in NETWORKS),
    *(pytest.param(*pair, marks=pytest.mark.slow) for pair in GROUPED),
]

TOLD = [
    (source, network)
    for source in ("odtk", "torchvision", "yhenon")
    for network in NETWORKS[source]
]


def plain_output(source: str, network: str, state: State, image: torch.Tensor) -> Output:
    kind = KINDS[network]
    if source == "detectron2":
        return plain_networks.detectron2(state, image, kind, stride_in_1x1=True)
    if source == "odtk":
        called = ODTK_NAMES[network]
        return plain_networks.odtk(state, image, kind, called=called, new=True)
    ratio_major = {
        "mmdetection": lambda: plain_networks.mmdetection(state, image, kind, caffe=False),
        "torchvision": lambda: plain_networks.torchvision(state, image, kind, eps=0.0),
        "yhenon": lambda: plain_networks.yhenon(state, image, kind),
    }
    return ratio_major_as_ours(ratio_major[source]())


@pytest.mark.parametrize(("source", "network"), DEEP)
def test_the_output_is_the_same(source: str, network: str) -> None:
    state = random_state(
        make(source, network, classes=3, width=32), std=60.0 if source == "detectron2" else 1.0
    )
    file = foreign_file(state, STATED.get(source))
    assert find_source(file)[0] == source
    options = ImportOptions(classes=("a", "b", "c"))
    _, loaded = convert(IMPORTERS[source], file, options)
    for size in SIZES:
        image = image_of(*size)
        expected = plain_output(source, network, state, image)
        assert expected.logits.std() > 0.1, "logits that are all alike would hide a wrong order"
        assert is_equal(own_output(loaded, image), expected)


@pytest.mark.parametrize(
    ("source", "network"),
    [
        (source, network)
        for source in ("odtk", "torchvision", "yhenon")
        for network in NETWORKS[source]
    ],
)
def test_names_and_shapes_are_those_of_the_rules(source: str, network: str) -> None:
    shapes = read_shapes(source, network)
    assert to_text(shapes) == to_text(make(source, network))
    with torch.device("meta"):
        state = {name: torch.empty(sides) for name, sides in shapes.items()}
    imported = IMPORTERS[source].convert(foreign_file(state, STATED.get(source)), ImportOptions())
    kind: Any = network.replace("x101", "resnext101").replace("r1", "resnet1")
    assert imported.settings.model.backbone == kind.replace("r5", "resnet5")
    names = {imported.foreign_name(name) for name in imported.state}
    assert names | set(imported.unused) == shapes.keys()
    assert imported.classes is not None
    assert len(imported.classes) == (90 if source == "torchvision" else 80)


@pytest.mark.parametrize(("network", "depth"), [("r18", 18), ("r50", 50)])
def test_torchvision_itself_has_these_names(network: str, depth: int) -> None:
    import torchvision

    with torch.device("meta"):
        body = torchvision.models.detection.backbone_utils.resnet_fpn_backbone(
            backbone_name=f"resnet{depth}",
            weights=None,
            returned_layers=[2, 3, 4],
            extra_blocks=torchvision.ops.feature_pyramid_network.LastLevelP6P7(256, 256),
        )
        model = torchvision.models.detection.RetinaNet(body, 91)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == make("torchvision", network)
