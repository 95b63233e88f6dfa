"""Checkpoints of MMDetection's RetinaNet, versions 2 and 3, published ones and others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.checkpoints.anchor_order import from_ratio_major
from foveal.checkpoints.folding import fold_batch_norm, fold_box_factors, reverse_bands
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.checkpoints.mmdetection_config import (
    CAFFE_MEAN,
    CAFFE_STD,
    PYTORCH_MEAN,
    PYTORCH_STD,
    MMDetectionConfig,
    read_config,
    shown,
)
from foveal.checkpoints.network_shapes import network_settings
from foveal.checkpoints.resnets import find_resnet
from foveal.errors import WeightsError
from foveal.text import counted

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.checkpoints.foreign_files import ForeignFile
    from foveal.config import Settings

CLASS_LAYER = "bbox_head.retina_cls"
BOX_LAYER = "bbox_head.retina_reg"
EPS = 1e-5
GROUPS = 32

KINDS = {
    "head": ("RetinaHead", "FreeAnchorRetinaHead", "PISARetinaHead"),
    "generator": ("AnchorGenerator",),
    "coder": ("DeltaXYWHBBoxCoder",),
}
"""Types in a config that compute the same; the heads differ in their training alone."""

_BODY = "backbone.body."
_WITHOUT_BOTTLENECKS = ("resnet18", "resnet34")
_AVERAGED = "ema_"
"""With this MMDetection 2 begins the names of the weights that are not averaged."""

_SUBNETS = {"cls": "classification", "reg": "box"}
_PARTS = {"conv": "conv", "gn": "norm", "bn": "conv.bn"}
_OWN_SUBNETS = {own: foreign for foreign, own in _SUBNETS.items()}

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

_OWN_NAMES: Rules = (
    (r"^backbone\.", _BODY),
    (r"^neck\.lateral_convs\.(\d+)\.(?:conv\.)?", r"fpn.lateral.\1."),
    (r"^neck\.fpn_convs\.([012])\.(?:conv\.)?", r"fpn.output.\1."),
    (r"^neck\.fpn_convs\.(\d+)\.(?:conv\.)?", lambda found: f"fpn.extra.{int(found[1]) - 3}."),
    (
        r"^bbox_head\.(cls|reg)_convs\.(\d+)\.(conv|gn|bn)\.",
        lambda found: f"{_SUBNETS[found[1]]}.tower.{found[2]}.{_PARTS[found[3]]}.",
    ),
    (r"^bbox_head\.retina_cls\.", "classification.output."),
    (r"^bbox_head\.retina_reg\.", "box.output."),
)

_FOREIGN_NAMES: Rules = (
    (r"^backbone\.body\.", "backbone."),
    (r"^fpn\.lateral\.(\d+)\.", r"neck.lateral_convs.\1.conv."),
    (r"^fpn\.output\.(\d+)\.", r"neck.fpn_convs.\1.conv."),
    (r"^fpn\.extra\.(\d+)\.", lambda found: f"neck.fpn_convs.{int(found[1]) + 3}.conv."),
    (
        r"^(classification|box)\.tower\.(\d+)\.(conv|norm)\.",
        lambda found: (
            f"bbox_head.{_OWN_SUBNETS[found[1]]}_convs.{found[2]}."
            f"{'gn' if found[3] == 'norm' else 'conv'}."
        ),
    ),
    (r"^classification\.output\.", f"{CLASS_LAYER}."),
    (r"^box\.output\.", f"{BOX_LAYER}."),
)


def recognize(file: ForeignFile) -> str | None:
    """Why a file is of MMDetection's RetinaNet, in a few words; None where it is not."""
    if not _prefixes(file):
        return None
    return f"it has {CLASS_LAYER} and {BOX_LAYER}"


def convert(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn a checkpoint of MMDetection's RetinaNet into ours, with the same raw output.

    The order of the anchors is ours: the output layers' channels are permuted. What the weights do
    not tell is looked for in the config's text, which the file holds and which is never run; else
    it is as in MMDetection's published 'pytorch' models, and the notes say so.

    Raises:
        WeightsError: the network can't be held, or the names are too many or too few.
        SettingsError: an override is wrong.
    """
    notes: list[str] = []
    prefix = _chosen_prefix(file, notes)
    config = read_config(file.values.get("meta"))
    _check_kind(file, prefix, config, options)
    state, unused = _own_state(file, prefix)
    if "ema_state_dict" in file.others or any(key.startswith(_AVERAGED) for key in unused):
        notes.append(
            "The training kept averaged weights (EMA). They are the ones that were taken: "
            "MMDetection writes them in the network's place, and the others aside."
        )
    if config.nms not in (None, "nms"):
        notes.append(
            f"Its NMS is {config.nms}; here it is hard NMS. Another is set by --set "
            "decoding.nms_method=NAME."
        )
    _fold_norms(state, notes)
    backbone = find_resnet(state, prefix=_BODY, where=file.path)
    config = _with_habits(config, backbone, options, notes)
    settings = _settings(config, state, backbone, options)
    num_classes = _check_outputs(file, state, settings)
    _adapt_weights(state, config, settings)
    return ImportedModel(
        settings,
        state,
        _classes(file, config, options, num_classes, notes),
        tuple(notes),
        tuple(unused),
        foreign_name=lambda key: prefix + foreign_name(key),
        origin=config.version or "",
    )


def own_name(key: str) -> str:
    """Our name of a tensor of MMDetection's."""
    return _renamed(key, _OWN_NAMES)


def foreign_name(key: str) -> str:
    """The name that MMDetection has for a tensor of ours."""
    return _renamed(key, _FOREIGN_NAMES)


def _renamed(key: str, rules: Rules) -> str:
    for pattern, rename in rules:
        renamed, count = re.subn(pattern, rename, key)
        if count:
            return renamed
    return key


def _prefixes(file: ForeignFile) -> list[str]:
    """What stands before the names of a whole network; several of a teacher and a student."""
    layers = (f"{CLASS_LAYER}.weight", f"{BOX_LAYER}.weight")
    found = [key.removesuffix(layers[0]) for key in file.tensors if key.endswith(layers[0])]
    return [prefix for prefix in found if prefix + layers[1] in file.tensors]


def _chosen_prefix(file: ForeignFile, notes: list[str]) -> str:
    prefixes = _prefixes(file)
    teachers = [prefix for prefix in prefixes if prefix.endswith("teacher.")]
    if len(prefixes) == 1:
        return prefixes[0]
    if len(teachers) == 1:
        notes.append("Of teacher and student the teacher was taken, whose weights are averaged.")
        return teachers[0]
    raise WeightsError(
        f"{file.path}: holds {counted(len(prefixes), 'network')}, whose names begin with "
        f"{', '.join(prefixes[:4])}. Expected one: save the state dict of one of them."
    )


def _check_kind(
    file: ForeignFile, prefix: str, config: MMDetectionConfig, options: ImportOptions
) -> None:
    """Refuse what has the same names and is another network."""
    old = config.version is not None and config.version.split(".")[0] in ("0", "1")
    if old or f"{prefix}bbox_head.cls_convs.0.weight" in file.tensors:
        raise WeightsError(
            f"{file.path}: is of MMDetection 1, whose anchors and boxes are a pixel larger. "
            "Expected a checkpoint of version 2 or 3: train it on with one of them."
        )
    for part, kinds in KINDS.items():
        found = getattr(config, part)
        if found is not None and found not in kinds:
            raise WeightsError(
                f"{file.path}: its config has a {found}, which makes anchors or boxes in another "
                f"way. Expected {' or '.join(kinds)}."
            )
    if config.extra_convs == "on_lateral":
        raise WeightsError(
            f"{file.path}: makes P6 of the lateral convolution's result "
            "(add_extra_convs is 'on_lateral'), which foveal's pyramid does not. Expected "
            "'on_input' or 'on_output'."
        )
    if config.num_groups != GROUPS:
        raise WeightsError(
            f"{file.path}: its subnets' group norm has {config.num_groups} groups. Expected "
            f"{GROUPS}."
        )
    if options.background:
        raise WeightsError(
            f"{file.path}: MMDetection's RetinaNet has no background channel to leave out: "
            "every channel of its class layer is a class."
        )


def _own_state(file: ForeignFile, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """The network in our names, and the names of what is not of it."""
    state = {}
    unused = []
    for key, value in file.tensors.items():
        name = key.removeprefix(prefix)
        averaged = name.startswith(_AVERAGED) and "." not in name
        if not key.startswith(prefix) or averaged or name.startswith("data_preprocessor."):
            unused.append(key)
        else:
            state[own_name(name)] = value
    return state, unused


def _fold_norms(state: dict[str, Tensor], notes: list[str]) -> None:
    """Put batch norms of pyramid and subnets into their convolutions."""
    normed = sorted(
        {key.rpartition(".bn.")[0] for key in state if ".bn." in key and not key.startswith(_BODY)}
    )
    for conv in normed:
        inside = [key for key in state if key.startswith(f"{conv}.bn.")]
        norm = {key.removeprefix(f"{conv}.bn."): state.pop(key) for key in inside}
        state[f"{conv}.weight"], state[f"{conv}.bias"] = fold_batch_norm(
            state[f"{conv}.weight"], state.get(f"{conv}.bias"), norm, eps=EPS
        )
    if normed:
        notes.append(
            f"The batch norms of {counted(len(normed), 'convolution')} of pyramid and subnets are "
            "part of them now."
        )


def _with_habits(
    config: MMDetectionConfig, backbone: str, options: ImportOptions, notes: list[str]
) -> MMDetectionConfig:
    """The config with stride and normalization, by habit where it is silent."""
    said = config
    if options.backbone_stride_in is not None:
        config = replace(config, caffe=options.backbone_stride_in == "1x1")
    elif config.caffe is None:
        config = replace(config, caffe=False)
    if config.mean is None or config.std is None:
        caffe = bool(config.caffe)
        config = replace(
            config,
            mean=CAFFE_MEAN if caffe else PYTORCH_MEAN,
            std=CAFFE_STD if caffe else PYTORCH_STD,
            rgb=not caffe,
        )
    elif config.rgb is None:
        config = replace(config, rgb=config.mean[0] > config.mean[2])
    if backbone in _WITHOUT_BOTTLENECKS and options.backbone_stride_in is None:
        config = replace(config, caffe=False)
    assert config.mean is not None
    assert config.std is not None
    if said.text:
        notes.append(
            "What the weights do not tell was read from the config's text in the file: "
            f"{'RGB' if config.rgb else 'BGR'} with mean {shown(config.mean)} and deviation "
            f"{shown(config.std)}, style {'caffe' if config.caffe else 'pytorch'}."
        )
        return config
    other = "3x3" if config.caffe else "1x1"
    notes.append(
        "The file holds no config. Taken to be of style "
        f"{'caffe' if config.caffe else 'pytorch'}: {'RGB' if config.rgb else 'BGR'} with mean "
        f"{shown(config.mean)} and deviation {shown(config.std)}"
        + (
            "."
            if backbone in _WITHOUT_BOTTLENECKS
            else f", and the stride in the {'first 1x1' if config.caffe else '3x3'} convolution. "
            f"If that is wrong: --backbone-stride-in {other} (in Python "
            f"backbone_stride_in={other!r})."
        )
    )
    return config


def _settings(
    config: MMDetectionConfig, state: Mapping[str, Tensor], backbone: str, options: ImportOptions
) -> Settings:
    assert config.mean is not None
    assert config.std is not None
    mean, std = (part if config.rgb else part[::-1] for part in (config.mean, config.std))
    found = [
        f"model.backbone={backbone}",
        f"model.backbone_stride_in={'1x1' if config.caffe else '3x3'}",
        f"model.norm={'live' if config.live_norm else 'frozen'}",
        f"model.norm_eps={EPS}",
        *network_settings(state),
        f"model.relu_before_p7={'true' if config.relu_before_extra else 'false'}",
        *config.anchors(),
        f"preparation.shorter={config.shorter}",
        f"preparation.longer={config.longer}",
        f"preparation.mean={[round(value / 255, 12) for value in mean]}",
        f"preparation.std={[round(value / 255, 12) for value in std]}",
        f"decoding.score_threshold={config.score_threshold}",
        f"decoding.top_per_level={config.top_per_level}",
        f"decoding.nms_iou={config.nms_iou}",
        f"decoding.max_detections={config.max_detections}",
    ]
    return options.settings(found)


def _check_outputs(file: ForeignFile, state: Mapping[str, Tensor], settings: Settings) -> int:
    """The number of classes."""
    per_location = settings.anchors.per_location
    scores, boxes = (state.get(f"{subnet}.output.bias") for subnet in ("classification", "box"))
    if scores is None or boxes is None:
        raise WeightsError(
            f"{file.path}: has no {CLASS_LAYER}.bias or no {BOX_LAYER}.bias. Expected the complete "
            "weights of a RetinaNet of MMDetection."
        )
    if boxes.numel() == 5 * per_location:
        raise WeightsError(
            f"{file.path}: {BOX_LAYER} has 5 values for each of {per_location} anchors: these are "
            "rotated boxes (MMRotate). Expected 4 values: upright boxes."
        )
    if boxes.numel() != 4 * per_location or scores.numel() % per_location or not scores.numel():
        raise WeightsError(
            f"{file.path}: {BOX_LAYER} has {boxes.numel()} channels and {CLASS_LAYER} "
            f"{scores.numel()}. Expected 4 and one for each class, for each of {per_location} "
            "anchors of a location. If it was trained with others, pass them, such as --set "
            "anchors.scales=[1.0] (in Python overrides=[...])."
        )
    return scores.numel() // per_location


def _adapt_weights(state: dict[str, Tensor], config: MMDetectionConfig, settings: Settings) -> None:
    """Bring bands, deltas and the order of the anchors into our form."""
    if not config.rgb:
        state[f"{_BODY}conv1.weight"] = reverse_bands(state[f"{_BODY}conv1.weight"])
    box = ("box.output.weight", "box.output.bias")
    if set(config.box_factors) != {1.0} or set(config.box_offsets) != {0.0}:
        state[box[0]], state[box[1]] = fold_box_factors(
            state[box[0]],
            state[box[1]],
            factors=config.box_factors,
            offsets=config.box_offsets,
        )
    if config.scale_major and not settings.anchors.shapes:
        scales, ratios = len(settings.anchors.scales), len(settings.anchors.ratios)
        for key in ("classification.output.weight", "classification.output.bias", *box):
            state[key] = from_ratio_major(state[key], scales=scales, ratios=ratios)


def _classes(
    file: ForeignFile,
    config: MMDetectionConfig,
    options: ImportOptions,
    num_classes: int,
    notes: list[str],
) -> tuple[str, ...] | None:
    """The names that a person gives, else the file's, else COCO's where there are 80."""
    if options.classes is None and config.classes is not None:
        if len(config.classes) == num_classes:
            return config.classes
        notes.append(
            f"The file names {counted(len(config.classes), 'class')} and its network has "
            f"{num_classes}: the names were not used."
        )
    names = options.names(num_classes, where=file.path)
    if names is not None and options.classes is None:
        notes.append(
            "It does not name its classes. They are 80, and are taken to be COCO's: --classes FILE "
            "names others."
        )
    return names
