"""Convolutions in 8-bit integers on a CPU, for prediction: a quarter of the time of float32.

Weights have a scale for each output channel, features one scale and one zero for all (affine, 8
bits; Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference"). Sums are exact in 32 bits. The operators are those that PyTorch
has for compiled networks; they are not public, so where one is missing nothing is quantised.
"""

from __future__ import annotations

import platform
import warnings
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from foveal.models.onednn import PROCESSORS, fused_name, remember

STEPS = 255
"""Between the least and the greatest of 8 bits without a sign."""
WEIGHT_STEPS = 127
"""On each side of zero."""


@dataclass(frozen=True, slots=True)
class InputRange:
    """What a convolution's input looks like, measured on images.

    Attributes:
        low, high: what 8 bits span; values beyond are cut. low <= 0 < high.
        means: of each input channel [C].
        factors: by which each input channel [C] comes multiplied; () where they come as they are.
        passed_on: what 8 bits span in the output where whatever takes it is an 8-bit convolution
            too; None where something else needs the output in float32.
        gives: by which each output channel [O] is to be multiplied; () where it isn't.
    """

    low: float
    high: float
    means: tuple[float, ...]
    factors: tuple[float, ...] = ()
    passed_on: tuple[float, float] | None = None
    gives: tuple[float, ...] = ()


@cache
def int8_is_fast() -> bool:
    """True on an x86 processor with instructions for products of 8 bits (VNNI)."""
    built_in = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    instructions = bool(getattr(torch.cpu, "_is_vnni_supported", lambda: False)())
    here = built_in and instructions and platform.machine() in PROCESSORS
    return here and _operators_work()


def _operators_work() -> bool:
    """Whether this PyTorch has the operators, and they take what they are given."""
    conv: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, 1, 1, 1)  # type: ignore[no-untyped-call]
    one = torch.ones(1, 1, 1, 1)
    try:
        made = Int8Convolution(conv, one, None, None, InputRange(0.0, 1.0, (0.0,)))
        return bool(made(one).round() == one)
    except (AttributeError, RuntimeError, TypeError):
        return False


@cache
def _has_quantised_types() -> bool:
    """Whether PyTorch still has them: it says once that they will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)
        except (AttributeError, RuntimeError):
            return False
    return True


def can_be_quantised(conv: nn.Conv2d) -> bool:
    """Whether the operators know such a convolution."""
    return (
        conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and conv.weight.dtype is torch.float32
    )


class Int8Convolution:
    """A convolution and the activation behind it in 8 bits, without gradients.

    What rounding the weights adds to a channel on the average is taken off its bias (Nagel et al.
    2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2;
    here with means that were measured).

    Args:
        conv: gives stride, padding and groups.
        weight, bias: take the place of its own; float32.
        activation: ReLU and ReLU6 are done in the same pass.
        seen: what its input looks like.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        weight: Tensor,
        bias: Tensor | None,
        activation: nn.Module | None,
        seen: InputRange,
    ) -> None:
        fused, limits = fused_name(activation)
        self._activation = activation if fused == "none" else None
        if seen.gives and seen.passed_on and fused == "hardtanh":
            fused, limits = "none", []  # 8 bits end where each channel's values did
        weight, bias = scale_channels(weight, bias, seen, conv.groups)
        self._step, self._zero = step_and_zero(seen.low, seen.high)
        scales, levels = quantise_weight(weight)
        error = levels * scales[:, None, None, None] - weight
        shift = mean_shift(error, torch.tensor(seen.means), conv.groups)
        padding = [int(side) for side in conv.padding]
        self._geometry = list(conv.stride), padding, list(conv.dilation), conv.groups
        self._levels, self._known = levels, dict[tuple[torch.Size, int], tuple[Tensor]]()
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        moved = -shift if bias is None else bias - shift
        self._scales = scales
        self._rest = (
            scales,
            zeros,
            moved,
            *self._geometry,
            *self._output(seen.passed_on),
            fused,
            limits,
            "",
        )

    def _output(self, passed_on: tuple[float, float] | None) -> tuple[float, int, torch.dtype]:
        """The output's step, zero and type."""
        if passed_on is None or self._activation is not None:
            return 1.0, 0, torch.float32
        return *step_and_zero(*passed_on), torch.uint8

    def __call__(self, features: Tensor) -> Tensor:
        """Map [B, C, H, W], float32 or this convolution's 8 bits, to [B, O, H', W'].

        The result is float32, or the 8 bits of whatever takes it.
        """
        if features.dtype is not torch.uint8:
            features = quantise(features, self._step, self._zero)
        kind = features.shape, torch.get_num_threads()
        (packed,) = self._known.get(kind) or remember(self._known, kind, self._pack(features.shape))
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            features, self._step, self._zero, packed, *self._rest
        )
        return result if self._activation is None else self._activation(result)

    def _pack(self, shape: torch.Size) -> tuple[Tensor]:
        """Weights in the order that suits features of this size, and this number of threads."""
        with torch.inference_mode(False), torch.no_grad():
            packed: Tensor = torch.ops.onednn.qconv_prepack(
                self._levels, self._scales, self._step, self._zero, *self._geometry, list(shape)
            )
        return (packed,)


def step_and_zero(low: float, high: float) -> tuple[float, int]:
    """The value of one step, and which of 0..255 stands for 0, where 8 bits span low to high."""
    step = (high - low) / STEPS
    return step, round(-low / step)


def quantise(features: Tensor, step: float, zero: int) -> Tensor:
    """Features [...], float32, as 8 bits without a sign, nearest values; the order stays."""
    if not _has_quantised_types():
        return quantise_plainly(features, step, zero)
    quantised = torch.quantize_per_tensor(features, step, zero, torch.quint8)
    # PyTorch's quantised type has the bits in question: they are seen, not copied.
    bits = torch.empty(0, dtype=torch.uint8, device=features.device)
    return bits.set_(quantised.untyped_storage(), 0, quantised.shape, quantised.stride())


def quantise_plainly(features: Tensor, step: float, zero: int) -> Tensor:
    """What `quantise` computes, in five passes instead of one."""
    return (features / step).round_().add_(zero).clamp_(0, STEPS).to(torch.uint8)


def quantise_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Scales [O] and weights [O, I, H, W] as 8 bits with a sign."""
    scales = weight.abs().amax(dim=(1, 2, 3)).clamp(min=torch.finfo(weight.dtype).tiny)
    scales = scales / WEIGHT_STEPS
    return scales, (weight / scales[:, None, None, None]).round().to(torch.int8)


def scale_channels(
    weight: Tensor, bias: Tensor | None, seen: InputRange, groups: int
) -> tuple[Tensor, Tensor | None]:
    """Weights [O, I / groups, H, W] and bias [O] for input channels that come multiplied."""
    if seen.factors:
        factors = torch.tensor(seen.factors).reshape(groups, 1, -1)
        per_output = factors.expand(-1, len(weight) // groups, -1).reshape(weight.shape[:2])
        weight = weight / per_output[:, :, None, None]
    if seen.gives:
        gives = torch.tensor(seen.gives)
        weight = weight * gives[:, None, None, None]
        bias = None if bias is None else bias * gives
    return weight, bias


def mean_shift(error: Tensor, means: Tensor, groups: int) -> Tensor:
    """[O]: what an error of the weights [O, I / groups, H, W] adds to each output on the average.

    Args:
        error: what was added to the weights.
        means: [I] of the input's channels.
        groups: of the convolution.
    """
    summed = error.sum(dim=(2, 3)).reshape(groups, -1, error.shape[1])
    by_group = means.reshape(groups, error.shape[1], 1)
    return (summed @ by_group).flatten()
