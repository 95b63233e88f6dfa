"""The losses, each element by element, without reduction (paper, section 3; equations 1-5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from foveal.geometry.boxes import generalized_iou


def cross_entropy(logits: Tensor, targets: Tensor, *, alpha: float | None = None) -> Tensor:
    """-log(p_t) (equation 1), with alpha -alpha_t log(p_t) (equation 3).

    Args:
        logits: [...] any floating type; finite results for |logit| up to 1e4 and beyond.
        targets: [...] 1 for an object, 0 for background.
        alpha: weight of objects, background has 1 - alpha; None leaves the balance out.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    loss = softplus(-_logits_of_p_t(logits, targets))  # -log(sigmoid(x)) = softplus(-x)
    return loss if alpha is None else torch.where(targets > 0, alpha * loss, (1 - alpha) * loss)


def focal_loss(
    logits: Tensor, targets: Tensor, *, gamma: float, alpha: float | None = None
) -> Tensor:
    """-(1 - p_t)^gamma log(p_t) (equation 4), with alpha times alpha_t (equation 5).

    Args:
        logits, targets, alpha: as for `cross_entropy`.
        gamma: focusing parameter, at least 0; 0 is cross entropy.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    # (1 - p_t)^gamma = exp(gamma log(1 - p_t)), and log(1 - sigmoid(x)) = -softplus(x). In this
    # form its gradient is finite for every gamma and logit.
    modulating_factor = torch.exp(-gamma * softplus(_logits_of_p_t(logits, targets)))
    return modulating_factor * cross_entropy(logits, targets, alpha=alpha)


def smooth_l1(predicted: Tensor, expected: Tensor, *, beta: float) -> Tensor:
    """Smooth L1: quadratic below beta, linear above (Fast R-CNN, equation 3, where beta is 1).

    Args:
        predicted, expected: [..., 4] offsets.
        beta: the distance at which one passes into the other; 0 is plain L1.

    Returns:
        [...] float32, summed over the four offsets.
    """
    distance = (at_least_float32(predicted) - expected).abs()
    if beta > 0:
        distance = torch.where(
            distance < beta, 0.5 * distance * distance / beta, distance - 0.5 * beta
        )
    return distance.sum(dim=-1)


def giou_loss(predicted: Tensor, expected: Tensor) -> Tensor:
    """1 - generalized IoU of two boxes (Rezatofighi et al. 2019).

    Args:
        predicted, expected: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..2.
    """
    return 1 - generalized_iou(at_least_float32(predicted), expected)


def _logits_of_p_t(logits: Tensor, targets: Tensor) -> Tensor:
    """The x of p_t = sigmoid(x): p_t is p for an object and 1 - p for background (equation 2)."""
    return torch.where(targets > 0, at_least_float32(logits), -at_least_float32(logits))


def at_least_float32(tensor: Tensor) -> Tensor:
    """A tensor of any shape in float32, or in float64 where it is that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
