"""Backbones: any timm network that gives feature maps at strides 8, 16 and 32; 4 and 2 too."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from foveal.errors import SettingsError
from foveal.models.backbone_weights import load_backbone_weights
from foveal.models.checkpoint_files import expect_file
from foveal.models.norms import BATCH_NORMS, Norm, set_norm
from foveal.models.package_weights import find_package, package_file, read_package
from foveal.models.pretrained import published_weights

STRIDES = (8, 16, 32)
"""Of C3, C4 and C5, which every pyramid is built on."""
StrideIn = Literal["3x3", "1x1"]

PROBE = (96, 160)
"""Height and width of the input with which a network's strides are measured."""


class Backbone(nn.Module):
    """C3, C4 and C5 of a network (C2 and C1 before them if so wished), first stages perhaps frozen.

    Attributes:
        body: timm's network without its classifier.
        channels: of each feature map, finest first.
        ends: the names of the modules that end the stages. A stage ends with each feature map that
            timm offers: ResNet's five are the stem and layer1 to layer4.
        frozen_stages: how many of them are frozen now; `freeze` changes it.
        initialized: parts of the network that the weights file lacked.
    """

    def __init__(
        self, body: nn.Module, *, channels: tuple[int, ...], ends: tuple[str, ...]
    ) -> None:
        """Wrap a network.

        Args:
            body: maps images to feature maps, finest first.
            channels: of each.
            ends: for each stage the name of the module inside body that ends it.
        """
        super().__init__()
        self.body = body
        self.channels = channels
        self.channels_come_last = _channels_come_last(body)
        self.ends = ends
        self.frozen_stages = 0
        self.initialized: tuple[str, ...] = ()

    @property
    def stage_count(self) -> int:
        """How many stages there are; the last ends with C5."""
        return len(self.ends)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map normalized images [B, bands, H, W] to maps [B, C_l, H / s, W / s], finest first.

        Height and width must be multiples of 32.
        """
        features = self.body(images)
        if self.channels_come_last:
            return tuple(feature.permute(0, 3, 1, 2) for feature in features)
        return tuple(features)

    def freeze(self, stages: int) -> None:
        """Freeze the first stages and thaw the others; frozen ones stay in evaluation mode.

        Raises:
            SettingsError: there are fewer stages.
        """
        if not 0 <= stages <= self.stage_count:
            raise SettingsError(
                f"model.frozen_stages = {stages}: this backbone has {self.stage_count} stages, "
                f"which end with {', '.join(self.ends)}. Expected 0 to {self.stage_count}."
            )
        self.frozen_stages = stages
        for stage, module in self._by_stage():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(stage >= stages)
        self.train(self.training)

    def stages_of_weights(self) -> dict[nn.Parameter, int]:
        """The stage of each weight, from 0."""
        return {
            weight: stage
            for stage, module in self._by_stage()
            for weight in module.parameters(recurse=False)
        }

    def train(self, mode: bool = True) -> Backbone:
        """Switch between training and evaluation; frozen stages always evaluate."""
        super().train(mode)
        if self.frozen_stages:
            for stage, module in self._by_stage():
                if stage < self.frozen_stages:
                    module.training = False  # eval() would reach the later stages in a container
        return self

    def _by_stage(self) -> list[tuple[int, nn.Module]]:
        """Every module inside the body, in order, with its stage from 0."""
        found: list[tuple[int, nn.Module]] = []
        stage, inside = 0, False
        for name, module in self.body.named_modules():
            if inside and not _is_within(name, self.ends[stage]):
                stage = min(stage + 1, self.stage_count - 1)
            inside = _is_within(name, self.ends[stage])
            found.append((stage, module))
        return found


def make_backbone(
    name: str,
    *,
    strides: tuple[int, ...] = STRIDES,
    weights: str = "none",
    bands: int = 3,
    norm: Norm = "frozen",
    norm_eps: float | None = None,
    stride_in: StrideIn = "3x3",
    frozen_stages: int = 0,
) -> Backbone:
    """Make a backbone.

    Args:
        name: timm's name of the network, such as 'resnet50'.
        strides: of the feature maps to give, such as (4, 8, 16, 32).
        weights: 'none', 'pretrained', 'package' or the path of a file.
        bands: of the images; weights for another number are adapted.
        norm: what becomes of batch norm; a network without any is left as it is.
        norm_eps: replaces the batch norms' own.
        stride_in: which convolution of a ResNet's bottleneck halves the map: timm's is the 3x3
            one, Caffe's the first 1x1 one.
        frozen_stages: how many stages are not trained.

    Raises:
        SettingsError: the name is unknown, the network does not give these strides or has no
            bottlenecks whose strides could be moved, or no package has its weights.
        WeightsError: the weights can't be got, read or matched.
        MissingExtraError: the package with the weights is not installed.
    """
    _check_name(name)
    path = find_weights(name, weights)
    indices, ends = _find_strides(name, strides)
    body: Any = timm.create_model(
        name,
        features_only=True,
        out_indices=indices,
        in_chans=bands,
        **_options(name),
    )
    if stride_in == "1x1":
        _move_strides(name, body)
    if norm == "frozen":
        _wake_residual_branches(body)
    initialized: tuple[str, ...] = ()
    if path is not None:
        full = timm.create_model(name, num_classes=0, in_chans=bands, **_options(name))
        read = read_package if weights == "package" else None
        initialized = load_backbone_weights(
            body, full, name=name, path=path, bands=bands, read=read
        )
    set_norm(body, norm=norm, eps=norm_eps)
    backbone = Backbone(body, channels=tuple(body.feature_info.channels()), ends=ends)
    backbone.initialized = initialized
    backbone.freeze(frozen_stages)
    return backbone


def backbone_normalization(
    name: str, *, weights: str = "pretrained"
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, in 0..1, that the network's pretrained weights expect.

    Args:
        name: timm's name of the network.
        weights: as for `make_backbone`; all but those of a package are taken to be timm's.

    Raises:
        SettingsError: the name is unknown, or no package has its weights.
    """
    _check_name(name)
    if weights == "package":
        package = find_package(name)
        return package.mean, package.std
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise SettingsError(f"model.backbone = {name!r}: has no published weights.")
    return tuple(config.mean), tuple(config.std)


def find_weights(name: str, weights: str, *, fetch: bool = True) -> Path | None:
    """The file with a backbone's weights.

    Args:
        name: timm's name of the network.
        weights: as for `make_backbone`.
        fetch: get published weights that are not in the cache; else see only whether they could be
            had.

    Returns:
        The file; None where there is none, or where it was not fetched.

    Raises:
        SettingsError: no package has them.
        WeightsError: they are not there, and can't be fetched.
        MissingExtraError: the package with the weights is not installed.
    """
    if weights == "none":
        return None
    if weights == "package":
        return package_file(name)
    if weights == "pretrained":
        return published_weights(name, fetch=fetch)
    path = Path(weights).expanduser()
    expect_file(path)
    return path


def _move_strides(name: str, body: nn.Module) -> None:
    """Let the first convolution of a bottleneck halve the map instead of the second."""
    strided = [
        block
        for block in body.modules()
        if isinstance(block, timm.models.resnet.Bottleneck) and block.conv2.stride == (2, 2)
    ]
    if not strided:
        raise SettingsError(
            f"model.backbone_stride_in = '1x1': {name} has no bottleneck whose 3x3 convolution "
            "halves the map. Expected a ResNet or ResNeXt of 50 layers or more; for others leave "
            "it out."
        )
    for block in strided:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _wake_residual_branches(body: nn.Module) -> None:
    """Raise the zero scale with which residual branches start, as frozen norms could never do.

    At 0.5 a branch adds a quarter of the variance of what it is added to.
    """
    for module in body.modules():
        if not isinstance(module, BATCH_NORMS) or module.weight.is_meta:  # without any values
            continue
        if not module.weight.any():
            nn.init.constant_(module.weight, 0.5)


@cache
def _find_strides(name: str, strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Indices of the feature maps at these strides, and the modules that end the stages.

    Remembered: a run builds its network when it starts and when it loads the best weights.
    """
    sides = None
    try:
        with torch.device("meta"):
            body: Any = timm.create_model(name, features_only=True, **_options(name))
            maps: list[dict[str, Any]] = body.feature_info.info
            indices = _deepest([entry["reduction"] for entry in maps], strides)
            if indices:
                body = timm.create_model(
                    name, features_only=True, out_indices=indices, **_options(name)
                )
                sides = _sides(body, *PROBE)
    except (RuntimeError, AttributeError, TypeError, AssertionError, ValueError) as error:
        raise SettingsError(
            f"model.backbone = {name!r}: gives no feature maps for any input size "
            f"({_first_line(error)}). Expected feature maps at strides {_listed(strides)}, "
            "as resnet50 gives."
        ) from None
    if not indices:
        given = sorted({entry["reduction"] for entry in maps})
        finer = "" if strides[0] == STRIDES[0] else _finest_advice(given)
        raise SettingsError(
            f"model.backbone = {name!r}: gives feature maps at strides {_listed(given)}. "
            f"Expected {_listed(strides)}, as resnet50 gives.{finer}"
        )
    expected = [tuple(side // stride for side in PROBE) for stride in strides]
    if sides != expected:
        raise SettingsError(
            f"model.backbone = {name!r}: gives feature maps of {sides} for an input of {PROBE}. "
            f"Expected {expected}, the strides {_listed(strides)}, as resnet50 gives."
        )
    names = {module_name for module_name, _ in body.named_modules()}
    candidates = (entry["module"] for entry in maps[: indices[-1] + 1])
    ends = (end if end in names else end.replace(".", "_", 1) for end in candidates)
    return indices, tuple(end for end in ends if end in names)


def _deepest(given: list[int], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The last map of each wanted stride, since it has seen the most layers; () if one lacks."""
    if not set(wanted) <= set(given):
        return ()
    return tuple(len(given) - 1 - given[::-1].index(stride) for stride in wanted)


def _finest_advice(given: list[int]) -> str:
    finest = [stride for stride in given if stride <= STRIDES[0] and set(STRIDES) <= set(given)]
    if not finest:
        return ""
    return f" Or begin anchors.strides at {' or '.join(map(str, finest))}."


def _listed(strides: Sequence[int]) -> str:
    *first, last = map(str, strides)
    return f"{', '.join(first)} and {last}" if first else last


def _sides(body: nn.Module, height: int, width: int) -> list[tuple[int, ...]]:
    maps = body.eval()(torch.empty(1, 3, height, width))
    last = _channels_come_last(body)
    return [tuple(feature.shape[1:3] if last else feature.shape[2:4]) for feature in maps]


def _channels_come_last(body: nn.Module) -> bool:
    return str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")


def _is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise SettingsError(
            f"model.backbone = {name!r}: no such network.{hint} "
            "Expected a name that timm knows, such as resnet50 or mobilenetv2_100."
        )


def _options(name: str) -> dict[str, Any]:
    """What a family needs to take any input size."""
    return {"strict_img_size": False} if name.startswith("swin") else {}
