"""The order of the anchors at a location, which is the order of the heads' output channels.

Ours goes scale by scale and within a scale ratio by ratio. torchvision's goes ratio by ratio, and
so did models of the first edition that were made for it. Both networks compute the same if the
output layers' channels are permuted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

OUTPUT_LAYER = re.compile(r"(^|\.)(classification|box)\.output\.(1\.)?(weight|bias)$")
"""Names of tensors with A * K or A * 4 channels; of a depthwise layer its second part has them."""


def from_ratio_major(channels: Tensor, *, scales: int, ratios: int) -> Tensor:
    """Bring an output layer's channels from ratio by ratio into our order.

    Args:
        channels: [ratios * scales * V, ...], V values for each anchor: weights, biases, or what an
            optimizer keeps of them.
        scales, ratios: the number of each.

    Returns:
        The same values, permuted.
    """
    apart = channels.reshape(ratios, scales, -1, *channels.shape[1:])
    return apart.transpose(0, 1).flatten(0, 2)


def to_ratio_major(channels: Tensor, *, scales: int, ratios: int) -> Tensor:
    """The inverse of `from_ratio_major`; [scales * ratios * V, ...] keeps its shape."""
    return from_ratio_major(channels, scales=ratios, ratios=scales)


def reorder_weights(state: Mapping[str, Tensor], *, scales: int, ratios: int) -> dict[str, Tensor]:
    """A network's state dict with its output layers in our order, where they were ratio by ratio.

    Args:
        state: our names, with any prefix.
        scales, ratios: the number of each.
    """
    return {
        name: from_ratio_major(value, scales=scales, ratios=ratios).contiguous()
        if OUTPUT_LAYER.search(name)
        else value
        for name, value in state.items()
    }
