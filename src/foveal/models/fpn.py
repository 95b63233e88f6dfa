"""Feature pyramid (FPN paper, section 3; RetinaNet, section 4): P3 to P7 out of C3, C4 and C5.

For small objects it may begin finer: P2 out of C2, P1 out of C1, made as the others are.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from foveal.models.convolutions import conv3x3


class FeaturePyramid(nn.Module):
    """1x1 lateral convolutions, top-down sums and a 3x3 convolution on each; then strided ones.

    Initialized uniformly with variance 1 / fan-in, bias 0: the paper's normal(0.01) is for the
    subnets; for the narrow stages of small backbones it would all but switch the pyramid off.

    Args:
        in_channels: of C3, C4 and C5, or from C2 or C1 on where the pyramid begins there.
        channels: of every level.
        levels: how many, at least one for each of in_channels; the first further one is P6.
        p6_from: what P6 is computed from.
        relu_before_p7: apply ReLU to P6 (and any further level) before the next is computed.
        depthwise: 3x3 in each channel, then 1x1, instead of full 3x3 convolutions on the sums.
    """

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        channels: int = 256,
        levels: int = 5,
        p6_from: Literal["C5", "P5"] = "C5",
        relu_before_p7: bool = True,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.p6_from = p6_from
        self.relu_before_p7 = relu_before_p7
        self.lateral = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.output = nn.ModuleList(
            conv3x3(channels, channels, depthwise=depthwise) for _ in in_channels
        )
        first = in_channels[-1] if p6_from == "C5" else channels
        self.extra = nn.ModuleList(
            nn.Conv2d(channels if index else first, channels, 3, stride=2, padding=1)
            for index in range(levels - len(in_channels))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Map C3, C4, C5, each [B, C_l, H_l, W_l], to P3, P4, ... [B, channels, H_l, W_l].

        Each side of a feature map is twice that of the next.
        """
        laterals = [layer(feature) for layer, feature in zip(self.lateral, features, strict=True)]
        for finer in range(len(laterals) - 2, -1, -1):
            size = laterals[finer].shape[-2:]
            laterals[finer] = laterals[finer] + F.interpolate(laterals[finer + 1], size=size)
        levels = [layer(lateral) for layer, lateral in zip(self.output, laterals, strict=True)]
        source = features[-1] if self.p6_from == "C5" else levels[-1]
        for index, layer in enumerate(self.extra):
            levels.append(layer(F.relu(source) if index and self.relu_before_p7 else source))
            source = levels[-1]
        return tuple(levels)
