"""Weights for detectron2's RetinaNet, and the config that goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from foveal.checkpoints.detectron2 import EPS, foreign_name
from foveal.checkpoints.folding import reverse_bands
from foveal.config import Settings
from foveal.errors import WeightsError
from foveal.models.retinanet import RetinaNet

DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101, "resnet152": 152}
STRIDES = (8, 16, 32, 64, 128)
OWN_BUFFERS = ("mean", "std")

_STEM = "backbone.body.conv1.weight"
_RESNEXTS = {
    "resnext50_32x4d": (50, 32, 4),
    "resnext101_32x4d": (101, 32, 4),
    "resnext101_32x8d": (101, 32, 8),
    "resnext101_64x4d": (101, 64, 4),
}
"""Depth, groups and the width of each."""


@dataclass(frozen=True, slots=True)
class Detectron2Weights:
    """A state dict for detectron2, and the config of the network that takes it.

    Attributes:
        state: by detectron2's names.
        config: what differs from detectron2's defaults, as its YAML files have it.
        hints: what else is to be done for the same detections.
    """

    state: dict[str, Tensor]
    config: dict[str, Any]
    hints: tuple[str, ...] = ()


def export_detectron2(model: RetinaNet, settings: Settings) -> Detectron2Weights:
    """Turn a model into weights and a config for detectron2, with the same raw output there.

    The weights are for BGR, detectron2's habit: the bands of the first convolution are reversed.

    Raises:
        WeightsError: detectron2's RetinaNet can't hold something that the model has.
    """
    _check_exportable(model, settings)
    grouped = settings.model.head_norm == "group"
    step = 3 if grouped else 2
    own = {
        key: value.detach().cpu()
        for key, value in model.state_dict().items()
        if key not in OWN_BUFFERS
    }
    own[_STEM] = reverse_bands(own[_STEM])
    if grouped and not settings.model.head_bias_before_norm:
        for key in [key for key in own if ".tower." in key and key.endswith(".conv.weight")]:
            own[f"{key.removesuffix('weight')}bias"] = own[key].new_zeros(len(own[key]))
    added = (settings.model.norm_eps if settings.model.norm_eps is not None else EPS) - EPS
    if added and settings.model.norm != "group":
        for key in [key for key in own if key.endswith("running_var")]:
            own[key] = own[key] + added
    state = {foreign_name(key, step=step): value.contiguous().clone() for key, value in own.items()}
    return Detectron2Weights(state, _config(model, settings), _hints(settings, added))


def to_yaml(config: dict[str, Any], *, weights: str, classes: tuple[str, ...]) -> str:
    """The text of a config file.

    Args:
        config: of `export_detectron2`.
        weights: the name of the file with the weights.
        classes: the names, which detectron2 keeps elsewhere; a comment says them.
    """
    import yaml

    with_weights = {**config, "MODEL": {"WEIGHTS": weights, **config["MODEL"]}}
    names = "".join(f"#   {number}: {name!r}\n" for number, name in enumerate(classes))
    head = f"# Classes by their labels (thing_classes of the data set's MetadataCatalog):\n{names}"
    return head + str(yaml.safe_dump(with_weights, sort_keys=False, default_flow_style=None))


def _check_exportable(model: RetinaNet, settings: Settings) -> None:
    chosen, anchors = settings.model, settings.anchors
    backbone = chosen.backbone.partition(".")[0]
    rules: dict[str, tuple[object, object]] = {
        "anchors.strides": (anchors.strides, STRIDES),
        "anchors.shapes": (anchors.shapes, ()),
        "model.bands": (chosen.bands, 3),
        "model.p6_from": (chosen.p6_from, "C5"),
        "model.relu_before_p7": (chosen.relu_before_p7, True),
        "model.fpn_depthwise": (chosen.fpn_depthwise, False),
        "model.head_depthwise": (chosen.head_depthwise, False),
        "model.head_channels": (chosen.head_channels, chosen.fpn_channels),
        "model.box_coding": (chosen.box_coding, "deltas"),
        "model.quality": (chosen.quality, "none"),
        "model.level_scales": (chosen.level_scales, False),
    }
    wrong = [
        f"{name} is {value!r} instead of {expected!r}"
        for name, (value, expected) in rules.items()
        if value != expected
    ]
    convention = model.grid.convention
    if convention.whole_pixels or convention.divided_stride:
        wrong.append(
            f"anchors.compat is {anchors.compat!r}, whose anchors are rounded to whole pixels"
        )
    known = (*DEPTHS, *_RESNEXTS)
    if backbone not in known:
        wrong.append(f"model.backbone is {backbone!r} instead of {' or '.join(known)}")
    if chosen.norm == "group" and chosen.norm_eps not in (None, EPS):
        wrong.append(f"model.norm_eps is {chosen.norm_eps} instead of {EPS}")
    if wrong:
        raise WeightsError(
            f"detectron2's RetinaNet can't hold this model: {'; '.join(wrong)}. Train with "
            "--preset paper for a model that it can."
        )


def _config(model: RetinaNet, settings: Settings) -> dict[str, Any]:
    chosen, decoding = settings.model, settings.decoding
    preparation = settings.preparation
    grid = model.grid
    return {
        "MODEL": {
            "META_ARCHITECTURE": "RetinaNet",
            "PIXEL_MEAN": [round(255 * value, 6) for value in reversed(preparation.mean)],
            "PIXEL_STD": [round(255 * value, 6) for value in reversed(preparation.std)],
            "BACKBONE": {"NAME": "build_retinanet_resnet_fpn_backbone"},
            "RESNETS": _resnet(settings),
            "FPN": {"IN_FEATURES": ["res3", "res4", "res5"], "OUT_CHANNELS": chosen.fpn_channels},
            "ANCHOR_GENERATOR": {
                "SIZES": [[size * scale for scale in grid.scales] for size in grid.sizes],
                "ASPECT_RATIOS": [list(grid.ratios)],
                "OFFSET": grid.convention.offset,
            },
            "RETINANET": {
                "NUM_CLASSES": model.num_classes,
                "NUM_CONVS": chosen.head_depth,
                "NORM": "GN" if chosen.head_norm == "group" else "",
                "BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
                "SCORE_THRESH_TEST": decoding.score_threshold,
                "TOPK_CANDIDATES_TEST": decoding.top_per_level,
                "NMS_THRESH_TEST": decoding.nms_iou,
            },
        },
        "INPUT": {
            "FORMAT": "BGR",
            "MIN_SIZE_TEST": preparation.shorter,
            "MAX_SIZE_TEST": preparation.longer,
        },
        "TEST": {"DETECTIONS_PER_IMAGE": decoding.max_detections},
        "VERSION": 2,
    }


def _resnet(settings: Settings) -> dict[str, Any]:
    chosen = settings.model
    backbone = chosen.backbone.partition(".")[0]
    depth, groups, width = _RESNEXTS.get(backbone) or (DEPTHS[backbone], 1, 64)
    return {
        "DEPTH": depth,
        "NUM_GROUPS": groups,
        "WIDTH_PER_GROUP": width,
        "RES2_OUT_CHANNELS": 64 if depth in (18, 34) else 256,
        "STRIDE_IN_1X1": chosen.backbone_stride_in == "1x1",
        "NORM": {"frozen": "FrozenBN", "live": "BN", "group": "GN"}[chosen.norm],
        "OUT_FEATURES": ["res3", "res4", "res5"],
    }


def _hints(settings: Settings, added: float) -> tuple[str, ...]:
    decoding, preparation = settings.decoding, settings.preparation
    hints = []
    if added and settings.model.norm != "group":
        hints.append(
            f"Batch norm's eps is {EPS:g} there and {settings.model.norm_eps:g} here: the "
            "difference was added to the running variances."
        )
    if preparation.mode != "keep":
        hints.append(
            f"preparation.mode is {preparation.mode!r}, which detectron2 has not: give it images "
            "that are prepared so."
        )
    if decoding.nms_method != "hard" or decoding.class_agnostic:
        hints.append(
            "detectron2's NMS is hard and within each class: detections differ from those of "
            f"decoding.nms_method = {decoding.nms_method} and class_agnostic = "
            f"{str(decoding.class_agnostic).lower()}."
        )
    hints.append(
        "detectron2 clips boxes after NMS and foveal before it: near the edges of an image a box "
        "may be kept by one and not by the other."
    )
    return tuple(hints)
