"""ReLU6 in place that keeps one copy of its features for the gradient, not two."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InPlaceReLU6(nn.Module):
    """What `torch.nn.ReLU6(inplace=True)` computes.

    PyTorch's own copies its input first when a gradient will be wanted, although its output says as
    much: the slope is 1 strictly between 0 and 6, else 0. In MobileNets that copy takes as much
    memory as all other activations together.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Clamp features of any shape to 0..6, in place."""
        if features.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            result: Tensor = _InPlaceReLU6.apply(features)
            return result
        return F.relu6(features, inplace=True)


class _InPlaceReLU6(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        features.clamp_(0, 6)
        ctx.mark_dirty(features)
        ctx.save_for_backward(features)
        return features

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        gradient: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], result, 0, 6)
        return gradient
