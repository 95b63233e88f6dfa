"""Weights for torchvision's RetinaNet, both of its versions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.checkpoints.anchor_order import to_ratio_major
from foveal.checkpoints.resnets import BASIC, RESNETS
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


@dataclass(frozen=True, slots=True)
class TorchvisionWeights:
    """A state dict for torchvision, and how the network that takes it is made there.

    Attributes:
        state: for `load_state_dict(state, strict=True)`.
        constructor: the function or the call that makes the network.
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
    _check_exportable(settings)
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
    return TorchvisionWeights(
        state, _constructor(settings, model.num_classes + 1), _hints(settings)
    )


def _check_exportable(settings: Settings) -> None:
    model, anchors = settings.model, settings.anchors
    wanted = make_settings(preset="torchvision").anchors
    rules: dict[str, tuple[object, object]] = {
        f"anchors.{name}": (getattr(anchors, name), getattr(wanted, name))
        for name in ("compat", "strides")
    }
    rules |= {
        "model.bands": (model.bands, 3),
        "model.fpn_channels": (model.fpn_channels, 256),
        "model.fpn_depthwise": (model.fpn_depthwise, False),
        "model.head_channels": (model.head_channels, 256),
        "model.head_depth": (model.head_depth, 4),
        "model.head_depthwise": (model.head_depthwise, False),
        "model.relu_before_p7": (model.relu_before_p7, True),
        "model.box_coding": (model.box_coding, "deltas"),
        "model.quality": (model.quality, "none"),
        "model.level_scales": (model.level_scales, False),
    }
    wrong = [
        f"{name} is {value!r} instead of {expected!r}"
        for name, (value, expected) in rules.items()
        if value != expected
    ]
    backbone = model.backbone.partition(".")[0]
    known = tuple(dict.fromkeys((*BASIC.values(), *RESNETS.values())))
    if backbone not in known:
        wrong.append(f"model.backbone is {backbone!r} instead of {' or '.join(known)}")
    if model.norm == "group":
        wrong.append("model.norm is 'group' instead of 'frozen' or 'live'")
    if wrong:
        raise WeightsError(
            f"torchvision's RetinaNet can't hold this model: {'; '.join(wrong)}. "
            "Train with --preset torchvision or 'torchvision_v2' for a model that it can."
        )


def _constructor(settings: Settings, channels: int) -> str:
    model = settings.model
    layout = (model.backbone.partition(".")[0], model.p6_from, model.head_norm)
    builders = {
        ("resnet50", "P5", "none"): "retinanet_resnet50_fpn",
        ("resnet50", "C5", "group"): "retinanet_resnet50_fpn_v2",
    }
    name = builders.get(layout)
    options = ", ".join(_options(settings))
    if name is None:
        return (
            f"RetinaNet(backbone, num_classes={channels}, {options}) "
            f"on {layout[0]}, with P6 from {layout[1]} and head norm {layout[2]!r}"
        )
    return f"{name}(weights=None, weights_backbone=None, num_classes={channels}, {options})"


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
        hints.append(f"Set eps of every batch norm to {settings.model.norm_eps}.")
    own, theirs = settings.anchors, make_settings(preset="torchvision").anchors
    shapes = [
        f"{part} {list(getattr(own, part))}"
        for part in ("sizes", "scales", "ratios")
        if getattr(own, part) != getattr(theirs, part)
    ]
    if shapes:
        hints.append(f"Pass an AnchorGenerator with {', '.join(shapes)}.")
    return tuple(hints)
