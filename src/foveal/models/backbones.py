"""Backbones: any timm network that gives feature maps at strides 8, 16 and 32."""

from __future__ import annotations

import difflib
import logging
from typing import Any

import timm
import torch
from torch import Tensor, nn

from foveal.errors import SettingsError
from foveal.models.backbone_weights import load_backbone_weights
from foveal.models.norms import Norm, set_norm

STRIDES = (8, 16, 32)

logger = logging.getLogger(__name__)


class Backbone(nn.Module):
    """C3, C4 and C5 of a network, its first stages frozen if so wished.

    Attributes:
        body: timm's network without its classifier.
        channels: of C3, C4 and C5.
        stages: the parts of the network in order, as (name, modules); a stage ends with a feature
            map that timm offers: ResNet's are the stem, layer1, layer2, layer3 and layer4.
        initialised: parts of the network that the weights file lacked.
    """

    def __init__(
        self, body: nn.Module, *, channels: tuple[int, ...], ends: tuple[str, ...]
    ) -> None:
        """Wrap a network.

        Args:
            body: maps images to three feature maps.
            channels: of the three.
            ends: for each stage the name of the module inside body that ends it.
        """
        super().__init__()
        self.body = body
        self.channels = channels
        self.channels_come_last = str(getattr(body, "output_fmt", "NCHW")).endswith("NHWC")
        self.ends = ends
        self.frozen_stages = 0
        self.initialised: tuple[str, ...] = ()

    @property
    def stage_count(self) -> int:
        """How many stages there are; the last ends with C5."""
        return len(self.ends)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map normalised images [B, bands, H, W] to C3, C4, C5, each [B, C_l, H / s, W / s].

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
        for stage, module in self._leaves():
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(stage >= stages)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Switch between training and evaluation; frozen stages always evaluate."""
        super().train(mode)
        if self.frozen_stages:
            for stage, module in self._leaves():
                if stage < self.frozen_stages:
                    module.eval()
        return self

    def _leaves(self) -> list[tuple[int, nn.Module]]:
        """Every module that is not a mere container, in order, with its stage from 0."""
        found: list[tuple[int, nn.Module]] = []
        stage, inside = 0, False
        for name, module in self.body.named_modules():
            if not name:
                continue
            end = self.ends[min(stage, self.stage_count - 1)]
            at_end = name == end or name.startswith(end + ".")
            if inside and not at_end:
                stage, inside = stage + 1, False
                end = self.ends[min(stage, self.stage_count - 1)]
                at_end = name == end or name.startswith(end + ".")
            inside = inside or at_end
            found.append((min(stage, self.stage_count - 1), module))
        return found


def make_backbone(
    name: str,
    *,
    weights: str = "none",
    bands: int = 3,
    norm: Norm = "frozen",
    norm_eps: float | None = None,
    frozen_stages: int = 0,
) -> Backbone:
    """Make a backbone.

    Args:
        name: timm's name of the network, such as 'resnet50'.
        weights: 'none', 'pretrained' or the path of a file.
        bands: of the images; weights for another number are adapted.
        norm: what becomes of batch norm; a network without any is left as it is.
        norm_eps: replaces the batch norms' own.
        frozen_stages: how many stages are not trained.

    Raises:
        SettingsError: the name is unknown or the network does not give strides 8, 16 and 32.
        WeightsError: the weights can't be got, read or matched.
    """
    indices, ends = _find_strides(name)
    body: Any = timm.create_model(
        name,
        pretrained=False,
        features_only=True,
        out_indices=indices,
        in_chans=bands,
        **_options(name),
    )
    initialised: tuple[str, ...] = ()
    if weights != "none":
        full = timm.create_model(
            name, pretrained=False, num_classes=0, in_chans=bands, **_options(name)
        )
        initialised = load_backbone_weights(body, full, name=name, weights=weights, bands=bands)
    set_norm(body, norm=norm, eps=norm_eps)
    names = {module_name for module_name, _ in body.named_modules()}
    backbone = Backbone(
        body,
        channels=tuple(body.feature_info.channels()),
        ends=tuple(end if end in names else end.replace(".", "_", 1) for end in ends),
    )
    backbone.initialised = initialised
    backbone.freeze(frozen_stages)
    return backbone


def backbone_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, in 0..1, that the network's pretrained weights expect.

    Raises:
        SettingsError: the name is unknown.
    """
    _check_name(name)
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise SettingsError(f"model.backbone = {name!r}: has no published weights.")
    return tuple(config.mean), tuple(config.std)


def _find_strides(name: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Indices of the feature maps at strides 8, 16, 32, and the modules that end the stages."""
    _check_name(name)
    try:
        with torch.device("meta"):
            body: Any = timm.create_model(name, features_only=True, **_options(name))
        maps: list[dict[str, Any]] = body.feature_info.info
    except (RuntimeError, AttributeError, TypeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            f"model.backbone = {name!r}: gives no feature maps ({error}). "
            "Expected a network with feature maps at strides 8, 16 and 32, such as resnet50."
        ) from None
    strides = [entry["reduction"] for entry in maps]
    if not set(STRIDES) <= set(strides):
        raise SettingsError(
            f"model.backbone = {name!r}: gives feature maps at strides "
            f"{', '.join(map(str, sorted(set(strides))))}. Expected 8, 16 and 32, as resnet50 does."
        )
    # The deepest map of each stride, since it has seen the most layers.
    indices = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
    return indices, tuple(entry["module"] for entry in maps[: indices[-1] + 1])


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
    return {"strict_img_size": False} if name.startswith(("swin", "swinv2")) else {}
