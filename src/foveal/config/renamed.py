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
    ("anchors", "stride_from", "feature size"): "feature_size",
    ("loss", "classification", "cross entropy"): "cross_entropy",
    ("loss", "box", "smooth l1"): "smooth_l1",
    ("training", "schedule", "one cycle"): "one_cycle",
}
"""Of each section, setting and old value the new value."""

RENAMED_PRESETS = {"torchvision v2": "torchvision_v2"}


def rename_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an earlier file under today's names; what is no section stays as it is."""
    return {
        section: {
            RENAMED.get((section, name), name): _value(section, name, value)
            for name, value in part.items()
        }
        if isinstance(part, Mapping)
        else part
        for section, part in settings.items()
    }


def _value(section: str, name: str, value: Any) -> Any:
    return RENAMED_VALUES.get((section, name, value), value) if isinstance(value, str) else value
