"""The two subnets (paper, section 4): convolutions shared by all levels, then the predictions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from foveal.models.convolutions import conv3x3
from foveal.models.norms import GROUPS, GroupNorm

HeadNorm = Literal["none", "group"]


class Head(nn.Module):
    """One subnet: `depth` 3x3 convolutions with ReLU, then `values` numbers for each anchor.

    Initialized as in the paper: normal with standard deviation 0.01 and bias 0. The two parts of
    a depthwise convolution, which the paper does not have, keep their input's variance instead.

    Args:
        in_channels: of the pyramid.
        anchors: the number at each location (A).
        values: numbers for each anchor: K classes or 4 deltas.
        depth: number of hidden convolutions.
        channels: of the hidden convolutions; with group norm a multiple of 32.
        norm: after each hidden convolution, which then has no bias.
        bias_before_norm: it has one all the same.
        depthwise: 3x3 in each channel, then 1x1, instead of full 3x3 convolutions, the one that
            predicts included.
        prior: the probability that the outputs start with; None starts them at 0.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        anchors: int,
        values: int,
        depth: int = 4,
        channels: int = 256,
        norm: HeadNorm = "none",
        bias_before_norm: bool = False,
        depthwise: bool = False,
        prior: float | None = None,
    ) -> None:
        super().__init__()
        self.values = values
        self.tower = nn.Sequential(
            *(
                HiddenLayer(
                    channels if index else in_channels,
                    channels,
                    norm=norm,
                    bias=norm == "none" or bias_before_norm,
                    depthwise=depthwise,
                )
                for index in range(depth)
            )
        )
        self.output = conv3x3(
            channels if depth else in_channels, anchors * values, depthwise=depthwise
        )
        weight, bias = predicting_weights(self.output)
        nn.init.normal_(weight, std=0.01)
        nn.init.constant_(bias, 0.0 if prior is None else -math.log((1 - prior) / prior))

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Map each level [B, C, H, W] to [B, H * W * anchors, values], in the anchors' order."""
        return tuple(by_anchor(self.output(self.tower(level)), self.values) for level in levels)


def by_anchor(outputs: Tensor, values: int) -> Tensor:
    """Bring a last layer's [B, anchors * values, H, W] to [B, H * W * anchors, values]."""
    return outputs.permute(0, 2, 3, 1).reshape(outputs.shape[0], -1, values)


class HiddenLayer(nn.Module):
    """Convolution, norm where there is one, ReLU; [B, C, H, W] keeps its size."""

    def __init__(
        self, in_channels: int, channels: int, *, norm: HeadNorm, bias: bool, depthwise: bool
    ) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, channels, depthwise=depthwise, bias=bias)
        self.norm = GroupNorm(GROUPS, channels) if norm == "group" else None
        for module in self.conv.modules():
            if isinstance(module, nn.Conv2d):
                _initialize(module, gaussian=not depthwise)

    def forward(self, features: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, channels, H, W]."""
        hidden: Tensor = self.conv(features)
        if self.norm is not None:
            hidden = self.norm(hidden)
        return torch.relu_(hidden)


def predicting_weights(output: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [values, C, h, w] and bias [values] of the convolution that predicts.

    After a depthwise one they are the 1x1 one's.
    """
    *_, last = output.modules()
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    return last.weight, last.bias


def _initialize(conv: nn.Conv2d, *, gaussian: bool) -> None:
    if gaussian:
        nn.init.normal_(conv.weight, std=0.01)
    else:
        nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
