"""Weights of torchvision's RetinaNet, both of its versions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.checkpoints.anchor_order import from_ratio_major
from foveal.checkpoints.coco_names import COCO_NAMES
from foveal.checkpoints.imported_model import ImportedModel, ImportOptions
from foveal.checkpoints.resnets import find_resnet
from foveal.config import Settings
from foveal.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from foveal.checkpoints.foreign_files import ForeignFile

CLASS_LAYER = "head.classification_head.cls_logits"
BOX_LAYER = "head.regression_head.bbox_reg"
STEM = "backbone.body.conv1.weight"
OWN_BUFFERS = ("mean", "std")
INPUT_SIDES = ("preparation.shorter", "preparation.longer")

NAMES = (
    (r"^fpn\.lateral\.(\d+)\.", r"backbone.fpn.inner_blocks.\1.0."),
    (r"^fpn\.output\.(\d+)\.", r"backbone.fpn.layer_blocks.\1.0."),
    (r"^fpn\.extra\.0\.", "backbone.fpn.extra_blocks.p6."),
    (r"^fpn\.extra\.1\.", "backbone.fpn.extra_blocks.p7."),
    (r"^classification\.output\.", f"{CLASS_LAYER}."),
    (r"^box\.output\.", f"{BOX_LAYER}."),
    (r"^classification\.tower\.(\d+)\.conv\.", r"head.classification_head.conv.\1.0."),
    (r"^classification\.tower\.(\d+)\.norm\.", r"head.classification_head.conv.\1.1."),
    (r"^box\.tower\.(\d+)\.conv\.", r"head.regression_head.conv.\1.0."),
    (r"^box\.tower\.(\d+)\.norm\.", r"head.regression_head.conv.\1.1."),
)
"""Our names and torchvision's; those of the backbone are the same."""

OWN_NAMES = (
    (r"^backbone\.fpn\.inner_blocks\.(\d+)\.0\.", r"fpn.lateral.\1."),
    (r"^backbone\.fpn\.layer_blocks\.(\d+)\.0\.", r"fpn.output.\1."),
    (r"^backbone\.fpn\.extra_blocks\.p6\.", "fpn.extra.0."),
    (r"^backbone\.fpn\.extra_blocks\.p7\.", "fpn.extra.1."),
    (rf"^{re.escape(CLASS_LAYER)}\.", "classification.output."),
    (rf"^{re.escape(BOX_LAYER)}\.", "box.output."),
    (r"^head\.classification_head\.conv\.(\d+)\.0\.", r"classification.tower.\1.conv."),
    (r"^head\.classification_head\.conv\.(\d+)\.1\.", r"classification.tower.\1.norm."),
    (r"^head\.regression_head\.conv\.(\d+)\.0\.", r"box.tower.\1.conv."),
    (r"^head\.regression_head\.conv\.(\d+)\.1\.", r"box.tower.\1.norm."),
)
"""The way back."""


def recognize(file: ForeignFile) -> str | None:
    """Why a file is of torchvision's RetinaNet, in a few words; None where it is not."""
    stem = _stem(file)
    if stem is None:
        return None
    head = f"{stem.removesuffix(STEM)}head."
    if f"{stem.removesuffix(STEM)}{BOX_LAYER}.weight" not in file.tensors or any(
        name.startswith(f"{head}regression_head.bbox_ctrness") for name in file.tensors
    ):
        return None  # another of torchvision's detectors
    return f"it has {STEM} and {BOX_LAYER}"


def convert(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn a checkpoint of torchvision's RetinaNet into ours, with the same detections.

    See `convert_network`; and the size to which images are scaled, which no checkpoint says, is
    torchvision's own unless an override says it.

    Raises:
        WeightsError: the file is of another network, or the names are too many or too few.
        SettingsError: an override is wrong.
    """
    converted = convert_network(file, options)
    return replace(converted, notes=(*converted.notes, *_describe_input(converted, options)))


def convert_network(file: ForeignFile, options: ImportOptions) -> ImportedModel:
    """Turn the network of a checkpoint into ours, with the same raw output.

    The order of the anchors is ours: the output layers' channels are permuted.

    It may be a plain state dict or stand inside a training program's checkpoint, with or without
    a prefix to its names. Frozen batch norm is taken to have eps 0, as with the published weights;
    a network that was trained from ImageNet weights only has "model.norm_eps=1e-5".

    Of the classes one name fewer than the class layer's channels means that the first channel
    is torchvision's unused background, which goes; as many as channels means that all are
    classes. Without names: COCO's own for 91 channels, else numbered ones.

    Raises:
        WeightsError: the file is of another network, or the names are too many or too few.
        SettingsError: an override is wrong.
    """
    state, others = _plain_names(file)
    settings, notes = _settings(file, state, options)
    scales, ratios = len(settings.anchors.scales), len(settings.anchors.ratios)
    per_location = scales * ratios
    _check_anchors(file, state, per_location)
    channels = state[f"{CLASS_LAYER}.bias"].numel() // per_location
    names, background = _class_names(file, channels, options)
    notes += _describe_classes(channels, options, background=background)
    if background:
        for key in (f"{CLASS_LAYER}.weight", f"{CLASS_LAYER}.bias"):
            state[key] = by_anchor(state[key], per_location)[:, 1:].flatten(0, 1)
    for layer in (CLASS_LAYER, BOX_LAYER):
        for key in (f"{layer}.weight", f"{layer}.bias"):
            state[key] = from_ratio_major(state[key], scales=scales, ratios=ratios)
    return ImportedModel(
        settings,
        {own_name(key): value for key, value in state.items()},
        names,
        tuple(notes),
        tuple(others),
        foreign_name=foreign_name,
    )


def _describe_input(converted: ImportedModel, options: ImportOptions) -> list[str]:
    """The size to which images are scaled, where no person said it."""
    if any(part.startswith(INPUT_SIDES) for part in options.overrides):
        return []
    prepared = converted.settings.preparation
    return [
        f"It does not say to which size images are scaled, and torchvision's own is taken: the "
        f"shorter side {prepared.shorter} pixels, the longer at most {prepared.longer}. Where "
        "min_size and max_size were others: --set preparation.shorter=N --set "
        "preparation.longer=N."
    ]


def by_anchor(tensor: Tensor, per_location: int) -> Tensor:
    """See the class layer's [A * K, ...] as [A, K, ...]."""
    return tensor.reshape(per_location, -1, *tensor.shape[1:])


def foreign_name(key: str) -> str:
    """The name that torchvision has for a tensor of ours."""
    return _renamed(key, NAMES)


def own_name(key: str) -> str:
    """Our name of a tensor of torchvision's."""
    return _renamed(key, OWN_NAMES)


def _renamed(key: str, names: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in names:
        key, count = re.subn(pattern, replacement, key)
        if count:
            return key
    return key


def _stem(file: ForeignFile) -> str | None:
    return next((key for key in file.tensors if key == STEM or key.endswith("." + STEM)), None)


def _plain_names(file: ForeignFile) -> tuple[dict[str, Tensor], list[str]]:
    """Today's names, without the training program's prefix; and what is not under it."""
    stem = _stem(file)
    assert stem is not None, "recognize is asked first"
    prefix = stem.removesuffix(STEM)
    named = {
        _current_name(key.removeprefix(prefix)): value
        for key, value in file.tensors.items()
        if key.startswith(prefix)
    }
    others = [key for key in file.tensors if not key.startswith(prefix)]
    return named, others


def _current_name(key: str) -> str:
    """Until 2022 a block was its convolution itself, and the heads counted their ReLUs as well."""
    key = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)
    if old := re.fullmatch(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)", key):
        return f"{old[1]}.{int(old[2]) // 2}.0.{old[3]}"
    return key


def _settings(
    file: ForeignFile, state: Mapping[str, Tensor], options: ImportOptions
) -> tuple[Settings, list[str]]:
    backbone = find_resnet(state, prefix="backbone.body.", where=file.path)
    if options.backbone_stride_in == "1x1":
        raise WeightsError(
            f"{file.path}: torchvision's ResNets have their stride in the 3x3 convolution. "
            "Leave out --backbone-stride-in 1x1 (in Python backbone_stride_in=...), or choose "
            "another source: --from SOURCE."
        )
    pyramid = _shape(state, "backbone.fpn.inner_blocks.0.0.weight")[:1] or (256,)
    from_p5 = _shape(state, "backbone.fpn.extra_blocks.p6.weight")[1:2] == pyramid
    grouped = "head.classification_head.conv.0.1.weight" in state
    found = [
        f"model.backbone={backbone}",
        f"model.bands={_shape(state, STEM)[1]}",
        f"model.fpn_channels={pyramid[0]}",
        f"model.head_channels={pyramid[0]}",
        f"model.p6_from={'P5' if from_p5 else 'C5'}",
        f"model.head_norm={'group' if grouped else 'none'}",
    ]
    notes = []
    if "backbone.body.bn1.running_mean" not in state:
        found += ["model.norm=group", "model.norm_eps=1e-5"]
    elif "backbone.body.bn1.num_batches_tracked" in state:
        found += ["model.norm=live", "model.norm_eps=1e-5"]
    else:
        found += ["model.norm=frozen", "model.norm_eps=0.0"]
        if not any(part.startswith("model.norm_eps") for part in options.overrides):
            notes.append(
                "Batch norm is frozen, and its eps is taken to be 0, as in the published weights. "
                "If the training began from ImageNet weights alone: --set model.norm_eps=1e-5."
            )
    if any(key.startswith("backbone.fpn.inner_blocks.3.") for key in state):
        found += ["anchors.strides=[4,8,16,32,64,128]", "anchors.sizes=[16,32,64,128,256,512]"]
        if not any(part.startswith("anchors.sizes") for part in options.overrides):
            notes.append(
                "Its finest level has stride 4, and the anchors' sizes there are taken to begin at "
                "16 pixels. If others were used: --set anchors.sizes=[16,32,64,128,256,512]."
            )
    preset = "torchvision_v2" if grouped else "torchvision"
    return options.settings(found, preset=preset), notes


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    return tuple(state[key].shape) if key in state else ()


def _check_anchors(file: ForeignFile, state: Mapping[str, Tensor], per_location: int) -> None:
    boxes = _shape(state, f"{BOX_LAYER}.bias")
    scores = _shape(state, f"{CLASS_LAYER}.bias")
    if not boxes or not scores:
        raise WeightsError(
            f"{file.path}: has no {CLASS_LAYER} or no {BOX_LAYER}; it is incomplete."
        )
    if boxes[0] != 4 * per_location or scores[0] % per_location:
        raise WeightsError(
            f"{file.path}: has {boxes[0] // 4} anchors at each location, expected {per_location}. "
            "Pass those it was trained with, such as --set anchors.scales=[1.0] "
            "--set anchors.ratios=[1.0] (in Python overrides=[...])."
        )


def _describe_classes(channels: int, options: ImportOptions, *, background: bool) -> list[str]:
    """What was assumed of the classes, where no person said it."""
    if options.classes is not None:
        return []
    lines = []
    if background and options.background is None:
        lines.append(
            f"The first of {channels} class channels is taken for torchvision's background, which "
            "it never detects. If it is a class: --no-background."
        )
    coco = background and channels == len(COCO_NAMES) + 1
    said = "the names are taken to be COCO's" if coco else "and they are numbered"
    lines.append(f"It says no names of classes, {said}: --classes FILE names them.")
    return lines


def _class_names(
    file: ForeignFile, channels: int, options: ImportOptions
) -> tuple[tuple[str, ...], bool]:
    """The names, and whether the first channel is an unused background."""
    if options.classes is None:
        if channels == len(COCO_NAMES) + 1 and options.background is not False:
            return COCO_NAMES, True
        background = channels > 1 if options.background is None else options.background
        return tuple(f"class {n}" for n in range(int(background), channels)), background
    names = options.classes
    if len(names) == channels and names[0].strip("_").lower() == "background":
        names = names[1:]
    fitting = {None: (channels - 1, channels), True: (channels - 1,), False: (channels,)}
    if len(names) not in fitting[options.background] or not names:
        expected = {
            None: f"{channels - 1} (the first channel is background) or {channels}",
            True: f"{channels - 1}, since the first channel is background",
            False: f"{channels}, since no channel is background (--no-background)",
        }
        raise WeightsError(
            f"{file.path}: has {channels} class channels and there are {len(names)} names. "
            f"Expected {expected[options.background]}: --classes FILE (in Python classes=...)."
        )
    return names, len(names) < channels
