"""What the config in an MMDetection checkpoint says of its network.

The config is a Python program as text. It is never run and never parsed as a program: single values
are looked for by patterns, and what is not found has MMDetection's default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_LONGEST = 2_000_000
"""Characters of a config; longer ones are not looked through."""

CAFFE_MEAN, CAFFE_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)
"""Of backbones from Caffe, BGR, 0..255."""
PYTORCH_MEAN, PYTORCH_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of torchvision's, RGB."""


@dataclass(frozen=True, slots=True)
class MMDetectionConfig:
    """Values of a config; None where it does not say.

    Attributes:
        text: whether there is a config at all.
        version: of MMDetection.
        classes: the names.
        head, generator, coder, nms: the types of the head, its anchors, its box coder and its NMS,
            such as 'RetinaHead', 'AnchorGenerator', 'DeltaXYWHBBoxCoder' and 'nms'.
        caffe: whether the first convolution of a bottleneck has the stride.
        rgb: the order of the bands that the network takes.
        mean, std: of the bands in that order, 0..255.
        live_norm: whether batch norm was trained.
        extra_convs: what P6 is made of: 'on_input', 'on_lateral' or 'on_output'.
        relu_before_extra: whether a ReLU stands before P7.
        num_groups: of the subnets' group norm.
        box_factors, box_offsets: what the box layer's outputs are multiplied by, and what is added.
        scale_major, center_offset, octave_base_scale, scales_per_octave, scales, ratios,
        strides, base_sizes: of the anchors.
        longer, shorter: limits of the input's sides, pixels.
        score_threshold, top_per_level, nms_iou, max_detections: of decoding.
    """

    text: bool = False
    version: str | None = None
    classes: tuple[str, ...] | None = None
    head: str | None = None
    generator: str | None = None
    coder: str | None = None
    nms: str | None = None
    caffe: bool | None = None
    rgb: bool | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    live_norm: bool = False
    extra_convs: str | None = None
    relu_before_extra: bool = False
    num_groups: int = 32
    box_factors: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    box_offsets: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    scale_major: bool = True
    center_offset: float = 0.0
    octave_base_scale: float = 4.0
    scales_per_octave: int = 3
    scales: tuple[float, ...] | None = None
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    strides: tuple[float, ...] = (8.0, 16.0, 32.0, 64.0, 128.0)
    base_sizes: tuple[float, ...] | None = None
    longer: int = 1333
    shorter: int = 800
    score_threshold: float = 0.05
    top_per_level: int = 1000
    nms_iou: float = 0.5
    max_detections: int = 100

    def anchors(self) -> list[str]:
        """The anchors as `section.name=value` settings."""
        bases = self.base_sizes or self.strides
        if self.scales is None:
            octaves = [
                2 ** (step / self.scales_per_octave) for step in range(self.scales_per_octave)
            ]
            base = self.octave_base_scale
        else:
            octaves, base = [scale / self.scales[0] for scale in self.scales], self.scales[0]
        return [
            f"anchors.compat=[{self.center_offset}, false, false]",
            f"anchors.sizes={[base * size for size in bases]}",
            f"anchors.strides={[int(stride) for stride in self.strides]}",
            f"anchors.scales={octaves}",
            f"anchors.ratios={list(self.ratios)}",
        ]


def read_config(meta: Any) -> MMDetectionConfig:
    """What a checkpoint's `meta` says.

    Args:
        meta: its value, plain data; anything else says nothing.
    """
    if not isinstance(meta, Mapping):
        return MMDetectionConfig()
    text = next((meta[key] for key in ("cfg", "config") if isinstance(meta.get(key), str)), "")
    text = text if len(text) <= _LONGEST else ""
    version = meta.get("mmdet_version")
    values: dict[str, Any] = {
        "version": version if isinstance(version, str) else None,
        "classes": _classes(meta),
        "text": bool(text),
        **_network(text),
        **_anchors(_block(text, "anchor_generator")),
        **_input(text),
        # Version 3 has a test_cfg of the program too, after the model's.
        **_decoding(_block(_block(text, "model"), "test_cfg") or _block(text, "test_cfg")),
    }
    return MMDetectionConfig(**{name: value for name, value in values.items() if value is not None})


def _classes(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names, wherever and however a version keeps them."""
    data = meta.get("dataset_meta")
    for place in (data, meta):
        if not isinstance(place, Mapping):
            continue
        for key, names in place.items():
            if str(key).lower() != "classes":
                continue
            names = [names] if isinstance(names, str) else names
            if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
                return tuple(names) or None
    return None


def _network(text: str) -> dict[str, Any]:
    style = _word(_block(text, "backbone"), "style")
    neck = _block(text, "neck")
    head = _block(text, "bbox_head")
    extra = _word(neck, "add_extra_convs")
    coder = _block(head, "bbox_coder")
    groups = _numbers(head, "num_groups")
    return {
        "head": _type(head),
        "generator": _type(_block(head, "anchor_generator")),
        "coder": _type(coder),
        "caffe": None if style is None else style == "caffe",
        "live_norm": _word(_block(text, "backbone"), "norm_eval") == "False" or None,
        "extra_convs": {"True": "on_input"}.get(extra, extra) if extra else None,
        "relu_before_extra": _word(neck, "relu_before_extra_convs") == "True" or None,
        "num_groups": int(groups[0]) if groups else None,
        "box_factors": _numbers(coder, "target_stds", count=4),
        "box_offsets": _numbers(coder, "target_means", count=4),
    }


def _input(text: str) -> dict[str, Any]:
    rgb = _word(text, "bgr_to_rgb") or _word(text, "to_rgb")
    tested = text[text.find("test_pipeline") :] if "test_pipeline" in text else ""
    sides = re.search(r"\b(?:img_)?scale['\"]?\s*[=:]\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", tested)
    return {
        "rgb": None if rgb is None else rgb == "True",
        "mean": _numbers(text, "mean", count=3),
        "std": _numbers(text, "std", count=3),
        "longer": max(int(sides[1]), int(sides[2])) if sides else None,
        "shorter": min(int(sides[1]), int(sides[2])) if sides else None,
    }


def _anchors(text: str) -> dict[str, Any]:
    def first(name: str) -> float | None:
        found = _numbers(text, name)
        return found[0] if found else None

    per_octave, base = first("scales_per_octave"), first("octave_base_scale")
    return {
        "scale_major": False if _word(text, "scale_major") == "False" else None,
        "center_offset": first("center_offset"),
        "octave_base_scale": base,
        "scales_per_octave": int(per_octave) if per_octave else None,
        "scales": _numbers(text, "scales") if base is None else None,
        "ratios": _numbers(text, "ratios"),
        "strides": _numbers(text, "strides"),
        "base_sizes": _numbers(text, "base_sizes"),
    }


def _decoding(text: str) -> dict[str, Any]:
    names = {
        "score_threshold": ("score_thr", float),
        "top_per_level": ("nms_pre", int),
        "nms_iou": ("iou_thr(?:eshold)?", float),
        "max_detections": ("max_per_img", int),
    }
    numbers = {
        name: kind(found[0])
        for name, (key, kind) in names.items()
        if (found := _numbers(text, key)) and found[0] > 0
    }
    return {"nms": _type(_block(text, "nms")), **numbers}


def _block(text: str, name: str) -> str:
    """The text between the brackets of `name=dict(...)` or `'name': {...}`; '' where it is not."""
    begun = re.search(rf"\b{name}['\"]?\s*[=:]\s*(?:dict\s*\(|\{{)", text)
    if begun is None:
        return ""
    depth = 1
    for found in re.finditer(r"[(){}\[\]]", text[begun.end() :]):
        depth += 1 if found[0] in "({[" else -1
        if not depth:
            return text[begun.end() : begun.end() + found.start()]
    return ""


def _type(block: str) -> str | None:
    """The value of `type='Name'` in a block itself, not in one inside it."""
    outside = []
    depth = 0
    for part in re.split(r"([(){}\[\]])", block):
        if part in "({[" and part:
            depth += 1
        elif part in ")}]" and part:
            depth -= 1
        elif not depth:
            outside.append(part)
    return _word(" ".join(outside), "type")


def _word(text: str, name: str) -> str | None:
    """The value of `name='word'` or `name=Word`."""
    found = re.search(rf"\b{name}['\"]?\s*[=:]\s*['\"]?([\w.]+)", text)
    return found[1] if found else None


def _numbers(text: str, name: str, *, count: int | None = None) -> tuple[float, ...] | None:
    """The value of `name=1.5` or `name=[1.5, 2]`; None where it is not, or not of this length."""
    found = re.search(rf"(?<!\w){name}['\"]?\s*[=:]\s*(?:[\[(]([^\])]*)[\])]|({_NUMBER}))", text)
    if found is None:
        return None
    values = tuple(float(value) for value in re.findall(_NUMBER, found[1] or found[2] or ""))
    usable = values and all(map(math.isfinite, values)) and count in (None, len(values))
    return values if usable else None


def shown(values: Sequence[float]) -> str:
    """Numbers in a sentence."""
    return ", ".join(f"{value:g}" for value in values)
