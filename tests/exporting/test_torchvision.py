"""Every model that torchvision's RetinaNet can hold goes there and back; others are refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from tests.models.parity import MEAN, STD
from torch import nn
from torchvision.models.detection import anchor_utils, backbone_utils, retinanet
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from foveal.checkpoints.anchor_order import from_ratio_major
from foveal.checkpoints.importing import import_model
from foveal.checkpoints.torchvision import CLASS_LAYER, foreign_name
from foveal.config import make_settings
from foveal.errors import WeightsError
from foveal.exporting.torchvision import _check_exportable, _constructor, export_torchvision
from foveal.models.build import build_model


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("anchors.compat=none", r"anchors\.compat is 'none' instead of 'torchvision'"),
        ("anchors.compat=[0.5,true,true]", r"anchors\.compat is \(0\.5, True, True\)"),
        ("model.head_depth=2", "model.head_depth is 2 instead of 4"),
        ("model.fpn_depthwise=true", "model.fpn_depthwise is True"),
        ("model.head_depthwise=true", "model.head_depthwise is True"),
        ("model.relu_before_p7=false", "model.relu_before_p7 is False"),
        ("model.quality=centerness", "model.quality is 'centerness' instead of 'none'"),
        ("model.level_scales=true", "model.level_scales is True"),
        ("model.backbone_stride_in=1x1 model.backbone=resnet50", "stride_in is '1x1' instead of"),
        ("model.head_norm=group model.head_bias_before_norm=true", "before_norm is True"),
        ("model.head_channels=64", "model.head_channels is 64 instead of 256"),
        ("anchors.strides=[4,8,16,32,64]", r"anchors.strides is \[4, 8, 16, 32, 64\] instead of"),
        (
            "model.p6_from=C5 model.fpn_channels=512 model.head_channels=512",
            r"model.p6_from is 'C5', which has as many channels as model.fpn_channels \(512\)",
        ),
        ("model.backbone=test_resnet", "model.backbone is 'test_resnet' instead of resnet18 or"),
    ],
)
def test_refused(override: str, message: str) -> None:
    settings = make_settings(
        preset="torchvision",
        overrides=[
            *("model.weights=none", "model.backbone=resnet18", "model.norm=live"),
            *override.split(),
        ],
    )
    with torch.device("meta"):
        model = build_model(settings, 2)
    with pytest.raises(WeightsError, match=message):
        export_torchvision(model, settings)


def test_what_torchvision_must_be_told() -> None:
    settings = make_settings(
        preset="torchvision",
        overrides=["model.weights=none", "model.backbone=resnet18", "preparation.shorter=640"],
    )
    exported = export_torchvision(build_model(settings, 2), settings)
    pyramid = "{'layer2': '0', 'layer3': '1', 'layer4': '2'}, [128, 256, 512], 256"
    body = f"BackboneWithFPN(resnet18(weights=None), {pyramid}, LastLevelP6P7(256, 256))"
    assert exported.constructor.startswith(f"RetinaNet({body}, num_classes=3, ")
    assert "min_size=640, max_size=1333" in exported.constructor
    assert exported.hints == ("Set eps of every norm of the backbone to 0.0.",)


NAMES = {
    **vars(torchvision.models),
    **vars(retinanet),
    "AnchorGenerator": anchor_utils.AnchorGenerator,
    "BackboneWithFPN": backbone_utils.BackboneWithFPN,
    "Bottleneck": Bottleneck,
    "GroupNorm": nn.GroupNorm,
    "LastLevelP6P7": LastLevelP6P7,
    "ResNet": ResNet,
    "partial": partial,
}


def make(constructor: str) -> Any:
    """The network that the words make, as a person would by hand."""
    return eval(constructor, dict(NAMES)).eval()


HELD = {
    "group norm": "model.norm=group model.head_norm=group model.p6_from=C5",
    "a narrow pyramid with other anchors": (
        "model.fpn_channels=64 model.head_channels=64 "
        "anchors.scales=[1] anchors.ratios=[1,2] anchors.sizes=[20,40,80,160,320]"
    ),
    "a finer level": "anchors.strides=[4,8,16,32,64,128] anchors.sizes=[16,32,64,128,256,512]",
}


@pytest.mark.parametrize("kind", HELD)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    """The words make the network, its logits are ours, and what comes back is what went."""
    overrides = HELD[kind].split()
    settings = make_settings(
        preset="torchvision",
        overrides=[
            *("model.weights=none", "model.backbone=resnet18"),
            *("model.norm=live", "model.norm_eps=1e-5", *overrides),
        ],
    )
    torch.manual_seed(0)
    own = build_model(settings, 3).eval()
    nn.init.normal_(own.classification.output.weight, std=0.1)
    exported = export_torchvision(own, settings)
    other = make(exported.constructor)
    other.load_state_dict(exported.state, strict=True)
    images = torch.randint(0, 256, (1, 3, 64, 96)).float()
    mean, std = (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
    with torch.inference_mode():
        expected, deltas = (torch.cat(part, 1) for part in (own(images).logits, own(images).deltas))
        found = other.head(list(other.backbone((images / 255 - mean) / std).values()))
    counts = {"scales": len(settings.anchors.scales), "ratios": len(settings.anchors.ratios)}
    per_location = settings.anchors.per_location
    for name, ours in (("cls_logits", expected), ("bbox_regression", deltas)):
        theirs = found[name].unflatten(1, (-1, per_location)).transpose(0, 2)[:, :, 0]
        theirs = from_ratio_major(theirs, **counts).transpose(0, 1).flatten(0, 1)
        torch.testing.assert_close(theirs[:, -ours.shape[2] :], ours[0], rtol=1e-4, atol=1e-4)

    torch.save(exported.state, tmp_path / "c.pth")
    anchors = [part for part in overrides if part.startswith("anchors.") and "strides" not in part]
    back = import_model(tmp_path / "c.pth", classes=list("abc"), overrides=anchors).loaded
    before, after = own.state_dict(), back.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert back.settings.model == settings.model
    assert back.settings.anchors == settings.anchors


@pytest.mark.parametrize("name", ["resnet34", "resnet101", "resnext101_32x4d"])
def test_names_and_shapes_of_larger_backbones(name: str) -> None:
    settings = make_settings(
        preset="torchvision_v2",
        overrides=["model.weights=none", f"model.backbone={name}", "model.norm=live"],
    )
    with torch.device("meta"):
        own = build_model(settings, 3)
        _check_exportable(settings, p6_channels=own.backbone.channels[-1])
        other = make(_constructor(own, settings))
    ours = {foreign_name(key): value.shape for key, value in own.state_dict().items()}
    theirs = {key: value.shape for key, value in other.state_dict().items()}
    assert ours.keys() - theirs.keys() == {"mean", "std"}
    assert theirs.keys() <= ours.keys()
    different = {key for key, shape in theirs.items() if ours[key] != shape}
    assert {key.rpartition(".")[0] for key in different} == {CLASS_LAYER}  # has no background yet
