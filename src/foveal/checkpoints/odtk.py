"""Checkpoints of NVIDIA's Object Detection Toolkit (ODTK, retinanet-examples).

Its boxes are of the kind with "+1": a box from 3 to 5 is three pixels wide. In continuous pixels
its anchors are then these, around each location:

- since 2020 (release 0.2.1; `ratios` and `scales` stand in the file) as the paper's, but one pixel
  longer at the right and the bottom;
- before (releases 19.04 to 0.2.0, so all published ResNets) with sides of whole pixels times the
  scale.

Neither follows from sizes, scales and ratios, so the shapes are given one by one. It does not limit
how much a box grows; ours may be up to 62 times as large as its anchor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.checkpoints.renaming import (
    Prefixes,
    foreign_name,
    outputs_a_location,
    own_names,
    without_prefix,
)
from foveal.checkpoints.resnets import find_resnet
from foveal.errors import WeightsError
from foveal.text import listed

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.checkpoints.foreign_files import ForeignFile

STRIDES = (8, 16, 32, 64, 128)
RATIOS = (1.0, 2.0, 0.5)
"""Height / width, where the file says none."""
SCALES = tuple(4 * 2 ** (third / 3) for third in range(3))
"""Times the stride, where the file says none."""

_KNOWN = "box_head.8.weight"
_PYRAMID = re.compile(r"backbones\.(\w+)\.pyramid7\.weight")
_MOBILENET_REPEATS = (1, 2, 3, 4, 3, 3, 1)
"""How many blocks each stage of MobileNetV2 has (its paper, table 2)."""

Shape = tuple[float, float, float, float]


def recognize(file: ForeignFile) -> str | None:
    """Why a file is of ODTK, in a few words; None where it is not."""
    found = without_prefix(file.tensors, _KNOWN)
    names: list[str] = [] if found is None else _backbones(found[0])
    return f"backbones.{names[0]} and box_head.8 are there" if names else None


def convert(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn a checkpoint of ODTK into ours, with the same raw output and anchors.

    Raises:
        WeightsError: the network can't be held, or the names are too many or too few.
        SettingsError: an override is wrong.
    """
    found = without_prefix(file.tensors, _KNOWN)
    assert found is not None, "recognize is asked first"
    options.check_no_background("ODTK", where=file.path)
    tensors, unused = found
    names = _backbones(tensors)
    if len(names) != 1:
        raise WeightsError(
            f"{file.path}: has {len(names)} backbones ({listed(names, 4)}). Expected one: "
            "RetinaNet has no place for more."
        )
    if file.values.get("angles") is not None:
        raise WeightsError(
            f"{file.path}: is a network for rotated boxes (it has angles). Expected one for "
            "upright boxes, trained without --rotated-bbox."
        )
    anchors, classes = outputs_a_location(
        tensors, scores="cls_head.8", boxes="box_head.8", where=file.path
    )
    _check_classes(file, classes)
    shapes, note = _shapes(file, anchors)
    body = f"backbones.{names[0]}.features."
    mobile = f"{body}features.0.0.weight" in tensors
    extras = ("features.18.", "classifier.") if mobile else ("fc.",)
    gone = [key for key in tensors if key.startswith(tuple(body + part for part in extras))]
    tensors = {key: value for key, value in tensors.items() if key not in set(gone)}
    prefixes = _prefixes(names[0], mobile=mobile)
    state = own_names(tensors, prefixes)
    backbone = "mobilenetv2_100" if mobile else find_resnet(tensors, prefix=body, where=file.path)
    lateral, output = state.get("fpn.lateral.0.weight"), state["box.output.weight"]
    settings = options.settings(
        [
            f"model.backbone={backbone}",
            f"model.backbone_stride_in={options.backbone_stride_in or '3x3'}",
            "model.norm=frozen",
            "model.norm_eps=1e-5",
            *([] if lateral is None else [f"model.fpn_channels={lateral.shape[0]}"]),
            f"model.head_channels={output.shape[1]}",
            f"anchors.shapes={json.dumps(shapes)}",
            "preparation.shorter=800",
            "preparation.longer=1333",
            "preparation.multiple=128",
        ]
    )
    return ImportedModel(
        settings,
        state,
        options.names(classes, where=file.path),
        (note,),
        (*unused, *gone),
        foreign_name=partial(foreign_name, prefixes=prefixes),
    )


def anchor_shapes(
    stride: int, *, scales: Sequence[float], ratios: Sequence[float], whole_sides: bool
) -> tuple[Shape, ...]:
    """The anchors of a location, scale by scale and ratio by ratio.

    Args:
        stride: of the level, pixels.
        scales: times the stride.
        ratios: height / width.
        whole_sides: as before 2020: whole pixels times the scale, and no longer.

    Returns:
        xyxy in continuous pixels, from the location.
    """
    shapes: list[Shape] = []
    for scale in scales:
        for ratio in ratios:
            width = stride / ratio**0.5
            height = width * ratio
            if whole_sides:  # round goes to even, as torch's does
                width = round(width)
                height = round(width * ratio)
            x, y = width * scale / 2, height * scale / 2
            more = 0.0 if whole_sides else 1.0
            shapes.append((-x, -y, x + more, y + more))
    return tuple(shapes)


def _shapes(file: ForeignFile, anchors: int) -> tuple[tuple[tuple[Shape, ...], ...], str]:
    """The anchors of each level, and what is to be said of them."""
    stated = {name: _numbers(file.values.get(name)) for name in ("scales", "ratios")}
    new = all(stated.values())
    scales, ratios = stated["scales"] or SCALES, stated["ratios"] or RATIOS
    if len(scales) * len(ratios) != anchors:
        raise WeightsError(
            f"{file.path}: has {anchors} anchors at each location, and there are {len(scales)} "
            f"scales and {len(ratios)} ratios. Expected one anchor for each pair of them."
        )
    levels = tuple(
        anchor_shapes(stride, scales=scales, ratios=ratios, whole_sides=not new)
        for stride in STRIDES
    )
    if new:
        return levels, "Its anchors are those of releases since 0.2.1, with its scales and ratios."
    return levels, (
        "Scales and ratios of its anchors are not in the file: taken to be those of releases "
        "before 0.2.1, which have sides of whole pixels."
    )


def _numbers(value: Any) -> tuple[float, ...]:
    """What a file says of scales or ratios; () for nothing."""
    if value is None or isinstance(value, (str, bytes, Mapping)):
        return ()
    try:
        return tuple(float(part) for part in value)
    except (TypeError, ValueError):
        return ()


def _check_classes(file: ForeignFile, classes: int) -> None:
    stated = file.values.get("classes")
    if isinstance(stated, int) and stated != classes:
        raise WeightsError(
            f"{file.path}: says that it has {stated} classes, and its cls_head.8 has channels for "
            f"{classes}. The file was changed; get it again."
        )


def _backbones(tensors: Mapping[str, Tensor]) -> list[str]:
    return sorted({found[1] for key in tensors if (found := _PYRAMID.fullmatch(key))})


def _prefixes(name: str, *, mobile: bool) -> Prefixes:
    network = f"backbones.{name}."
    towers = [
        (f"{foreign}.{2 * number}.", f"{own}.tower.{number}.conv.")
        for foreign, own in (("cls_head", "classification"), ("box_head", "box"))
        for number in range(4)
    ]
    body = (
        [
            (f"{network}features.features.{foreign}", f"backbone.body.{own}")
            for foreign, own in _mobilenet_prefixes()
        ]
        if mobile
        else [(f"{network}features.", "backbone.body.")]
    )
    return [
        *((f"{network}lateral{level}.", f"fpn.lateral.{level - 3}.") for level in (3, 4, 5)),
        *((f"{network}smooth{level}.", f"fpn.output.{level - 3}.") for level in (3, 4, 5)),
        (f"{network}pyramid6.", "fpn.extra.0."),
        (f"{network}pyramid7.", "fpn.extra.1."),
        *towers,
        ("cls_head.8.", "classification.output."),
        ("box_head.8.", "box.output."),
        *body,
    ]


def _mobilenet_prefixes() -> list[tuple[str, str]]:
    """The names of MobileNetV2 in torchvision, below `features.`, and in timm."""
    first = [("0.0.", "conv_stem."), ("0.1.", "bn1.")]
    plain = ("0.0", "conv_dw"), ("0.1", "bn1"), ("1", "conv_pw"), ("2", "bn2")
    inverted = (
        *(("0.0", "conv_pw"), ("0.1", "bn1"), ("1.0", "conv_dw")),
        *(("1.1", "bn2"), ("2", "conv_pwl"), ("3", "bn3")),
    )
    starts = accumulate(_MOBILENET_REPEATS, initial=1)
    blocks = [
        (f"{start + block}.conv.{foreign}.", f"blocks.{stage}.{block}.{own}.")
        for stage, (start, repeats) in enumerate(zip(starts, _MOBILENET_REPEATS, strict=False))
        for block in range(repeats)
        for foreign, own in (inverted if stage else plain)
    ]
    return first + blocks
