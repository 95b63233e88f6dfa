"""Convolutions that take the fastest way there is, with the weights and the names of PyTorch's.

Where no gradient is wanted, what can be done once is done once: a norm is folded into the weights,
they are cast to autocast's precision, and on a CPU oneDNN gets them in the order in which it
computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foveal.models import winograd
from foveal.models.int8 import InputRange, Int8Convolution
from foveal.models.onednn import PackedConvolution
from foveal.models.precision import autocast_precision, computes_in_int8
from foveal.models.recording import is_recorded

Place = tuple[dict[str, Any], str]
"""Where a module keeps a tensor: its parameters or its buffers, and the name."""


class FastConv2d(nn.Conv2d):
    """A convolution with the weights and the numbers of PyTorch's, faster where there is a way.

    Attributes:
        input_range: what 8-bit prediction needs; see `foveal.models.quantisation`.
    """

    input_range: InputRange | None = None
    _ready: ReadyConvolution | None = None

    @property
    def activation(self) -> nn.Module | None:
        """What is done to the result, where that is this module's work."""
        return None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Map [B, C, H, W] to [B, O, H', W']."""
        if not self._can_be_made_ready(input):
            self._ready = None
            return self._activated(self._conv_forward(input, *self._weight_and_bias()))
        ready = self._ready
        if ready is None or not ready.is_current():
            ready = self._ready = self._make_ready()
        if self.input_range is not None and computes_in_int8():
            return ready.in_int8(self, self.input_range)(input)
        if ready.packed.suits(input) and not winograd.suits(input, self):
            return ready.packed(input)
        return self._activated(self._conv_forward(input, *ready.for_features(input)))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        if winograd.suits(input, self):
            return winograd.convolve(input, weight, bias)
        result: Tensor = super()._conv_forward(input, weight, bias)
        return result

    def _make_ready(self) -> ReadyConvolution:
        with torch.inference_mode(False), torch.no_grad():
            weight, bias = self._weight_and_bias()
            packed = PackedConvolution(self, weight, bias, self.activation)
        return ReadyConvolution(self.sources(), weight, bias, packed)

    def effective_weight(self) -> Tensor:
        """[O, I / groups, H, W]: the weights in use, a norm's work included."""
        return self._weight_and_bias()[0]

    def sources(self) -> tuple[Place, ...]:
        """All that the weights in use are computed from."""
        return (self._parameters, "weight"), (self._parameters, "bias")

    def _weight_and_bias(self) -> tuple[Tensor, Tensor | None]:
        """The weights in use."""
        return self.weight, self.bias

    def _can_be_made_ready(self, features: Tensor) -> bool:
        """Where nothing is compiled, no gradient is wanted and changes can be seen."""
        weight, bias = self.weight, self.bias
        learns = torch.is_grad_enabled() and (
            features.requires_grad
            or weight.requires_grad
            or (bias is not None and bias.requires_grad)
        )
        return (
            not is_recorded()
            and (features.is_cpu or features.is_cuda)
            and not learns
            and not weight.is_inference()
        )

    def _activated(self, features: Tensor) -> Tensor:
        activation = self.activation
        return features if activation is None else activation(features)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": None}


class Watched:
    """Tensors, and whether the same are still there with the same values."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        # The tensors are held, so that no other can come to lie in their place.
        self._sources = [(tensors, name, tensors[name]) for tensors, name in places]
        self._states = [_state(tensor) for _, _, tensor in self._sources]

    def is_current(self) -> bool:
        """Whether nothing was changed or replaced."""
        for (tensors, name, tensor), state in zip(self._sources, self._states, strict=True):
            if tensors[name] is not tensor or _state(tensor) != state:
                return False
        return True


class ReadyConvolution:
    """What prediction needs of a convolution, as long as nothing that it was made of changes."""

    def __init__(
        self,
        sources: tuple[Place, ...],
        weight: Tensor,
        bias: Tensor | None,
        packed: PackedConvolution,
    ) -> None:
        self.packed = packed
        self._weight_and_bias = weight, bias
        self._cast: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}
        self._int8: tuple[InputRange, Int8Convolution] | None = None
        self._sources = Watched(sources)

    def for_features(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weight and bias; under autocast in its precision, so that no pass has to cast them."""
        precision = autocast_precision(features.device)
        if precision is None:
            return self._weight_and_bias
        if precision not in self._cast:
            with torch.inference_mode(False), torch.no_grad():
                weight, bias = self._weight_and_bias
                cast = None if bias is None else bias.to(precision)
                self._cast[precision] = weight.to(precision), cast
        return self._cast[precision]

    def in_int8(self, conv: FastConv2d, seen: InputRange) -> Int8Convolution:
        """The same in 8 bits."""
        if self._int8 is None or self._int8[0] is not seen:
            with torch.inference_mode(False), torch.no_grad():
                weight, bias = self._weight_and_bias
                self._int8 = seen, Int8Convolution(conv, weight, bias, conv.activation, seen)
        return self._int8[1]

    def is_current(self) -> bool:
        """Whether the same tensors with the same values are there as when this was made."""
        return self._sources.is_current()


def _state(tensor: Tensor | None) -> tuple[int, int] | None:
    """Changes when other values are written, or another memory is put under the tensor."""
    return None if tensor is None else (tensor.data_ptr(), tensor._version)


def use_fast_convolutions(module: nn.Module) -> None:
    """Replace every plain convolution inside a module; weights and the names of its state stay."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Conv2d:
                fast = FastConv2d.__new__(FastConv2d)
                fast.__dict__.update(child.__dict__)
                setattr(parent, name, fast)


def fast_convolutions(module: nn.Module) -> dict[str, FastConv2d]:
    """All of them inside a module, by name."""
    return {name: each for name, each in module.named_modules() if isinstance(each, FastConv2d)}
