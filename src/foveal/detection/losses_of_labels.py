"""The classification losses, summed over an anchor's classes, in little memory.

Training calls this form. It equals `focal_loss` of one-hot targets: of the K classes of an anchor
all but its label l are background, so that

    sum_k FL(x_k, y_k) = sum_k FL(x_k, 0) + FL(x_l, 1) - FL(x_l, 0).

With a weight for each class, each term has its class's as a factor. The last two terms are
`focal_loss` itself, with one logit for each anchor. The sum before them takes all logits, and keeps
only these for the gradient. `focal_loss` of all logits would need targets of their size and four
more such tensors.

The quality focal loss is a focal loss of background too wherever its target is 0: it takes the
place of FL(x_l, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from foveal.detection.losses import at_least_float32, focal_loss, quality_focal_loss

VALUES_AT_ONCE = 65_536
"""Logits in a block, for each core of a CPU: what is computed from a block stays in its cache."""


def focal_loss_of_labels(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float,
    alpha: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """`focal_loss` of one-hot targets, summed over the classes.

    Args:
        logits: [..., K] any floating type.
        labels: [...] 0..K-1; below 0 for background.
        gamma, alpha: as for `focal_loss`.
        weights: [K] float32 factors on the loss of each class; None leaves them out.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    return _of_labels(
        logits,
        labels,
        lambda x: focal_loss(x, torch.ones_like(x), gamma=gamma, alpha=alpha),
        gamma=gamma,
        alpha=alpha,
        weights=weights,
    )


def quality_focal_loss_of_labels(
    logits: Tensor,
    labels: Tensor,
    qualities: Tensor,
    *,
    gamma: float,
    weights: Tensor | None = None,
) -> Tensor:
    """`quality_focal_loss`, summed over the classes; the target is 0 for all but an object's class.

    Args:
        logits, labels, gamma, weights: as for `focal_loss_of_labels`.
        qualities: [...] in 0..1, the target of the class; of no effect on background.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    return _of_labels(
        logits,
        labels,
        lambda x: quality_focal_loss(x, qualities, gamma=gamma),
        gamma=gamma,
        alpha=None,
        weights=weights,
    )


def _of_labels(
    logits: Tensor,
    labels: Tensor,
    loss_of_object: Callable[[Tensor], Tensor],
    *,
    gamma: float,
    alpha: float | None,
    weights: Tensor | None,
) -> Tensor:
    """All classes as background, but an object's by a loss of its logits: [..., K] to [...]."""
    as_background: Tensor = _SummedBackgroundLoss.apply(logits, gamma, weights)
    if alpha is not None:
        as_background = as_background * (1 - alpha)
    of_label = logits.gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)
    instead_of = focal_loss(of_label, torch.zeros_like(of_label), gamma=gamma, alpha=alpha)
    change = loss_of_object(of_label) - instead_of
    if weights is not None:
        change = change * weights[labels.clamp(min=0)]
    return torch.where(labels >= 0, as_background + change, as_background)


class _SummedBackgroundLoss(torch.autograd.Function):
    """sum_k w_k FL(x_k, 0) without alpha: w_k sigmoid(x_k)^gamma softplus(x_k), [..., K] to [...].

    Its gradient is written out: w_k sigmoid^gamma (gamma (1 - sigmoid) softplus + sigmoid).
    """

    @staticmethod
    # torch declares any arguments, for each function to have its own.
    # pyrefly: ignore[bad-override]
    def forward(ctx: Any, logits: Tensor, gamma: float, weights: Tensor | None) -> Tensor:
        ctx.save_for_backward(logits, weights)
        ctx.gamma = gamma
        sums = [
            _weighted(_background_loss(block, gamma), weights).sum(dim=-1)
            for block in _blocks(logits, logits)
        ]
        return torch.cat(sums).view(logits.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        logits, weights = ctx.saved_tensors
        result = torch.empty_like(logits, memory_format=torch.contiguous_format)
        blocks = (_blocks(part, logits) for part in (logits, result, gradients[0].unsqueeze(-1)))
        for block, into, gradient in zip(*blocks, strict=True):
            slope = _weighted(_background_slope(block, ctx.gamma), weights)
            into.copy_(slope.mul_(gradient))
        return result, None, None


def _weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    """Values [..., K], which may be changed, times the weights [K] of the classes."""
    return values if weights is None else values.mul_(weights)


def _background_loss(logits: Tensor, gamma: float) -> Tensor:
    x = at_least_float32(logits)
    loss = softplus(x)
    return loss if gamma == 0 else loss.mul_(_power_of_sigmoid(x, gamma))


def _background_slope(logits: Tensor, gamma: float) -> Tensor:
    x = at_least_float32(logits)
    slope = torch.sigmoid(x)
    if gamma != 0:
        slope = softplus(x).mul_(gamma).mul_(1 - slope).add_(slope)
        slope.mul_(_power_of_sigmoid(x, gamma))
    return slope


def _power_of_sigmoid(x: Tensor, gamma: float) -> Tensor:
    return torch.sigmoid(x).square_() if gamma == 2 else softplus(-x).mul_(-gamma).exp_()


def _blocks(tensor: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
    """[..., D] as [N, D], on a CPU in blocks of as many rows as suit the logits [N, K]."""
    rows = tensor.flatten(end_dim=-2)
    if tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return (rows,)
    return torch.split(
        rows, max(1, VALUES_AT_ONCE * torch.get_num_threads() // max(1, logits.shape[-1]))
    )
