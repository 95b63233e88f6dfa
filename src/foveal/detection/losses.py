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
    # p_t is p for an object and 1 - p for background (equation 2), so that -log(p_t) is the
    # softplus of the logit that is positive where the network is wrong.
    loss = softplus(_wrong_logits(logits, targets))
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
    # (1 - p_t)^gamma in this form has a finite gradient for every gamma and logit.
    modulating_factor = torch.exp(-gamma * softplus(-_wrong_logits(logits, targets)))
    return modulating_factor * cross_entropy(logits, targets, alpha=alpha)


def smooth_l1(predicted: Tensor, expected: Tensor, *, beta: float) -> Tensor:
    """Quadratic below beta, linear above (Fast R-CNN, equation 3, with the bend at beta).

    Args:
        predicted, expected: [..., 4] offsets.
        beta: where the bend lies; 0 is plain L1.

    Returns:
        [...] float32, summed over the four offsets.
    """
    distance = (at_least_float32(predicted) - expected).abs()
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
    return 1 - generalized_iou(at_least_float32(predicted), expected)


def _wrong_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """The logits of 1 - p_t: positive where the network is wrong."""
    return torch.where(targets > 0, -at_least_float32(logits), at_least_float32(logits))


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 where it is that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
