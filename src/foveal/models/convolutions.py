"""The 3x3 convolutions of pyramid and heads: full ones, or depthwise ones for small devices."""

from __future__ import annotations

from torch import nn


def conv3x3(
    in_channels: int, out_channels: int, *, depthwise: bool = False, bias: bool = True
) -> nn.Module:
    """A convolution that keeps the size of [B, in_channels, H, W].

    Args:
        in_channels, out_channels: before and after.
        depthwise: a 3x3 convolution in each channel, then a 1x1 one over the channels
            (MobileNet, arXiv 1704.04861), for about a ninth of the operations.
        bias: whether the last convolution has one.
    """
    if not depthwise:
        return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=bias),
    )
