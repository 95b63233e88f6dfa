"""The losses, each element by element, without reduction (paper, section 3; equations 1-5).

All classification losses are one function g of the signed logit z, which is positive where the
network is wrong: z = logit for background and -logit for an object, so that p_t = sigmoid(-z) and

    focal loss = (1 - p_t)^gamma * -log(p_t) = sigmoid(z)^gamma * softplus(z) = g(z).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from foveal.geometry.boxes import generalized_iou

VALUES_AT_ONCE = 65_536
"""For each core: a block and what is computed from it stay in its cache."""


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-log(p_t) (equation 1). Shapes and types as `balanced_focal_loss`."""
    return focal_loss(logits, targets, gamma=0.0)


def balanced_cross_entropy(logits: Tensor, targets: Tensor, *, alpha: float) -> Tensor:
    """-alpha_t log(p_t) (equation 3). Shapes and types as `balanced_focal_loss`."""
    return balanced_focal_loss(logits, targets, alpha=alpha, gamma=0.0)


def focal_loss(logits: Tensor, targets: Tensor, *, gamma: float) -> Tensor:
    """-(1 - p_t)^gamma log(p_t) (equation 4). Shapes and types as `balanced_focal_loss`."""
    return focal_term(torch.where(targets > 0, -logits, logits), gamma)


def balanced_focal_loss(logits: Tensor, targets: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log(p_t) (equation 5).

    Args:
        logits: [...] any floating type; finite results for |logit| up to 1e4 and beyond.
        targets: [...] 1 for an object, 0 for background.
        alpha: weight of objects; background has 1 - alpha.
        gamma: focusing parameter, at least 0.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    weights = torch.where(targets > 0, alpha, 1 - alpha)
    return weights * focal_loss(logits, targets, gamma=gamma)


def focal_term(signed_logits: Tensor, gamma: float) -> Tensor:
    """g(z) = sigmoid(z)^gamma * softplus(z), keeping nothing but z for the gradient.

    Args:
        signed_logits: [...] z, positive where the network is wrong.
        gamma: focusing parameter, at least 0.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    result: Tensor = _FocalTerm.apply(signed_logits, gamma)
    return result


def summed_focal_term(signed_logits: Tensor, gamma: float) -> Tensor:
    """`focal_term` summed over the last dimension: [..., K] to [...].

    On a CPU in blocks that stay in the cache, where tensors of all logits would go through memory a
    dozen times.
    """
    if signed_logits.device.type != "cpu" or torch.compiler.is_compiling():
        return focal_term(signed_logits, gamma).sum(dim=-1)
    result: Tensor = _SummedFocalTerm.apply(signed_logits, gamma)
    return result


class _FocalTerm(torch.autograd.Function):
    """Written out since autograd would keep four tensors of the logits' size; this keeps them."""

    @staticmethod
    def forward(ctx: Any, signed_logits: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(signed_logits)
        ctx.gamma = gamma
        return _value(signed_logits, gamma)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (signed_logits,) = ctx.saved_tensors
        slope = _slope(signed_logits, ctx.gamma)
        return slope.mul_(gradients[0]).to(signed_logits.dtype), None


class _SummedFocalTerm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signed_logits: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(signed_logits)
        ctx.gamma = gamma
        classes = signed_logits.shape[-1]
        parts = [_value(block, gamma).sum(dim=-1) for block in _blocks(signed_logits, classes)]
        return torch.cat(parts).view(signed_logits.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (signed_logits,) = ctx.saved_tensors
        result = torch.empty_like(signed_logits, memory_format=torch.contiguous_format)
        parts = (signed_logits, result, gradients[0].unsqueeze(-1))
        rows = (_blocks(part, signed_logits.shape[-1]) for part in parts)
        for block, into, gradient in zip(*rows, strict=True):
            into.copy_(_slope(block, ctx.gamma).mul_(gradient))
        return result, None


def smooth_l1(predicted: Tensor, expected: Tensor, *, beta: float) -> Tensor:
    """Quadratic below beta, linear above (Fast R-CNN, equation 3, with the bend at beta).

    Args:
        predicted, expected: [..., 4] offsets.
        beta: where the bend lies; 0 is plain L1.

    Returns:
        [...] float32, summed over the four offsets.
    """
    distance = (_at_least_float32(predicted) - expected).abs()
    if beta > 0:
        distance = torch.where(
            distance < beta, 0.5 * distance * distance / beta, distance - 0.5 * beta
        )
    return distance.sum(dim=-1)


def l1(predicted: Tensor, expected: Tensor) -> Tensor:
    """Absolute distance, summed over the four offsets; shapes as `smooth_l1`."""
    return smooth_l1(predicted, expected, beta=0.0)


def giou_loss(predicted: Tensor, expected: Tensor) -> Tensor:
    """1 - generalized IoU of two boxes (Rezatofighi et al. 2019).

    Args:
        predicted, expected: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..2.
    """
    return 1 - generalized_iou(_at_least_float32(predicted), expected)


def _value(signed_logits: Tensor, gamma: float) -> Tensor:
    """The function g itself."""
    z = _at_least_float32(signed_logits)
    loss = functional.softplus(z)
    return loss if gamma == 0 else loss.mul_(_power_of_sigmoid(z, gamma))


def _slope(signed_logits: Tensor, gamma: float) -> Tensor:
    """Its derivative, sigmoid^gamma * (gamma * (1 - sigmoid) * softplus + sigmoid): a new tensor.

    sigmoid^gamma is exp(-gamma * softplus(-z)), whose derivative is finite for every gamma and z.
    """
    z = _at_least_float32(signed_logits)
    slope = torch.sigmoid(z)
    if gamma != 0:
        slope = functional.softplus(z).mul_(gamma).mul_(1 - slope).add_(slope)
        slope.mul_(_power_of_sigmoid(z, gamma))
    return slope


def _blocks(tensor: Tensor, classes: int) -> tuple[Tensor, ...]:
    """[..., D] as [N, D], in blocks of as many rows as suit [N, classes]."""
    rows = max(1, VALUES_AT_ONCE * torch.get_num_threads() // max(1, classes))
    return torch.split(tensor.flatten(end_dim=-2), rows)


def _power_of_sigmoid(z: Tensor, gamma: float) -> Tensor:
    if gamma == 2:
        return torch.sigmoid(z).square_()
    return functional.softplus(-z).mul_(-gamma).exp_()


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
