"""torchvision's detectors on MobileNetV2 with ImageNet weights, made of its public parts.

As its own functions make them, with another backbone: RetinaNet and FCOS on P3 to P7, Faster R-CNN
on P2 to P6, SSDLite on the two maps of the backbone that SSDLite's paper takes (Sandler et al.
2018) and four smaller ones. The backbone's batch norm is frozen, affine parameters included. All
give detections from a score of 0.01 on, 100 an image: AP needs the low ones.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import mobilenet_v2
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from benchmarks.lib.networks import LONGER, MEAN, MOBILENET_LEVELS, STD

SCORE = 0.01
"""From which score detections are kept."""
DETECTIONS = 100
"""Of an image at most."""
C2 = {"3": "p2"}
"""MobileNetV2's last block at stride 4, with 24 channels."""


def make_retinanet(weights: Path, *, classes: int, size: int) -> RetinaNet:
    """As `retinanet_resnet50_fpn`: nine anchors a location."""
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    return RetinaNet(
        _pyramid(weights),
        num_classes=classes + 1,
        anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        min_size=size,
        max_size=round(LONGER * size),
        score_thresh=SCORE,
        detections_per_img=DETECTIONS,
    )


def make_fcos(weights: Path, *, classes: int, size: int) -> FCOS:
    """As `fcos_resnet50_fpn`: one location, no anchors.

    Distances begin near one stride instead of 0. They end in a ReLU, which at 0 has no gradient:
    where few locations are assigned, torchvision's start leaves all boxes without an area.
    """
    model = FCOS(
        _pyramid(weights),
        num_classes=classes + 1,
        min_size=size,
        max_size=round(LONGER * size),
        score_thresh=SCORE,
        detections_per_img=DETECTIONS,
    )
    nn.init.ones_(model.head.regression_head.bbox_reg.bias)
    return model


def make_faster_rcnn(weights: Path, *, classes: int, size: int) -> FasterRCNN:
    """As `fasterrcnn_resnet50_fpn`: P2 to P5 with a pooled P6, anchors of 32 to 512 pixels."""
    body = _body(weights)
    backbone = BackboneWithFPN(
        body.features,
        {**C2, **MOBILENET_LEVELS},
        [24, 32, 96, 320],
        256,
        extra_blocks=LastLevelMaxPool(),
    )
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    return FasterRCNN(
        backbone,
        num_classes=classes + 1,
        rpn_anchor_generator=anchors,
        box_roi_pool=MultiScaleRoIAlign(["p2", *MOBILENET_LEVELS.values()], 7, 2),
        min_size=size,
        max_size=round(LONGER * size),
        box_score_thresh=SCORE,
        box_detections_per_img=DETECTIONS,
    )


def make_ssdlite(weights: Path, *, classes: int, size: int) -> SSD:
    """As `ssdlite320_mobilenet_v3_large`, on squares of `size`."""
    boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    backbone = SSDLiteMaps(_body(weights).features, norm)
    channels = [576, 1280, 512, 256, 256, 128]
    head = SSDLiteHead(channels, boxes.num_anchors_per_location(), classes + 1, norm)
    return SSD(
        backbone,
        boxes,
        (size, size),
        classes + 1,
        head=head,
        image_mean=list(MEAN),
        image_std=list(STD),
        score_thresh=SCORE,
        nms_thresh=0.55,
        detections_per_img=DETECTIONS,
        topk_candidates=300,
    )


DETECTORS: dict[str, Callable[..., nn.Module]] = {
    "retinanet": make_retinanet,
    "fcos": make_fcos,
    "faster-rcnn": make_faster_rcnn,
    "ssdlite": make_ssdlite,
}


class SSDLiteMaps(nn.Module):
    """MobileNetV2's maps for SSDLite: block 14's expansion, the last layer, and four after it."""

    def __init__(self, features: nn.Sequential, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        expansion, *rest = features[14].conv
        self.to_c4 = nn.Sequential(*features[:14], expansion)
        self.to_c5 = nn.Sequential(*rest, *features[15:])
        depths = (1280, 512, 256, 256, 128)
        self.extra = nn.ModuleList(
            _smaller(before, after, norm) for before, after in itertools.pairwise(depths)
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = [self.to_c4(images)]
        for block in (self.to_c5, *self.extra):
            maps.append(block(maps[-1]))
        return OrderedDict((str(number), one) for number, one in enumerate(maps))


def _smaller(before: int, after: int, norm: Callable[..., nn.Module]) -> nn.Sequential:
    """Half the size: 1x1, depthwise 3x3 of stride 2, 1x1."""
    layer = partial(Conv2dNormActivation, norm_layer=norm, activation_layer=nn.ReLU6)
    middle = after // 2
    block = nn.Sequential(
        layer(before, middle, kernel_size=1),
        layer(middle, middle, kernel_size=3, stride=2, groups=middle),
        layer(middle, after, kernel_size=1),
    )
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.03)
    return block


def _pyramid(weights: Path) -> BackboneWithFPN:
    return BackboneWithFPN(
        _body(weights).features,
        MOBILENET_LEVELS,
        [32, 96, 320],
        256,
        extra_blocks=LastLevelP6P7(256, 256),
    )


def _body(weights: Path) -> nn.Module:
    body = mobilenet_v2(weights=None, norm_layer=FrozenBatchNorm2d)
    load_timm_weights(body, weights)
    return body


def load_timm_weights(body: nn.Module, path: Path) -> None:
    """timm's and torchvision's MobileNetV2 have the same layers in the same order."""
    wanted = [key for key in body.state_dict() if not key.startswith("classifier")]
    source = load_file(path)
    order = [key for key in timm_order() if not key.startswith("classifier")]
    state = dict(zip(wanted, (source[key] for key in order), strict=True))
    missing = body.load_state_dict(state, strict=False).missing_keys
    if any(not key.startswith("classifier") for key in missing):
        raise SystemExit(f"weights do not fit: {missing[:5]}")


def timm_order() -> list[str]:
    import timm

    with torch.device("meta"):
        state = timm.create_model("mobilenetv2_100", pretrained=False).state_dict()
    return [key for key in state if not key.endswith("num_batches_tracked")]
