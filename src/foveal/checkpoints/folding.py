"""What other systems compute around a network, put into its weights: nothing is left to set.

All of it is linear, so that the network with other weights computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def reverse_bands(weight: Tensor) -> Tensor:
    """The first convolution's weight [O, 3, H, W] for RGB, where it was for BGR; or the other way.

    Mean and deviation of the bands are to be reversed too.
    """
    return weight.flip(1)


def fold_box_factors(
    weight: Tensor,
    bias: Tensor,
    *,
    factors: Sequence[float],
    offsets: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
) -> tuple[Tensor, Tensor]:
    """The box layer whose deltas are those of another one, times factors, plus offsets.

    Args:
        weight: [A * 4, C, H, W], (dx, dy, dw, dh) for each anchor.
        bias: [A * 4].
        factors: of dx, dy, dw and dh; the "standard deviations" of a box coder.
        offsets: likewise; its "means".

    Returns:
        Weight and bias of the same shapes.
    """
    anchors = len(bias) // 4
    scale = torch.tensor(factors, dtype=bias.dtype, device=bias.device).repeat(anchors)
    shift = torch.tensor(offsets, dtype=bias.dtype, device=bias.device).repeat(anchors)
    return weight * scale[:, None, None, None], bias * scale + shift


def fold_batch_norm(
    weight: Tensor, bias: Tensor | None, norm: Mapping[str, Tensor], *, eps: float
) -> tuple[Tensor, Tensor]:
    """A convolution that does the work of the batch norm behind it, with its running statistics.

    Args:
        weight: [O, I, H, W].
        bias: [O]; None for none.
        norm: `weight`, `bias`, `running_mean` and `running_var`, [O] each.
        eps: added to the variance.

    Returns:
        Weight [O, I, H, W] and bias [O].
    """
    scale = norm["weight"].double() * torch.rsqrt(norm["running_var"].double() + eps)
    before = 0.0 if bias is None else bias.double()
    shift = norm["bias"].double() + (before - norm["running_mean"].double()) * scale
    folded = weight.double() * scale[:, None, None, None]
    return folded.to(weight.dtype), shift.to(weight.dtype)
