"""Ranges of 8 bits in use by a network, kept with its weights, and when they are computed in."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from foveal.errors import SettingsError
from foveal.models.fast_convolutions import Place, Watched, fast_convolutions
from foveal.models.int8 import InputRange, int8_is_fast
from foveal.models.precision import choose_precision

if TYPE_CHECKING:
    from collections.abc import Mapping

PredictionPrecision = Literal["auto", "float32", "bf16", "int8"]


class Quantisation:
    """Input ranges in use by a network's convolutions, as long as its weights stay as they were."""

    def __init__(self, network: nn.Module, ranges: Mapping[str, InputRange]) -> None:
        """Give each convolution its range; see `quantise`."""
        self.ranges = dict(ranges)
        convolutions = fast_convolutions(network)
        sources: list[Place] = []
        for name, conv in convolutions.items():
            conv.input_range = self.ranges.get(name)
            sources += conv.sources() if name in self.ranges else ()
        self._weights = Watched(tuple(sources))

    def is_current(self) -> bool:
        """Whether the weights are those on which the ranges were measured."""
        return self._weights.is_current()


def prediction_precision(
    wanted: PredictionPrecision, device: torch.device, quantisation: Quantisation | None
) -> torch.dtype:
    """The type to compute in: what is wanted, or for 'auto' the fastest that keeps the boxes.

    Raises:
        SettingsError: int8 is wanted and can't be had.
    """
    current = quantisation is not None and quantisation.is_current()
    possible = current and device.type == "cpu" and int8_is_fast()
    if possible and wanted in ("auto", "int8"):
        return torch.int8
    if wanted == "int8":
        raise SettingsError(f"precision 'int8': {_why_not(device, quantisation)}")
    return choose_precision(wanted, device)


def _why_not(device: torch.device, quantisation: Quantisation | None) -> str:
    if device.type != "cpu":
        return f"is for CPUs, and the device is {device}. Expected auto, float32 or bf16."
    if not int8_is_fast():
        return (
            "this processor has no instructions for it, or this PyTorch no operators. "
            "Expected auto, float32 or bf16."
        )
    if quantisation is None:
        return "the model has no ranges for it. Let foveal quantise measure them on images."
    return "the weights have changed since the ranges were measured. Measure them again."


def quantise(network: Any, ranges: Mapping[str, InputRange]) -> None:
    """Let a network predict in 8 bits on CPUs that can; its weights stay as they are.

    Raises:
        ValueError: the ranges are of another network.
    """
    convolutions = fast_convolutions(network)
    for name, seen in ranges.items():
        conv = convolutions.get(name)
        if conv is None or conv.in_channels != len(seen.means):
            raise ValueError(f"{name} is no convolution of {len(seen.means)} channels here")
        if len(seen.gives) not in (0, conv.out_channels):
            raise ValueError(f"{name} gives {conv.out_channels} channels, not {len(seen.gives)}")
    applied = Quantisation(network, ranges)  # takes older ranges away too
    network.quantisation = applied if ranges else None


def to_json(ranges: Mapping[str, InputRange]) -> dict[str, Any]:
    """Ranges as JSON values."""
    return {name: asdict(seen) for name, seen in ranges.items()}


def from_json(values: Mapping[str, Any]) -> dict[str, InputRange]:
    """What `to_json` gave.

    Raises:
        ValueError: it was something else.
    """
    try:
        return {name: _parsed(**entry) for name, entry in values.items()}
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def _parsed(
    low: Any, high: Any, means: Any, factors: Any, passed_on: Any, gives: Any
) -> InputRange:
    numbers = [low, high, *means, *factors, *(passed_on or ()), *gives]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        raise ValueError("a range holds something that is no number")
    if len(factors) not in (0, len(means)) or min((*factors, *gives), default=1) <= 0:
        raise ValueError("factors that are not positive or not as many as the channels")
    for least, most in ((low, high), *([passed_on] if passed_on is not None else ())):
        if not least <= 0 < most:
            raise ValueError(f"a range from {least} to {most}")
    return InputRange(
        low, high, tuple(means), tuple(factors), passed_on and tuple(passed_on), tuple(gives)
    )
