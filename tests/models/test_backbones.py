"""One contract for a small member of every listed family."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foveal.errors import SettingsError, WeightsError
from foveal.models.backbones import Backbone, backbone_normalization, make_backbone
from foveal.models.norms import FrozenBatchNorm

FAMILIES = [
    "resnet18",
    "resnext50_32x4d",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "efficientnet_b0",
    "convnextv2_atto",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "hgnetv2_b0",
]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """With four bands and live norms: initializing takes longer than what is asked of it."""
    torch.manual_seed(0)
    return make_backbone(request.param, bands=4, norm="live")


def test_contract(backbone: Backbone) -> None:
    images = torch.randn(2, 4, 64, 96)
    features = backbone(images)
    assert [tuple(feature.shape) for feature in features] == [
        (2, channels, 64 // stride, 96 // stride)
        for channels, stride in zip(backbone.channels, (8, 16, 32), strict=True)
    ]
    sum(feature.square().mean() for feature in features).backward()
    unused = [key for key, value in backbone.named_parameters() if value.grad is None]
    assert not unused
    stem = next(iter(backbone.parameters()))
    assert stem.grad.abs().sum() > 0


def test_any_multiple_of_32_will_do(backbone: Backbone) -> None:
    backbone.eval()
    with torch.inference_mode():
        for height, width in ((32, 64), (160, 96)):
            shapes = [feature.shape[-2:] for feature in backbone(torch.rand(1, 4, height, width))]
            assert shapes == [(height // s, width // s) for s in (8, 16, 32)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224", "at strides 16. Expected 8, 16 and 32"),
        ("inception_v3", r"feature maps of \[\(9, 17\)"),
        ("maxvit_tiny_tf_224", "divisible by window"),
        ("resnet51", "Did you mean resnet51q or resnet50"),
    ],
)
def test_unfit_networks_say_what_they_give(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_backbone(name)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "convnextv2_atto", "pvt_v2_b0"])
@pytest.mark.parametrize("norm", ["live", "group"])
def test_frozen_stages_stay_frozen(name: str, norm: str) -> None:
    backbone = make_backbone(name, norm=norm, frozen_stages=2)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train()
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    sum(feature.mean() for feature in backbone(torch.randn(2, 3, 64, 64))).backward()
    optimizer.step()
    changed = {
        key
        for key, value in backbone.state_dict().items()
        if not torch.equal(value, before[key]) and not key.endswith("num_batches_tracked")
    }
    frozen = {"resnet18": "layer1", "mobilenetv2_100": "blocks.1"}.get(name, "stages_1")
    assert not [key for key in changed if key.startswith(f"body.{frozen}.")]
    later = {"resnet18": "layer2", "mobilenetv2_100": "blocks.2"}.get(name, "stages_2")
    assert [key for key in changed if key.startswith(f"body.{later}.")]


def test_the_stages_of_resnet() -> None:
    backbone = make_backbone("resnet18", norm="live", frozen_stages=2)
    frozen = {key.split(".")[1] for key, v in backbone.named_parameters() if not v.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    assert not backbone.body.bn1.training
    assert backbone.body.layer2[0].bn1.training
    backbone.freeze(5)
    assert not any(value.requires_grad for value in backbone.parameters())
    backbone.freeze(0)
    assert all(value.requires_grad for value in backbone.parameters())
    assert backbone.body.bn1.training
    with pytest.raises(SettingsError, match="Expected 0 to 5"):
        backbone.freeze(6)


def test_frozen_norms_leave_no_branch_dead() -> None:
    backbone = make_backbone("resnet18", norm="frozen")
    norms = [module for module in backbone.modules() if isinstance(module, FrozenBatchNorm)]
    assert len(norms) == 20
    assert not [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight.abs().min() > 0 for norm in norms)
    sum(feature.mean() for feature in backbone(torch.randn(1, 3, 64, 64))).backward()
    assert all(value.grad.abs().sum() > 0 for value in backbone.parameters())


def test_preparation_of_a_family() -> None:
    mean, std = backbone_normalization("resnet18")
    assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert backbone_normalization("vit_tiny_patch16_224")[0] == (0.5, 0.5, 0.5)
    with pytest.raises(SettingsError, match="no such network"):
        backbone_normalization("resnet1")


def test_weights_that_are_not_there() -> None:
    with pytest.raises(WeightsError, match="no such file"):
        make_backbone("resnet18", weights="/nowhere/weights.safetensors")


def test_the_stride_may_be_in_the_first_convolution_of_a_bottleneck() -> None:
    moved, plain = (make_backbone("resnet50", stride_in=where).eval() for where in ("1x1", "3x3"))
    moved.load_state_dict(plain.state_dict())
    for backbone, strides in ((moved, ((2, 2), (1, 1))), (plain, ((1, 1), (2, 2)))):
        for stage in (2, 3, 4):
            block = backbone.get_submodule(f"body.layer{stage}.0")
            assert (block.conv1.stride, block.conv2.stride) == strides
        assert backbone.get_submodule("body.layer1.0").conv2.stride == (1, 1)
    with torch.inference_mode():
        images = torch.randn(1, 3, 32, 64)
        for here, there in zip(moved(images), plain(images), strict=True):
            assert here.shape == there.shape
            assert not torch.allclose(here, there)


def test_no_stride_to_move_is_an_error() -> None:
    with pytest.raises(SettingsError, match="resnet18 has no bottleneck"):
        make_backbone("resnet18", stride_in="1x1")
