"""Convolutions by oneDNN on a CPU, with weights that are in its own order already.

PyTorch keeps weights in the order of their indices and has oneDNN bring them into its blocks in
every pass. In a small network that takes as long as the arithmetic of the smaller layers. Its
operators for compiled networks take weights that are in blocks, and do a simple activation on the
way. They are not public: where one is missing, PyTorch's own way is taken.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from foveal.models.activations import InPlaceReLU6
from foveal.models.precision import autocast_precision

PROCESSORS = ("x86_64", "AMD64")
OPERATORS = (
    "_convolution_pointwise",
    "_get_mkldnn_serialized_md",
    "_reorder_convolution_weight",
)
Key = TypeVar("Key")
Packed = TypeVar("Packed", bound=tuple[Any, ...])

MOST_KNOWN = 256
"""Sizes of features whose weights are remembered."""


class PackedConvolution:
    """A convolution and the activation behind it, without gradients.

    The order depends on the size of the features, the precision and the number of threads, so the
    first call of each kind brings the weights in its order. Most kinds share one: few are kept.

    Args:
        conv: gives stride, padding and groups.
        weight, bias: take the place of its own; float32.
        activation: ReLU and ReLU6 are done in the same pass.
    """

    def __init__(
        self, conv: nn.Conv2d, weight: Tensor, bias: Tensor | None, activation: nn.Module | None
    ) -> None:
        self._weight, self._bias = weight, bias
        self._fused, self._limits = fused_name(activation)
        self._activation = None if self._fused != "none" else activation
        self._known: dict[tuple[Any, ...], tuple[Tensor, Tensor | None]] = {}
        self._geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        plain_padding = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
        suited = plain_padding and weight.dtype is torch.float32
        self._precisions = _precisions() if suited else ()

    def suits(self, features: Tensor) -> bool:
        """Whether this can be called with these features."""
        return (
            features.is_cpu
            and _precision(features) in self._precisions
            and bool(torch.backends.mkldnn.enabled)
            and features.ndim == 4
            and features.numel() > 0
        )

    def __call__(self, features: Tensor) -> Tensor:
        """Map [B, C, H, W], float32, or float32 or bfloat16 under autocast, to [B, O, H', W']."""
        precision = _precision(features)
        if features.dtype is not precision:
            features = features.to(precision)
        key = features.shape, precision, torch.get_num_threads()
        known = self._known.get(key)
        if known is None:
            known = remember(self._known, key, self._pack(features))
        weight, bias = known
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            features, weight, bias, *self._geometry, self._fused, self._limits, ""
        )
        return result if self._activation is None else self._activation(result)

    def _pack(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        with torch.inference_mode(False), torch.no_grad():
            weight = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight.to(features.dtype), *self._geometry, list(features.shape)
            )
            return weight, None if self._bias is None else self._bias.to(features.dtype)


def remember(known: dict[Key, Packed], key: Key, packed: Packed) -> Packed:
    """Keep weights in their order for features of a kind, not for ever more kinds.

    Args:
        known: what is kept: first the weights, then whatever goes with them.
        key: the kind.
        packed: what suits it.

    Returns:
        What is kept for it: where another kind has the same weights in the same order, that kind's.
    """
    weight, order = packed[0], order_of(packed[0])
    alike = (
        other
        for other in known.values()
        if other[0].dtype is weight.dtype and order_of(other[0]) == order
    )
    kept = next(alike, packed)
    if len(known) >= MOST_KNOWN:
        known.clear()
    known[key] = kept
    return kept


def order_of(packed: Tensor) -> list[int]:
    """What oneDNN says about the order of the weights."""
    order: list[int] = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).tolist()
    return order


def fused_name(activation: nn.Module | None) -> tuple[str, list[float]]:
    """An activation's name there, and its limits; "none" where it has to be done apart."""
    if isinstance(activation, InPlaceReLU6 | nn.ReLU6):
        return "hardtanh", [0.0, 6.0]
    return ("relu", []) if isinstance(activation, nn.ReLU) else ("none", [])


def _precision(features: Tensor) -> torch.dtype:
    """What a convolution computes in."""
    return autocast_precision(features.device) or features.dtype


@cache
def _precisions() -> tuple[torch.dtype, ...]:
    """In which oneDNN can be asked here."""
    found = all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS)
    built_in = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    if not (found and built_in and platform.machine() in PROCESSORS):
        return ()
    check = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    return (torch.float32, torch.bfloat16) if check() else (torch.float32,)
