"""Settings that were changed and do nothing, since another setting leaves them out."""

from __future__ import annotations

from collections.abc import Callable

from foveal.config.settings import Settings
from foveal.text import listed

_MOST, _LONGEST = 8, 120

_NEEDED: tuple[tuple[tuple[str, ...], Callable[[Settings], bool], str], ...] = (
    (("loss.beta",), lambda s: s.loss.box == "smooth_l1", "loss.box=smooth_l1"),
    (
        ("loss.gamma",),
        lambda s: s.loss.classification != "cross_entropy",
        "loss.classification=focal",
    ),
    (
        ("assignment.foreground_iou", "assignment.background_iou"),
        lambda s: s.assignment.method == "iou",
        "assignment.method=iou",
    ),
    (
        ("assignment.candidates",),
        lambda s: s.assignment.method in ("atss", "task_aligned"),
        "assignment.method=atss or task_aligned",
    ),
    (
        ("decoding.nms_sigma",),
        lambda s: s.decoding.nms_method == "soft_gaussian",
        "decoding.nms_method=soft_gaussian",
    ),
    (
        ("preparation.scale", "training.background_fraction"),
        lambda s: s.preparation.mode == "windows",
        "preparation.mode=windows",
    ),
    (
        ("preparation.longer", "preparation.compat"),
        lambda s: s.preparation.mode == "keep",
        "preparation.mode=keep",
    ),
    (
        ("augmentation.strong_until",),
        lambda s: bool(s.augmentation.mosaic or s.augmentation.copy_paste),
        "augmentation.mosaic or copy_paste above 0",
    ),
    (
        ("augmentation.rotated_boxes",),
        lambda s: bool(s.augmentation.rotation or s.augmentation.shear),
        "augmentation.rotation or shear above 0",
    ),
    (
        ("training.repeat_threshold",),
        lambda s: s.training.sampling == "repeat_factor",
        "training.sampling=repeat_factor",
    ),
    (
        ("training.step_epochs",),
        lambda s: s.training.schedule == "steps",
        "training.schedule=steps",
    ),
    (("training.momentum",), lambda s: s.training.optimizer == "sgd", "training.optimizer=sgd"),
    (
        ("training.distillation", "training.distillation_weight"),
        lambda s: s.training.teacher is not None,
        "training.teacher=MODEL",
    ),
    (("training.int8",), lambda s: s.training.export, "training.export=true"),
)
"""Settings, when they have an effect, and what gives them one."""


def without_effect(settings: Settings) -> list[str]:
    """The settings that are not as by default and do nothing, each with what gives it an effect."""
    idle: list[str] = []
    for names, works, needed in _NEEDED:
        if works(settings):
            continue
        changed = [name for name in names if _is_changed(settings, name)]
        idle += [f"{name} (it needs {needed})" for name in changed]
    return idle


def describe_without_effect(settings: Settings) -> str:
    """A sentence that names them; '' where there are none."""
    idle = without_effect(settings)
    return f"Without effect here: {listed(idle, _MOST, longest=_LONGEST)}." if idle else ""


def _is_changed(settings: Settings, name: str) -> bool:
    section, _, field = name.partition(".")
    part = getattr(settings, section)
    return bool(getattr(part, field) != type(part).model_fields[field].default)
