"""Frozen batch norm inside the convolution before it: the same numbers, one pass over the features.

A frozen norm multiplies and shifts each channel by constants, so conv followed by norm is one
convolution with scaled weights and a bias. Scaling the weights in every step costs next to nothing
beside a pass over the features, and the weights' gradients are those of the unfolded network.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from foveal.models.fast_convolutions import FastConv2d, Place
from foveal.models.norms import FrozenBatchNorm


class NormedConv2d(FastConv2d):
    """A convolution that does the work of the frozen norm behind it, under its own names."""

    def take(self, norm: FrozenBatchNorm) -> None:
        """Do the norm's work from now on, its activation included."""
        # In a tuple, so that the norm stays a child of its own parent only.
        self._norm = (norm,)
        norm.folded = True

    @property
    def activation(self) -> nn.Module | None:
        """The norm's."""
        return self._norm[0].activation

    def sources(self) -> tuple[Place, ...]:
        """The norm's too."""
        names = ("weight", "bias", "running_mean", "running_var")
        return (*super().sources(), *((self._norm[0]._buffers, name) for name in names))

    def _weight_and_bias(self) -> tuple[Tensor, Tensor]:
        scale, shift = self._norm[0].scale_and_shift()
        bias = shift if self.bias is None else shift + self.bias * scale
        return self.weight * scale[:, None, None, None], bias


def fold_norms(module: nn.Module, example: Tensor) -> int:
    """Let every convolution take over the frozen norm that directly follows it.

    Which norm follows which convolution is seen in one pass of an example, so that no network's
    naming matters.

    Args:
        module: changed in place; the names of its state stay.
        example: an input.

    Returns:
        How many norms were taken over.
    """
    pairs = _pairs(module, example)
    names = {
        child: (parent, name)
        for parent in module.modules()
        for name, child in parent.named_children()
    }
    for conv, norm in pairs:
        parent, name = names[conv]
        replacement = NormedConv2d.__new__(NormedConv2d)
        replacement.__dict__.update(conv.__dict__)
        replacement.take(norm)
        setattr(parent, name, replacement)
    return len(pairs)


def _pairs(module: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, FrozenBatchNorm]]:
    """Each frozen norm whose input is a convolution's output, with that convolution."""
    outputs: dict[int, tuple[nn.Module, Tensor]] = {}  # with the tensors, so that ids stay unique
    followers: list[tuple[nn.Module, nn.Module]] = []

    def after_conv(conv: nn.Module, _: Any, output: Tensor) -> None:
        outputs[id(output)] = (conv, output)

    def before_norm(norm: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if id(arguments[0]) in outputs:
            followers.append((outputs[id(arguments[0])][0], norm))

    hooks = []
    for child in module.modules():
        if type(child) is nn.Conv2d:
            hooks.append(child.register_forward_hook(after_conv))
        elif isinstance(child, FrozenBatchNorm):
            hooks.append(child.register_forward_pre_hook(before_norm))
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(example)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    calls = Counter(conv for conv, _ in outputs.values())
    uses = Counter(norm for _, norm in followers)
    return [
        (conv, norm)
        for conv, norm in followers
        if isinstance(conv, nn.Conv2d)
        and isinstance(norm, FrozenBatchNorm)
        and calls[conv] == uses[norm] == 1
    ]
