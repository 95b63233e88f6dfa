"""Weights of torchvision's RetinaNet, both of its versions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from foveal.checkpoints.anchor_order import from_ratio_major
from foveal.checkpoints.coco_names import COCO_NAMES
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import Settings, make_settings
from foveal.errors import WeightsError
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet
from foveal.models.state_dicts import read_state_dict
from foveal.structures import ModelCard

CLASS_LAYER = "head.classification_head.cls_logits"
BOX_LAYER = "head.regression_head.bbox_reg"
STEM = "backbone.body.conv1.weight"
OWN_BUFFERS = ("mean", "std")

RESNETS: dict[tuple[str, tuple[int, ...]], str] = {
    ("conv2", (2, 2, 2, 2)): "resnet18",
    ("conv2", (3, 4, 6, 3)): "resnet34",
    ("conv3", (3, 4, 6, 3)): "resnet50",
    ("conv3", (3, 4, 23, 3)): "resnet101",
    ("conv3", (3, 8, 36, 3)): "resnet152",
}
"""By the last convolution of a block and the number of blocks in each stage."""

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

logger = logging.getLogger(__name__)


def import_torchvision(
    path: Path | str,
    *,
    classes: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
) -> LoadedModel:
    """Turn a checkpoint of torchvision's RetinaNet into a model with the same detections.

    The order of the anchors is ours: the output layers' channels are permuted.

    It may be a plain state dict or stand inside a training program's checkpoint, with or without
    a prefix to its names. Frozen batch norm is taken to have eps 0, as with the published weights;
    a network that was trained from ImageNet weights only has "model.norm_eps=1e-5".

    Args:
        path: the checkpoint, a torch or a safetensors file.
        classes: the names. One fewer than the class layer's channels means that the first channel
            is torchvision's unused background, which goes; as many as channels means that all are
            classes. None: COCO's own names for 91 channels, else numbered names.
        overrides: `section.name=value` settings on top of torchvision's own.

    Raises:
        WeightsError: the file can't be read, is of another network, or the names are too many
            or too few.
        SettingsError: an override is wrong.
    """
    path = Path(path)
    state = _plain_names(path, read_state_dict(path))
    settings = _settings(path, state, overrides)
    scales, ratios = len(settings.anchors.scales), len(settings.anchors.ratios)
    per_location = scales * ratios
    _check_anchors(path, state, per_location)
    channels = state[f"{CLASS_LAYER}.bias"].numel() // per_location
    names, background = _class_names(path, channels, classes)
    if background:
        for key in (f"{CLASS_LAYER}.weight", f"{CLASS_LAYER}.bias"):
            state[key] = by_anchor(state[key], per_location)[:, 1:].flatten(0, 1)
    for layer in (CLASS_LAYER, BOX_LAYER):
        for key in (f"{layer}.weight", f"{layer}.bias"):
            state[key] = from_ratio_major(state[key], scales=scales, ratios=ratios)
    model = build_model(settings, len(names), empty=True)
    _load(path, model, state)
    card = ModelCard(tuple(names), origin=f"imported: torchvision, {path.name}")
    return LoadedModel(model.eval(), settings, card)


def by_anchor(tensor: Tensor, per_location: int) -> Tensor:
    """See the class layer's [A * K, ...] as [A, K, ...]."""
    return tensor.reshape(per_location, -1, *tensor.shape[1:])


def foreign_name(key: str) -> str:
    """Our name of a tensor as torchvision has it."""
    for pattern, replacement in NAMES:
        key, count = re.subn(pattern, replacement, key)
        if count:
            return key
    return key


def _plain_names(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Today's names: without the training program's prefix, and with older versions renamed."""
    stem = next((key for key in state if key == STEM or key.endswith("." + STEM)), None)
    if stem is None:
        raise WeightsError(
            f"{path}: is no RetinaNet of torchvision's: no name ends in {STEM}. "
            f"Found {', '.join(list(state)[:4])}. Expected the state dict of "
            "retinanet_resnet50_fpn or retinanet_resnet50_fpn_v2."
        )
    prefix = stem.removesuffix(STEM)
    named = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
    return {_current_name(key): value for key, value in named.items()}


def _current_name(key: str) -> str:
    """Until 2022 a block was its convolution itself, and the heads counted their ReLUs as well."""
    key = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2", key)
    if old := re.fullmatch(r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)", key):
        return f"{old[1]}.{int(old[2]) // 2}.0.{old[3]}"
    return key


def _settings(path: Path, state: Mapping[str, Tensor], overrides: Sequence[str]) -> Settings:
    blocks = tuple(
        len({key.split(".")[3] for key in state if key.startswith(f"backbone.body.layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    last = "conv3" if "backbone.body.layer1.0.conv3.weight" in state else "conv2"
    backbone = RESNETS.get((last, blocks))
    if backbone is None:
        raise WeightsError(
            f"{path}: its backbone has {blocks} blocks in its stages. "
            f"Expected one of {', '.join(RESNETS.values())}."
        )
    from_p5 = _shape(state, "backbone.fpn.extra_blocks.p6.weight")[1:2] == (256,)
    grouped = "head.classification_head.conv.0.1.weight" in state
    live = "backbone.body.bn1.num_batches_tracked" in state
    found = [
        f"model.backbone={backbone}",
        "model.weights=none",
        f"model.p6_from={'P5' if from_p5 else 'C5'}",
        f"model.head_norm={'group' if grouped else 'none'}",
        f"model.norm={'live' if live else 'frozen'}",
        f"model.norm_eps={'1e-5' if live else '0.0'}",
    ]
    preset = "torchvision_v2" if grouped else "torchvision"
    return make_settings(preset=preset, overrides=[*found, *overrides])


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    return tuple(state[key].shape) if key in state else ()


def _check_anchors(path: Path, state: Mapping[str, Tensor], per_location: int) -> None:
    boxes = _shape(state, f"{BOX_LAYER}.bias")
    scores = _shape(state, f"{CLASS_LAYER}.bias")
    if not boxes or not scores:
        raise WeightsError(f"{path}: has no {CLASS_LAYER} or no {BOX_LAYER}; it is incomplete.")
    if boxes[0] != 4 * per_location or scores[0] % per_location:
        raise WeightsError(
            f"{path}: has {boxes[0] // 4} anchors at each location, expected {per_location}. Pass "
            "those it was trained with, such as --set anchors.scales=[1.0] "
            "--set anchors.ratios=[1.0]."
        )


def _class_names(
    path: Path, channels: int, classes: Sequence[str] | None
) -> tuple[tuple[str, ...], bool]:
    """The names, and whether the first channel is an unused background."""
    if classes is None:
        if channels == len(COCO_NAMES) + 1:
            return COCO_NAMES, True
        background = channels > 1
        return tuple(f"class {n}" for n in range(int(background), channels)), background
    names = tuple(classes)
    if len(names) == channels and names[0].strip("_").lower() == "background":
        names = names[1:]
    if len(names) not in (channels, channels - 1) or not names:
        raise WeightsError(
            f"{path}: has {channels} class channels and there are {len(names)} names. "
            f"Expected {channels - 1} (the first channel is background) or {channels}: --classes "
            "FILE (in Python classes=...)."
        )
    return names, len(names) < channels


def _load(path: Path, model: RetinaNet, state: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    foreign = {key: foreign_name(key) for key in own if key not in OWN_BUFFERS}
    lacking = _without_counters(name for name in foreign.values() if name not in state)
    unknown = _without_counters(name for name in state if name not in set(foreign.values()))
    reshaped = [
        f"{name} {list(state[name].shape)} instead of {list(own[key].shape)}"
        for key, name in foreign.items()
        if name in state and state[name].shape != own[key].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
        for what, names in (
            ("missing", lacking),
            ("unknown", unknown),
            ("of another shape", reshaped),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"{path}: does not fit torchvision's RetinaNet: {'; '.join(problems)}. Expected the "
            "complete state dict of retinanet_resnet50_fpn or retinanet_resnet50_fpn_v2."
        )
    matching = {key: state[name] for key, name in foreign.items() if name in state}
    model.load_state_dict(own | matching)


def _without_counters(names: Iterable[str]) -> list[str]:
    """Live batch norm counts its batches, frozen has no such tensor, and nothing depends on it."""
    return [name for name in names if not name.endswith("num_batches_tracked")]
