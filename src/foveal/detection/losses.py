"""The losses, each element by element, without reduction.

Equations 1 to 5 are of the paper (section 3); the others' papers stand at each.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from foveal.errors import FovealError
from foveal.geometry.boxes import generalized_iou

_Given = ParamSpec("_Given")


def _of_tensors(loss: Callable[_Given, Tensor]) -> Callable[_Given, Tensor]:
    """Let a loss say what it expects where it is given lists or arrays."""
    names = [
        name
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]

    @functools.wraps(loss)
    def checked(*arguments: _Given.args, **named: _Given.kwargs) -> Tensor:
        for name, value in (*zip(names, arguments, strict=False), *named.items()):
            if name in names and not isinstance(value, Tensor):
                raise FovealError(
                    f"{loss.__name__}: {name} is {type(value).__name__}. Expected a torch.Tensor, "
                    "such as torch.tensor([0.3, -2.0])."
                )
        return loss(*arguments, **named)

    return checked


@_of_tensors
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


@_of_tensors
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


@_of_tensors
def quality_focal_loss(logits: Tensor, targets: Tensor, *, gamma: float) -> Tensor:
    """|y - p|^gamma BCE(p, y) for a target y between 0 and 1 (Li et al. 2020, equation 2).

    With y of 0 or 1 it is the focal loss without alpha. The paper's beta is our gamma.

    Args:
        logits: [...] any floating type; finite results for |logit| up to 1e4 and beyond.
        targets: [...] in 0..1, how well the predicted box fits; 0 for background.
        gamma: focusing parameter, at least 0; 0 is cross entropy.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    x = at_least_float32(logits)
    # A power below 1 has no gradient at 0: there the distance counts as constant.
    distance = (torch.sigmoid(x) - targets).abs().clamp(min=torch.finfo(x.dtype).tiny)
    return distance.pow(gamma) * _soft_cross_entropy(x, targets)


@_of_tensors
def quality_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of a quality branch (FCOS, Tian et al. 2019, section 3.2).

    Args:
        logits: [...] any floating type.
        targets: [...] in 0..1: the centerness of an anchor, or the IoU of its predicted box.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    return _soft_cross_entropy(at_least_float32(logits), targets)


@_of_tensors
def distribution_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """-((n + 1 - y) log S_n + (y - n) log S_(n+1)), n <= y < n + 1 (Li et al. 2020, equation 6).

    It draws the probability S = softmax(logits) to the two bins beside the target.

    Args:
        logits: [..., bins] any floating type, two bins at least; bin n stands for the value n.
        targets: [...] in 0..bins - 1. Those outside count as the nearest value that there is a bin
            for.

    Returns:
        [...] float32 (float64 for float64 logits).
    """
    log_probabilities = torch.log_softmax(at_least_float32(logits), dim=-1)
    highest = logits.shape[-1] - 1
    targets = targets.clamp(0, highest)
    below = targets.floor().clamp(max=highest - 1)
    of_above = targets - below
    index = below.long()[..., None]
    beside = log_probabilities.gather(-1, torch.cat([index, index + 1], dim=-1))
    return -((1 - of_above) * beside[..., 0] + of_above * beside[..., 1])


@_of_tensors
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


@_of_tensors
def giou_loss(predicted: Tensor, expected: Tensor) -> Tensor:
    """1 - generalized IoU of two boxes (Rezatofighi et al. 2019).

    Args:
        predicted, expected: [..., 4] xyxy, same frame.

    Returns:
        [...] in 0..2.
    """
    return 1 - generalized_iou(at_least_float32(predicted), expected)


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-(y log p + (1 - y) log(1 - p)), p = sigmoid(logits), for targets y in 0..1."""
    return binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")


def _logits_of_p_t(logits: Tensor, targets: Tensor) -> Tensor:
    """The x of p_t = sigmoid(x): p_t is p for an object and 1 - p for background (equation 2)."""
    return torch.where(targets > 0, at_least_float32(logits), -at_least_float32(logits))


def at_least_float32(tensor: Tensor) -> Tensor:
    """A tensor of any shape in float32, or in float64 where it is that."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
