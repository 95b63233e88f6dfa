"""Which frozen batch norms can be folded into the convolution before them.

A frozen norm multiplies and shifts each channel by constants, so a convolution followed by one is
one convolution with other weights and a bias: s (W x + b) + t = (s W) x + (s b + t). Scaling the
weights in every step costs next to nothing beside a pass over the features, and the weights'
gradients are those of the unfolded network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from foveal.models.norms import FrozenBatchNorm


class FoldedPair(NamedTuple):
    """A convolution and the frozen norm to which its output goes, and goes alone."""

    conv: nn.Conv2d
    norm: FrozenBatchNorm


def find_pairs(module: nn.Module, example: Tensor) -> list[FoldedPair]:
    """Every convolution whose output goes to one frozen norm and nowhere else.

    One pass of an example tells, so that no network's naming matters.

    Args:
        module: is left as it was.
        example: an input, [B, C, H, W].
    """
    training = [child for child in module.modules() if child.training]
    watch = _Watch(module)
    try:
        with torch.no_grad(), watch:
            outputs = module.eval()(example)
    finally:
        for child in training:
            child.training = True
    watch.note_uses(outputs)
    return watch.pairs()


def fold(norm: FrozenBatchNorm, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight [O, I, H, W] and bias [O] of a convolution that does the work of a norm too."""
    scale, shift = norm.scale_and_shift()
    folded = weight * scale[:, None, None, None]
    return folded, shift if bias is None else shift + bias * scale


class _Watch(TorchFunctionMode):
    """Sees which function takes the output of which convolution. Tensors are told by identity."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        children = list(module.modules())
        self._convs = {conv.weight: conv for conv in children if isinstance(conv, nn.Conv2d)}
        self._norms = {
            norm.running_mean: norm for norm in children if isinstance(norm, FrozenBatchNorm)
        }
        self._outputs: dict[Tensor, nn.Conv2d] = {}
        self._pairs: list[FoldedPair] = []
        self._calls: Counter[nn.Module] = Counter()
        self._uses: Counter[nn.Module] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self.note_uses((args, kwargs))
        output = func(*args, **kwargs)
        if func is F.conv2d and len(args) > 1 and args[1] in self._convs:
            conv = self._convs[args[1]]
            self._calls[conv] += 1
            self._outputs[output] = conv
        elif func is F.batch_norm and args[1] in self._norms:
            norm = self._norms[args[1]]
            self._calls[norm] += 1
            if args[0] in self._outputs:
                self._pairs.append(FoldedPair(self._outputs[args[0]], norm))
        return output

    def note_uses(self, values: Any) -> None:
        """Count for each convolution how often its output is among the values."""
        for tensor in _tensors(values):
            if tensor in self._outputs:
                self._uses[self._outputs[tensor]] += 1

    def pairs(self) -> list[FoldedPair]:
        """Those of which both were called once, and the output used once."""
        return [
            pair
            for pair in self._pairs
            if self._calls[pair.conv] == self._calls[pair.norm] == self._uses[pair.conv] == 1
        ]


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
