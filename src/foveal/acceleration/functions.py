"""Faster ways of a CPU to what torch's functions compute, in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from foveal.acceleration import winograd
from foveal.acceleration.norm_folding import FoldedPair, fold
from foveal.acceleration.relu6 import relu6
from foveal.models.norms import FrozenBatchNorm


class FasterFunctions(TorchFunctionMode):
    """A context in which modules compute what they always do, on a CPU faster.

    3x3 convolutions go Winograd's way where that is faster, convolutions do the work of the frozen
    norms behind them, and ReLU6 in place takes less memory. Convolutions whose gradient is wrong
    in bfloat16 are computed in float32.

    Args:
        pairs: the convolutions and their norms, as `find_pairs` gives them.

    Raises:
        RuntimeError: a convolution of a pair was not followed by its norm, or a norm not preceded
            by its convolution; on leaving the context or before.
    """

    def __init__(self, pairs: Iterable[FoldedPair] = ()) -> None:
        super().__init__()
        # Tensors are told by identity: a module hands the function the weight that it holds.
        self._norm_after = {conv.weight: norm for conv, norm in pairs}
        self._folded = {norm.running_mean for norm in self._norm_after.values()}
        self._normalized: dict[Tensor, FrozenBatchNorm] = {}
        """Outputs that are normalized already, until their norm is called."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.conv2d:
            return self._conv2d(*args, **kwargs)
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        if func is F.hardtanh:
            return self._hardtanh(*args, **kwargs)
        return func(*args, **kwargs)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc_val, exc_tb)
        if exc_type is None and self._normalized:
            raise RuntimeError("A norm was folded into a convolution and then not called.")

    # The arguments have the names of the functions' own, since they may be given by name.

    def _conv2d(
        self,
        input: Tensor,  # noqa: A002
        weight: Tensor,
        bias: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        norm = self._norm_after.get(weight)
        if norm is not None:
            weight, bias = fold(norm, weight, bias)
        output = _convolve(input, weight, bias, *args, **kwargs)
        if norm is not None:
            self._normalized[output] = norm
        return output

    def _batch_norm(
        self,
        input: Tensor,  # noqa: A002
        running_mean: Tensor | None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        norm = self._normalized.pop(input, None)
        if norm is None and running_mean not in self._folded:
            return F.batch_norm(input, running_mean, *args, **kwargs)
        if norm is None or norm.running_mean is not running_mean:
            raise RuntimeError("A norm was called on another input than it is folded into.")
        return input

    def _hardtanh(
        self,
        input: Tensor,  # noqa: A002
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
    ) -> Tensor:
        if inplace and (min_val, max_val) == (0, 6):
            return relu6(input)
        return F.hardtanh(input, min_val, max_val, inplace)


def _convolve(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    options: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }
    if winograd.suits(features, weight, **options):
        return winograd.convolve(features, weight, bias)
    if _has_wrong_gradient(features, weight, stride):
        with torch.autocast("cpu", enabled=False):
            bias = None if bias is None else bias.float()
            output = F.conv2d(features.float(), weight.float(), bias, **options)
        return output.to(torch.bfloat16)
    return F.conv2d(features, weight, bias, **options)


def _has_wrong_gradient(features: Tensor, weight: Tensor, stride: Any) -> bool:
    """Whether torch gives no right gradient of the weights in bfloat16.

    With oneDNN on processors with AVX-512 BF16 (seen with torch 2.15) it leaves those taps unset
    that meet nothing but padding, where a step is longer than the features [B, C, H, 1] are wide.
    """
    return (
        features.shape[-1] == 1
        and weight.shape[-1] > 1
        and stride not in (1, (1, 1), [1, 1])
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is torch.bfloat16
    )
