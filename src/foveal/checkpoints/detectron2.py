"""Checkpoints of detectron2's RetinaNet: those of its model zoo and those of a training."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.checkpoints.detectron2_config import (
    BGR_MEAN,
    MSRA_STD,
    RESNEXT_STD,
    RGB_MEAN,
    RGB_STD,
    Detectron2Config,
    find_config,
)
from foveal.checkpoints.folding import fold_batch_norm, fold_box_factors, reverse_bands
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.checkpoints.network_shapes import network_settings
from foveal.checkpoints.renaming import outputs_a_location
from foveal.checkpoints.resnets import find_resnet
from foveal.detection.anchors import AnchorGrid
from foveal.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.checkpoints.foreign_files import ForeignFile
    from foveal.config import Settings

STEM = "backbone.bottom_up.stem.conv1.weight"
CLASS_LAYER = "head.cls_score"
BOX_LAYER = "head.bbox_pred"
EPS = 1e-5

_SUBNETS = {"cls": "classification", "bbox": "box"}
_OWN_SUBNETS = {own: foreign for foreign, own in _SUBNETS.items()}
_CELLS = "anchor_generator.cell_anchors."
_BODY = "backbone.body."
_NORMALIZATION = ("pixel_mean", "pixel_std")
_WITHOUT_BOTTLENECKS = ("resnet18", "resnet34")


def recognize(file: ForeignFile) -> str | None:
    """Why a file is of detectron2's RetinaNet, in a few words; None where it is not."""
    prefix = _prefix(file)
    if prefix is None or f"{prefix}{BOX_LAYER}.weight" not in file.tensors:
        return None
    return f"it has {STEM} and {BOX_LAYER}"


def convert(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn a checkpoint of detectron2's RetinaNet into ours, with the same raw output.

    What the weights do not tell is taken from the config beside the file, else from the habits of
    detectron2's published models; the notes say which. BGR is turned into RGB in the first
    convolution, and what deltas are divided by goes into the box layer.

    Raises:
        WeightsError: the network can't be held, or the names are too many or too few.
        SettingsError: an override is wrong.
    """
    prefix = _prefix(file)
    assert prefix is not None, "recognize is asked first"
    if options.background:
        raise WeightsError(
            f"{file.path}: detectron2's RetinaNet has no background channel to leave out: "
            "every channel of its class layer is a class."
        )
    named = {
        key.removeprefix(prefix): value
        for key, value in file.tensors.items()
        if key.startswith(prefix)
    }
    unused = [key for key in file.tensors if not key.startswith(prefix)]
    unused += [prefix + key for key in named if key.startswith(_CELLS)]
    step = _layers_of_a_step(file, named)
    state = {
        own_name(key, step=step): value
        for key, value in named.items()
        if not key.startswith(_CELLS) and key not in _NORMALIZATION
    }
    notes = _fold_pyramid_norms(file, state)
    backbone = find_resnet(state, prefix=_BODY, where=file.path)
    per_location, num_classes = outputs_a_location(
        named, scores=CLASS_LAYER, boxes=BOX_LAYER, where=file.path
    )
    config = _config(file, notes, num_classes=num_classes)
    config = _with_habits(config, named, backbone, options, notes)
    settings = _settings(config, state, backbone, options, _cells(named), notes)
    if settings.anchors.per_location != per_location:
        raise WeightsError(
            f"{file.path}: has {per_location} anchors at each location, expected "
            f"{settings.anchors.per_location}. Put the training's config.yaml beside the file, or "
            "pass those it was trained with, such as --set anchors.scales=[1.0] (in Python "
            "overrides=[...])."
        )
    if config.bgr:
        state[f"{_BODY}conv1.weight"] = reverse_bands(state[f"{_BODY}conv1.weight"])
    if set(config.box_weights) != {1.0}:
        state["box.output.weight"], state["box.output.bias"] = fold_box_factors(
            state["box.output.weight"],
            state["box.output.bias"],
            factors=[1 / weight for weight in config.box_weights],
        )
    names = options.names(num_classes, where=file.path)
    if names is not None and options.classes is None:
        notes.append(
            "It does not name its classes. They are 80, and are taken to be COCO's: --classes FILE "
            "names others."
        )
    return ImportedModel(
        settings,
        state,
        names,
        tuple(notes),
        tuple(unused),
        foreign_name=_namer(prefix, step),
    )


def own_name(key: str, *, step: int = 2) -> str:
    """Our name of a tensor of detectron2's.

    Args:
        key: the name there.
        step: how many modules each hidden layer of a subnet has there: convolution and ReLU, and a
            norm between them where it is 3.
    """
    return _renamed(
        key,
        (
            (r"^backbone\.bottom_up\.stem\.conv1\.norm\.", f"{_BODY}bn1."),
            (r"^backbone\.bottom_up\.stem\.conv1\.", f"{_BODY}conv1."),
            (
                r"^backbone\.bottom_up\.res([2-5])\.(\d+)\.(conv([123])|shortcut)\.(norm\.)?",
                _own_block,
            ),
            (
                r"^backbone\.fpn_(lateral|output)([345])\.",
                lambda found: f"fpn.{found[1]}.{int(found[2]) - 3}.",
            ),
            (r"^backbone\.top_block\.p([67])\.", lambda found: f"fpn.extra.{int(found[1]) - 6}."),
            (
                r"^head\.(cls|bbox)_subnet\.(\d+)\.",
                lambda found: _own_hidden(_SUBNETS[found[1]], int(found[2]), step),
            ),
            (r"^head\.cls_score\.", "classification.output."),
            (r"^head\.bbox_pred\.", "box.output."),
        ),
    )


def foreign_name(key: str, *, step: int = 2) -> str:
    """The name that detectron2 has for a tensor of ours; see `own_name`."""
    return _renamed(
        key,
        (
            (r"^backbone\.body\.bn1\.", "backbone.bottom_up.stem.conv1.norm."),
            (r"^backbone\.body\.conv1\.", "backbone.bottom_up.stem.conv1."),
            (
                r"^backbone\.body\.layer([1-4])\.(\d+)\.(conv|bn|downsample\.)(\d)\.",
                _foreign_block,
            ),
            (
                r"^fpn\.(lateral|output)\.(\d+)\.",
                lambda found: f"backbone.fpn_{found[1]}{int(found[2]) + 3}.",
            ),
            (
                r"^fpn\.extra\.(\d+)\.",
                lambda found: f"backbone.top_block.p{int(found[1]) + 6}.",
            ),
            (
                r"^(classification|box)\.tower\.(\d+)\.(conv|norm)\.",
                lambda found: (
                    f"head.{_OWN_SUBNETS[found[1]]}_subnet."
                    f"{step * int(found[2]) + (found[3] == 'norm')}."
                ),
            ),
            (r"^classification\.output\.", f"{CLASS_LAYER}."),
            (r"^box\.output\.", f"{BOX_LAYER}."),
        ),
    )


def _renamed(key: str, rules: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]) -> str:
    for pattern, rename in rules:
        renamed, count = re.subn(pattern, rename, key)
        if count:
            return renamed
    return key


def _own_block(found: re.Match[str]) -> str:
    place = f"{_BODY}layer{int(found[1]) - 1}.{found[2]}"
    if found[4] is None:
        return f"{place}.downsample.{int(found[5] is not None)}."
    return f"{place}.{'conv' if found[5] is None else 'bn'}{found[4]}."


def _foreign_block(found: re.Match[str]) -> str:
    place = f"backbone.bottom_up.res{int(found[1]) + 1}.{found[2]}"
    if found[3] == "downsample.":
        return f"{place}.shortcut.{'norm.' if found[4] == '1' else ''}"
    return f"{place}.conv{found[4]}.{'norm.' if found[3] == 'bn' else ''}"


def _own_hidden(subnet: str, index: int, step: int) -> str:
    layer, part = divmod(index, step)
    return f"{subnet}.tower.{layer}.{('conv', 'norm', 'relu')[part]}."


def _namer(prefix: str, step: int) -> Callable[[str], str]:
    return lambda key: prefix + foreign_name(key, step=step)


def _prefix(file: ForeignFile) -> str | None:
    return next(
        (key.removesuffix(STEM) for key in file.tensors if key == STEM or key.endswith(f".{STEM}")),
        None,
    )


def _layers_of_a_step(file: ForeignFile, named: Mapping[str, Tensor]) -> int:
    """3 where the subnets have group norm, else 2."""
    if any(re.match(r"head\.\w+_subnet\.\d+\.(\d+\.)?running_mean$", key) for key in named):
        raise WeightsError(
            f"{file.path}: its subnets have batch norm, with statistics of their own for each "
            "level, which foveal's have not. Expected MODEL.RETINANET.NORM to be '' or 'GN': "
            "train it with one of these."
        )
    return 3 if "head.cls_subnet.1.weight" in named else 2


def _fold_pyramid_norms(file: ForeignFile, state: dict[str, Tensor]) -> list[str]:
    """Put batch norms of the pyramid into its convolutions; what to say of it."""
    normed = [key.removesuffix(".norm.weight") for key in state if key.startswith("fpn.")]
    normed = [conv for conv in normed if f"{conv}.norm.weight" in state]
    for conv in normed:
        if f"{conv}.norm.running_mean" not in state:
            raise WeightsError(
                f"{file.path}: its pyramid has group norm, which foveal's has not. Expected "
                "MODEL.FPN.NORM to be '', 'FrozenBN' or 'BN'."
            )
        inside = [key for key in state if key.startswith(f"{conv}.norm.")]
        norm = {key.removeprefix(f"{conv}.norm."): state.pop(key) for key in inside}
        state[f"{conv}.weight"], state[f"{conv}.bias"] = fold_batch_norm(
            state[f"{conv}.weight"], state.get(f"{conv}.bias"), norm, eps=EPS
        )
    return ["The batch norms of the pyramid are part of its convolutions now."] if normed else []


def _config(file: ForeignFile, notes: list[str], *, num_classes: int) -> Detectron2Config:
    config, said = find_config(file.path)
    notes += said
    if config.source is None:
        return config
    if config.num_classes != num_classes:
        notes.append(
            f"{config.source}: is of another network, with {config.num_classes} classes instead of "
            f"{num_classes}, and was not used."
        )
        return Detectron2Config()
    notes.append(f"What the weights do not tell was taken from {config.source}.")
    return config


def _with_habits(
    config: Detectron2Config,
    named: Mapping[str, Tensor],
    backbone: str,
    options: ImportOptions,
    notes: list[str],
) -> Detectron2Config:
    """The config with stride and normalization, from the weights or by habit where it is silent."""
    if options.backbone_stride_in is not None:
        config = replace(config, stride_in_1x1=options.backbone_stride_in == "1x1")
    elif backbone in _WITHOUT_BOTTLENECKS:
        config = replace(config, stride_in_1x1=False)
    elif config.stride_in_1x1 is None:
        config = replace(config, stride_in_1x1=backbone.startswith("resnet"))
    stored = [tuple(named[key].flatten().tolist()) for key in _NORMALIZATION if key in named]
    if [len(values) for values in stored] == [3, 3]:
        if config.source is None:
            config = replace(config, bgr=stored[0][0] <= stored[0][2])
        config = replace(config, mean=stored[0], std=stored[1])
    elif config.mean is None:
        if config.stride_in_1x1:
            config = replace(config, mean=BGR_MEAN, std=MSRA_STD)
        elif backbone.startswith("resnext"):
            config = replace(config, mean=BGR_MEAN, std=RESNEXT_STD)
        else:
            config = replace(config, mean=RGB_MEAN, std=RGB_STD, bgr=False)
    if config.source is None:
        notes.append(_assumed(config, backbone))
    return config


def _assumed(config: Detectron2Config, backbone: str) -> str:
    """What was taken for granted, and how to say otherwise."""
    assert config.mean is not None
    assert config.std is not None
    mean, std = (", ".join(f"{value:g}" for value in part) for part in (config.mean, config.std))
    stride = "the first 1x1" if config.stride_in_1x1 else "the 3x3"
    strides = (
        "" if backbone in _WITHOUT_BOTTLENECKS else f", and the stride in {stride} convolution"
    )
    other = "3x3" if config.stride_in_1x1 else "1x1"
    return (
        f"The weights do not tell the input's form, and no config.yaml lies beside them. Taken to "
        f"be {'BGR' if config.bgr else 'RGB'} with mean {mean} and deviation {std}{strides}. If "
        "that is wrong, put the training's config.yaml beside the file"
        + (
            "."
            if backbone in _WITHOUT_BOTTLENECKS
            else f", or say --backbone-stride-in {other} (in Python backbone_stride_in={other!r})."
        )
    )


def _settings(
    config: Detectron2Config,
    state: Mapping[str, Tensor],
    backbone: str,
    options: ImportOptions,
    cells: list[list[list[float]]],
    notes: list[str],
) -> Settings:
    assert config.mean is not None
    assert config.std is not None
    mean, std = (part[::-1] if config.bgr else part for part in (config.mean, config.std))
    found = [
        f"model.backbone={backbone}",
        f"model.backbone_stride_in={'1x1' if config.stride_in_1x1 else '3x3'}",
        f"model.norm={_norm(state)}",
        f"model.norm_eps={EPS}",
        *network_settings(state),
        f"preparation.shorter={config.shorter}",
        f"preparation.longer={max(config.shorter, config.longer)}",
        f"preparation.mean={[round(value / 255, 12) for value in mean]}",
        f"preparation.std={[round(value / 255, 12) for value in std]}",
        f"decoding.score_threshold={config.score_threshold}",
        f"decoding.top_per_level={config.top_per_level}",
        f"decoding.nms_iou={config.nms_iou}",
        f"decoding.max_detections={config.max_detections}",
    ]
    settings = options.settings([*found, *config.anchors()])
    chosen = any(part.strip().startswith("anchors.") for part in options.overrides)
    if chosen or len(cells) != len(settings.anchors.strides):
        return settings
    grid = AnchorGrid(**settings.anchors.model_dump())
    if all(_are_close(grid, level, boxes) for level, boxes in enumerate(cells)):
        return settings
    notes.append("The anchors are those that stand in the file, box by box.")
    offset = f"anchors.compat=[{config.offset}, false, false]"
    return options.settings([*found, offset, f"anchors.shapes={cells}"])


def _norm(state: Mapping[str, Tensor]) -> str:
    if f"{_BODY}bn1.running_mean" not in state:
        return "group"
    return "live" if f"{_BODY}bn1.num_batches_tracked" in state else "frozen"


def _cells(named: Mapping[str, Tensor]) -> list[list[list[float]]]:
    """The boxes of a location of each level, where old files hold them: [L][A][4], pixels."""
    keys = sorted((key for key in named if key.startswith(_CELLS)), key=lambda key: (len(key), key))
    return [named[key].tolist() for key in keys]


def _are_close(grid: AnchorGrid, level: int, boxes: list[list[float]]) -> bool:
    given = np.array(boxes, np.float32)
    own = grid.at_origin(level)
    return given.shape == own.shape and np.allclose(given, own, rtol=1e-5, atol=1e-3)
