"""Weights for torchvision's RetinaNet, both of its versions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.checkpoints.anchor_order import to_ratio_major
from foveal.checkpoints.resnets import ALL_RESNETS, BASIC
from foveal.checkpoints.torchvision import (
    BOX_LAYER,
    CLASS_LAYER,
    OWN_BUFFERS,
    by_anchor,
    foreign_name,
)
from foveal.config import Settings, make_settings
from foveal.errors import WeightsError
from foveal.models.retinanet import RetinaNet

BACKGROUND_LOGIT = -100.0
"""Bias of the background channel that torchvision has and never uses: a score of 4e-44."""

TORCHVISION_EPS = 1e-5
"""Of the batch norms that torchvision makes."""

STRIDES = ((8, 16, 32, 64, 128), (4, 8, 16, 32, 64, 128))
"""Two levels follow those of the backbone, always."""

ROUNDING = 1e-6
"""As in `foveal.detection.anchor_compat`."""

_NAMELESS = "resnext101_32x4d"
"""A ResNet that torchvision can make and has no name for."""

_GROUP_NORM = "partial(GroupNorm, 32)"


@dataclass(frozen=True, slots=True)
class TorchvisionWeights:
    """A state dict for torchvision, and how the network that takes it is made there.

    Attributes:
        state: for `load_state_dict(state, strict=True)`.
        constructor: the call that makes the network, in names of torchvision and torch.
        hints: what else is to be done for the same detections.
    """

    state: dict[str, Tensor]
    constructor: str
    hints: tuple[str, ...] = ()


def export_torchvision(model: RetinaNet, settings: Settings) -> TorchvisionWeights:
    """Turn a model into weights for torchvision, which gives the same detections there.

    torchvision counts classes from 1: a background channel that never fires comes before ours.

    Raises:
        WeightsError: torchvision's RetinaNet can't hold something that the model has.
    """
    _check_exportable(settings, p6_channels=model.backbone.channels[-1])
    per_location = model.grid.per_location
    state = {
        foreign_name(key): value.detach().cpu().contiguous().clone()
        for key, value in model.state_dict().items()
        if key not in OWN_BUFFERS
    }
    scales, ratios = len(model.grid.scales), len(model.grid.ratios)
    for layer in (CLASS_LAYER, BOX_LAYER):
        for key in (f"{layer}.weight", f"{layer}.bias"):
            state[key] = to_ratio_major(state[key], scales=scales, ratios=ratios).contiguous()
    for name, fill in (("weight", 0.0), ("bias", BACKGROUND_LOGIT)):
        own = by_anchor(state[f"{CLASS_LAYER}.{name}"], per_location)
        background = torch.full_like(own[:, :1], fill)
        state[f"{CLASS_LAYER}.{name}"] = torch.cat([background, own], dim=1).flatten(0, 1)
    return TorchvisionWeights(state, _constructor(model, settings), _hints(settings))


def _check_exportable(settings: Settings, *, p6_channels: int) -> None:
    model, anchors = settings.model, settings.anchors
    wanted: dict[str, tuple[object, object]] = {
        "anchors.compat": (anchors.compat, "torchvision"),
        "anchors.shapes": (anchors.shapes, ()),
        "model.fpn_depthwise": (model.fpn_depthwise, False),
        "model.head_channels": (model.head_channels, model.fpn_channels),
        "model.head_depth": (model.head_depth, 4),
        "model.head_depthwise": (model.head_depthwise, False),
        "model.head_bias_before_norm": (model.head_bias_before_norm, False),
        "model.relu_before_p7": (model.relu_before_p7, True),
        "model.box_coding": (model.box_coding, "deltas"),
        "model.quality": (model.quality, "none"),
        "model.level_scales": (model.level_scales, False),
    }
    wrong = [
        f"{name} is {value!r} instead of {expected!r}"
        for name, (value, expected) in wanted.items()
        if value != expected
    ]
    if anchors.strides not in STRIDES:
        kinds = " or ".join(str(list(strides)) for strides in STRIDES)
        wrong.append(f"anchors.strides is {list(anchors.strides)} instead of {kinds}")
    backbone = _backbone(settings)
    if backbone not in ALL_RESNETS:
        wrong.append(f"model.backbone is {backbone!r} instead of {' or '.join(ALL_RESNETS)}")
    elif model.backbone_stride_in == "1x1" and backbone not in BASIC.values():
        wrong.append("model.backbone_stride_in is '1x1' instead of '3x3'")
    if model.p6_from == "C5" and p6_channels == model.fpn_channels:
        wrong.append(
            f"model.p6_from is 'C5', which has as many channels as model.fpn_channels "
            f"({p6_channels}): torchvision then takes 'P5'"
        )
    if wrong:
        raise WeightsError(
            f"torchvision's RetinaNet can't hold this model: {'; '.join(wrong)}. Train with "
            "--preset torchvision or torchvision_v2 (in Python preset=...) for a model that it can."
        )


def _backbone(settings: Settings) -> str:
    return settings.model.backbone.partition(".")[0]


def _constructor(model: RetinaNet, settings: Settings) -> str:
    """The call that makes the network, in names of torchvision and torch."""
    channels = model.num_classes + 1
    options = ", ".join(_options(settings))
    chosen = settings.model
    layout = (_backbone(settings), chosen.p6_from, chosen.head_norm, chosen.norm == "group")
    builders = {
        ("resnet50", "P5", "none", False): "retinanet_resnet50_fpn",
        ("resnet50", "C5", "group", False): "retinanet_resnet50_fpn_v2",
    }
    name = builders.get(layout)
    generator = _anchor_generator(settings)
    usual = (chosen.fpn_channels, len(settings.anchors.strides), generator) == (256, 5, None)
    if name is not None and usual:
        return f"{name}(weights=None, weights_backbone=None, num_classes={channels}, {options})"
    parts = [_fpn(model, settings), f"num_classes={channels}"]
    if generator is not None:
        parts.append(f"anchor_generator={generator}")
    if chosen.head_norm == "group":
        per_location = settings.anchors.per_location
        parts.append(
            f"head=RetinaNetHead({chosen.fpn_channels}, {per_location}, {channels}, "
            f"norm_layer={_GROUP_NORM})"
        )
    return f"RetinaNet({', '.join(parts)}, {options})"


def _fpn(model: RetinaNet, settings: Settings) -> str:
    """The call that makes backbone and pyramid."""
    name, chosen = _backbone(settings), settings.model
    norm = f"norm_layer={_GROUP_NORM}" if chosen.norm == "group" else ""
    if name == _NAMELESS:
        arguments = ["Bottleneck", "[3, 4, 23, 3]", "groups=32", "width_per_group=4"]
        body = f"ResNet({', '.join([*arguments, norm] if norm else arguments)})"
    else:
        body = f"{name}({', '.join(['weights=None', norm] if norm else ['weights=None'])})"
    inputs = list(model.backbone.channels)
    first = 5 - len(inputs)
    layers = {f"layer{first + place}": str(place) for place in range(len(inputs))}
    p6 = chosen.fpn_channels if chosen.p6_from == "P5" else inputs[-1]
    return (
        f"BackboneWithFPN({body}, {layers}, {inputs}, {chosen.fpn_channels}, "
        f"LastLevelP6P7({p6}, {chosen.fpn_channels}))"
    )


def _anchor_generator(settings: Settings) -> str | None:
    """The call that makes the anchors; None for torchvision's own."""
    own, theirs = settings.anchors, make_settings(preset="torchvision").anchors
    if own == theirs:
        return None
    sizes = tuple(tuple(int(size * scale + ROUNDING) for scale in own.scales) for size in own.sizes)
    return f"AnchorGenerator({sizes}, ({own.ratios},) * {len(sizes)})"


def _options(settings: Settings) -> list[str]:
    """What decides about detections and is no part of the weights."""
    prepared, decoding = settings.preparation, settings.decoding
    values = {
        "min_size": prepared.shorter,
        "max_size": prepared.longer,
        "image_mean": list(prepared.mean),
        "image_std": list(prepared.std),
        "score_thresh": decoding.score_threshold,
        "nms_thresh": decoding.nms_iou,
        "detections_per_img": decoding.max_detections,
        "topk_candidates": decoding.top_per_level,
    }
    return [f"{name}={value}" for name, value in values.items()]


def _hints(settings: Settings) -> tuple[str, ...]:
    hints = []
    if settings.decoding.nms_method != "hard":
        hints.append(
            f"torchvision's NMS is hard: detections differ from decoding.nms_method = "
            f"{settings.decoding.nms_method}."
        )
    if settings.model.norm_eps not in (None, TORCHVISION_EPS):
        hints.append(f"Set eps of every norm of the backbone to {settings.model.norm_eps}.")
    if settings.model.bands != 3:
        hints.append(
            f"Give the first convolution {settings.model.bands} input channels: "
            f"backbone.body.conv1 = Conv2d({settings.model.bands}, 64, 7, 2, 3, bias=False)."
        )
    return tuple(hints)
