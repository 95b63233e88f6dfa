"""From settings to a network."""

from __future__ import annotations

import logging
from itertools import pairwise

import torch

from foveal.config import ModelSettings, Settings
from foveal.detection.anchors import AnchorGrid
from foveal.errors import SettingsError
from foveal.models.backbones import STRIDES, make_backbone
from foveal.models.box_heads import BoxHead
from foveal.models.fpn import FeaturePyramid
from foveal.models.heads import Head
from foveal.models.norms import GROUPS
from foveal.models.retinanet import RetinaNet

FINEST = (2, 4, 8)
"""Strides that a pyramid may begin with: those of C1, C2 and C3."""

logger = logging.getLogger(__name__)


def build_model(settings: Settings, num_classes: int, *, empty: bool = False) -> RetinaNet:
    """Build the network that the settings describe, in channels_last memory.

    Args:
        settings: of the model, the anchors and the preparation.
        num_classes: K.
        empty: leave the backbone's weights out, since a whole model's will follow.

    Raises:
        SettingsError: settings that contradict one another, or an unknown backbone.
        WeightsError: the backbone's weights can't be got, read or matched.
    """
    _check(settings, num_classes)
    model = settings.model
    if model.weights == "none" and not empty:
        _warn_without_weights(model)
    grid = AnchorGrid(**settings.anchors.model_dump())
    backbone = make_backbone(
        model.backbone,
        strides=tuple(stride for stride in grid.strides if stride <= STRIDES[-1]),
        weights="none" if empty else model.weights,
        bands=model.bands,
        norm=model.norm,
        norm_eps=model.norm_eps,
        stride_in=model.backbone_stride_in,
        frozen_stages=model.frozen_stages,
    )
    fpn = FeaturePyramid(
        backbone.channels,
        channels=model.fpn_channels,
        levels=len(grid.strides),
        p6_from=model.p6_from,
        relu_before_p7=model.relu_before_p7,
        depthwise=model.fpn_depthwise,
    )
    classification, box = (
        Head(
            model.fpn_channels,
            anchors=grid.per_location,
            values=values,
            depth=model.head_depth,
            channels=model.head_channels,
            norm=model.head_norm,
            bias_before_norm=model.head_bias_before_norm,
            depthwise=model.head_depthwise,
            prior=prior,
        )
        for values, prior in ((num_classes, model.prior), (4 * max(model.box_bins, 1), None))
    )
    network = RetinaNet(
        backbone=backbone,
        fpn=fpn,
        classification=classification,
        box=_with_additions(box, model, grid),
        grid=grid,
        mean=settings.preparation.mean,
        std=settings.preparation.std,
    )
    return network.to(memory_format=torch.channels_last)


def _with_additions(box: Head, model: ModelSettings, grid: AnchorGrid) -> Head | BoxHead:
    """The box subnet with what the paper does not have; as it is where nothing is asked for."""
    if model.quality == "none" and model.box_coding == "deltas" and not model.level_scales:
        return box
    return BoxHead(
        box,
        channels=model.head_channels if model.head_depth else model.fpn_channels,
        anchors=grid.per_location,
        levels=len(grid.strides) if model.level_scales else 0,
        coding=model.box_coding,
        bins=model.box_bins,
        quality=model.quality != "none",
        depthwise=model.head_depthwise,
    )


def _warn_without_weights(model: ModelSettings) -> None:
    if model.norm == "frozen":
        logger.warning(
            "model.norm is 'frozen' and there are no weights whose statistics it could keep: "
            "nothing normalizes the backbone. To train it from the start, --set model.norm=group "
            "(in Python settings={'model': {'norm': 'group'}})."
        )
    if model.frozen_stages:
        logger.warning(
            "model.frozen_stages is %d and there are no weights: these stages stay random. To "
            "train them, --set model.frozen_stages=0 (in Python settings={'model': "
            "{'frozen_stages': 0}}).",
            model.frozen_stages,
        )


def _check(settings: Settings, num_classes: int) -> None:
    model, strides = settings.model, settings.anchors.strides
    if num_classes < 1:
        raise SettingsError(f"{num_classes} classes: expected at least one.")
    doubled = all(2 * stride == after for stride, after in pairwise(strides))
    if not doubled or strides[0] not in FINEST or strides[-1] < STRIDES[-1]:
        raise SettingsError(
            f"anchors.strides = {list(strides)}: the pyramid has strides 8, 16, 32 and so on, "
            "each twice the last, and may begin at 4 or 2 for small objects. Expected at least "
            "up to 32, such as [8, 16, 32, 64, 128] or [4, 8, 16, 32, 64]."
        )
    for name, values in (("mean", settings.preparation.mean), ("std", settings.preparation.std)):
        if len(values) != model.bands:
            raise SettingsError(
                f"preparation.{name} has {len(values)} values and model.bands is {model.bands}. "
                "Expected one value for each band."
            )
    if model.head_bias_before_norm and model.head_norm == "none":
        raise SettingsError(
            "model.head_bias_before_norm is true and model.head_norm 'none': there is no norm. "
            "Leave it out, or give --set model.head_norm=group."
        )
    if model.head_norm == "group" and model.head_channels % GROUPS:
        raise SettingsError(
            f"model.head_channels = {model.head_channels}: with head_norm 'group' expected a "
            f"multiple of {GROUPS}."
        )
