"""Settings and values that had other names in the first edition, for its files and its users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    ("assignment", "object_iou"): "foreground_iou",
    ("assignment", "force_best"): "allow_low_quality_matches",
    ("decoding", "most"): "max_detections",
    ("decoding", "threshold"): "score_threshold",
    ("augmentation", "least_visible"): "min_visibility",
    ("training", "average"): "ema_decay",
    ("training", "bad_losses"): "max_nonfinite_steps",
    ("training", "hold_out"): "validation_fraction",
}
"""Of each section and old name the new name."""

RENAMED_VALUES: dict[tuple[int | str, ...], str] = {
    ("loss", "classification", "cross entropy"): "cross_entropy",
    ("loss", "box", "smooth l1"): "smooth_l1",
    ("training", "schedule", "one cycle"): "one_cycle",
}
"""Of each section, setting and old value the new value."""

ANCHOR_SWITCHES = ("offset", "rounding", "order", "stride_from")
"""Settings of the anchors whose place `anchors.compat` took."""

RENAMED_PRESETS = {"torchvision v2": "torchvision_v2"}


def rename_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an earlier file under today's names; what is no section stays as it is."""
    return {
        section: _renamed(section, part) if isinstance(part, Mapping) else part
        for section, part in settings.items()
    }


def is_ratio_major(anchors: Mapping[str, Any]) -> bool:
    """Whether the [anchors] of an earlier file order the anchors of a location ratio by ratio.

    Weights that belong to them are to be permuted (`foveal.checkpoints.anchor_order`).
    """
    return anchors.get("order") == "ratio-major"


def _renamed(section: str, part: Mapping[str, Any]) -> dict[str, Any]:
    if section == "anchors":
        part = _with_compat(part)
    return {
        RENAMED.get((section, name), name): _value(section, name, value)
        for name, value in part.items()
    }


def _value(section: str, name: str, value: Any) -> Any:
    return RENAMED_VALUES.get((section, name, value), value) if isinstance(value, str) else value


def _with_compat(anchors: Mapping[str, Any]) -> Mapping[str, Any]:
    """The anchors' four switches of before as the one that took their place."""
    if not any(name in anchors for name in ANCHOR_SWITCHES):
        return anchors
    values = (
        anchors.get("offset", 0.5),
        anchors.get("rounding", "none") == "torchvision",
        anchors.get("stride_from", "nominal") != "nominal",
    )
    names = {(0.5, False, False): "none", (0.0, True, True): "torchvision"}
    others = {name: value for name, value in anchors.items() if name not in ANCHOR_SWITCHES}
    return others | {"compat": names.get(values, list(values))}
