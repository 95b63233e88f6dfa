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


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-log(p_t) (equation 1). Shapes and types as `balanced_focal_loss`."""
    return focal_loss(logits, targets, gamma=0.0)


def balanced_cross_entropy(logits: Tensor, targets: Tensor, *, alpha: float) -> Tensor:
    """-alpha_t log(p_t) (equation 3). Shapes and types as `balanced_focal_loss`."""
    return balanced_focal_loss(logits, targets, alpha=alpha, gamma=0.0)


def focal_loss(logits: Tensor, targets: Tensor, *, gamma: float) -> Tensor:
    """-(1 - p_t)^gamma log(p_t) (equation 4). Shapes and types as `balanced_focal_loss`."""
    return wrongness(torch.where(targets > 0, -logits, logits), gamma)


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


def wrongness(signed_logits: Tensor, gamma: float) -> Tensor:
    """g(z) = sigmoid(z)^gamma * softplus(z), keeping nothing but z for the gradient.

    Args:
        signed_logits: [...] z, positive where the network is wrong.
        gamma: focusing parameter, at least 0.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    result: Tensor = _Wrongness.apply(signed_logits, gamma)
    return result


class _Wrongness(torch.autograd.Function):
    """g and g' = sigmoid^gamma * (gamma * (1 - sigmoid) * softplus + sigmoid).

    Written out since autograd would keep four tensors of the logits' size; this keeps the logits.
    sigmoid^gamma is exp(-gamma * softplus(-z)), whose derivative is finite for every gamma and z.
    """

    @staticmethod
    def forward(ctx: Any, signed_logits: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(signed_logits)
        ctx.gamma = gamma
        z = _at_least_float32(signed_logits)
        loss = functional.softplus(z)
        return loss if gamma == 0 else loss.mul_(_power_of_sigmoid(z, gamma))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (signed_logits,) = ctx.saved_tensors
        gamma = ctx.gamma
        z = _at_least_float32(signed_logits)
        slope = torch.sigmoid(z)
        if gamma != 0:
            slope = functional.softplus(z).mul_(gamma).mul_(1 - slope).add_(slope)
            slope.mul_(_power_of_sigmoid(z, gamma))
        return slope.mul_(gradients[0]).to(signed_logits.dtype), None


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
    """1 - generalised IoU of two boxes (Rezatofighi et al. 2019).

    Args:
        predicted, expected: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..2.
    """
    return 1 - generalized_iou(_at_least_float32(predicted), expected)


def _power_of_sigmoid(z: Tensor, gamma: float) -> Tensor:
    if gamma == 2:
        return torch.sigmoid(z).square_()
    return functional.softplus(-z).mul_(-gamma).exp_()


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
