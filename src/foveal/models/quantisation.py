"""What 8-bit prediction has to know of a network: measured on images, kept with the weights."""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foveal.errors import SettingsError
from foveal.models.fast_convolutions import FastConv2d, Place, Watched
from foveal.models.int8 import STEPS, InputRange, can_be_quantised, int8_is_fast
from foveal.models.precision import Precision, choose_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PredictionPrecision = Literal["auto", "float32", "bf16", "int8"]

_CUTS = tuple(share / 40 for share in range(8, 41))
"""Shares of the whole range that are tried."""
_ONE_IN = 500
_MOST_SAMPLES = 8192
"""So many values of an input are kept: one in 500, but no more of one call than these."""


class Quantisation:
    """Input ranges in use by a network's convolutions, as long as its weights stay as they were."""

    def __init__(self, network: nn.Module, ranges: Mapping[str, InputRange]) -> None:
        """Give each convolution its range; see `quantise`."""
        self.ranges = dict(ranges)
        convolutions = _convolutions(network)
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
    if wanted == "int8" and not possible:
        raise SettingsError(f"precision 'int8': {_why_not(device, quantisation)}")
    if possible and wanted in ("auto", "int8"):
        return torch.int8
    precision: Precision = "auto" if wanted == "int8" else wanted
    return choose_precision(precision, device)


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


def observe(network: nn.Module, look: Callable[[], object]) -> Observation:
    """Watch every convolution's input while the network looks at images.

    A convolution that is given something that is no finite number is left out.

    Args:
        network: in evaluation mode, computing in float32.
        look: runs it on images that are like those of use.
    """
    observer = _Observer()
    with ExitStack() as stack:
        for name, conv in _convolutions(network).items():
            seen = name if can_be_quantised(conv) else None
            for hook in observer.hooks(seen, conv):
                stack.callback(hook.remove)
        stack.callback(network.register_forward_hook(observer.after_pass).remove)
        stack.enter_context(observer)
        look()
    finite = {name: inputs for name, inputs in observer.inputs.items() if inputs.are_finite()}
    spans = {name: inputs.best_span() for name, inputs in finite.items()}
    means = {name: inputs.channel_means() for name, inputs in finite.items()}
    return Observation(spans, means, dict(observer.takers))


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of each convolution, by name, in the order of the first pass.

    Attributes:
        spans: what 8 bits should span, cut where rounding and cutting do the least harm together
            (least squares).
        means: of each input channel.
        takers: the convolutions that took its output; None stands for anything else.
    """

    spans: dict[str, tuple[float, float]]
    means: dict[str, tuple[float, ...]]
    takers: dict[str, set[str | None]]

    def ranges(self, *, without: str | None = None) -> dict[str, InputRange]:
        """The input range of each convolution.

        An output goes on in 8 bits where nothing but 8-bit convolutions takes it, and ReLU at most
        lies between; each range that is passed on begins at 0, so padding and ReLU stay true.

        Args:
            without: the beginning of the names of convolutions that stay in float32.
        """
        spans = {
            name: span
            for name, span in self.spans.items()
            if without is None or not name.startswith(without)
        }
        return {
            name: InputRange(*span, self.means[name], _shared(self.takers.get(name, set()), spans))
            for name, span in spans.items()
        }


def quantise(network: Any, ranges: Mapping[str, InputRange]) -> None:
    """Let a network predict in 8 bits on CPUs that can; its weights stay as they are.

    Raises:
        ValueError: the ranges are of another network.
    """
    convolutions = _convolutions(network)
    for name, seen in ranges.items():
        conv = convolutions.get(name)
        if conv is None or conv.in_channels != len(seen.means):
            raise ValueError(f"{name} is no convolution of {len(seen.means)} channels here")
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


def _parsed(low: Any, high: Any, means: Any, passed_on: Any) -> InputRange:
    numbers = [low, high, *means, *(passed_on or ())]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        raise ValueError("a range holds something that is no number")
    if not low <= 0 < high or (passed_on is not None and not 0 == passed_on[0] < passed_on[1]):
        raise ValueError(f"a range from {low} to {high}")
    return InputRange(low, high, tuple(means), passed_on and tuple(passed_on))


def _convolutions(network: nn.Module) -> dict[str, FastConv2d]:
    return {
        name: module for name, module in network.named_modules() if isinstance(module, FastConv2d)
    }


@dataclass(slots=True)
class _Inputs:
    """What was seen of one convolution's input."""

    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)

    def add(self, features: Tensor, generator: torch.Generator) -> None:
        low, high = torch.aminmax(features)
        self.lows.append(float(low))
        self.highs.append(float(high))
        self.means.append(features.mean(dim=(0, 2, 3)).cpu())
        self.sizes.append(features[:, 0].numel())
        values = features.permute(0, 2, 3, 1).reshape(-1)
        count = min(len(values) // _ONE_IN + 1, _MOST_SAMPLES)
        chosen = torch.randint(len(values), (count,), generator=generator)
        self.samples.append(values[chosen.to(values.device)].cpu())

    def are_finite(self) -> bool:
        return all(map(math.isfinite, (*self.lows, *self.highs)))

    def channel_means(self) -> tuple[float, ...]:
        weights = torch.tensor(self.sizes, dtype=torch.float32)
        means = (torch.stack(self.means) * weights[:, None]).sum(0) / weights.sum()
        return tuple(float(f"{mean:.5g}") for mean in means.tolist())

    def best_span(self) -> tuple[float, float]:
        low, high = min(0.0, *self.lows), max(1e-6, *self.highs)
        values = torch.cat(self.samples)

        def error(share: float) -> float:
            step = (high - low) * share / STEPS
            zero = round(-low * share / step)
            seen = ((values / step).round() + zero).clamp(0, STEPS) - zero
            return float((seen * step - values).square().mean())

        share = min(_CUTS, key=error)
        return low * share, high * share


class _Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation, and so who takes a convolution's output."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inputs: defaultdict[str, _Inputs] = defaultdict(_Inputs)
        self.takers: defaultdict[str, set[str | None]] = defaultdict(set)
        self._made: dict[int, tuple[str, Tensor]] = {}  # with the tensors, so that ids stay unique
        self._inside = 0
        self._generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._inside == 0 and func is not torch.ops.aten.relu_.default:
            for value in tree_leaves((args, kwargs)):
                self._taken(value, by=None)
        return func(*args, **(kwargs or {}))

    def hooks(self, name: str | None, conv: FastConv2d) -> list[Any]:
        """Watch one convolution; without a name only that it takes others' outputs."""

        def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self._inside += 1
            self._taken(arguments[0], by=name)
            if name is not None:
                self.inputs[name].add(arguments[0].detach().float(), self._generator)

        def after(_: nn.Module, __: Any, output: Tensor) -> None:
            self._inside -= 1
            if name is not None:
                self._made[id(output)] = name, output

        return [conv.register_forward_pre_hook(before), conv.register_forward_hook(after)]

    def after_pass(self, _: nn.Module, __: Any, output: Any) -> None:
        """A pass is over: what the network gives is taken by others, what it made may go."""
        for value in tree_leaves(output):
            self._taken(value, by=None)
        self._made.clear()

    def _taken(self, value: Any, *, by: str | None) -> None:
        if isinstance(value, Tensor) and id(value) in self._made:
            self.takers[self._made[id(value)][0]].add(by)


def _shared(
    takers: set[str | None], spans: Mapping[str, tuple[float, float]]
) -> tuple[float, float] | None:
    """The span that all who take an output agree on, if they are all 8-bit convolutions."""
    found = {spans.get(taker or "") for taker in takers}
    if len(found) != 1:
        return None
    span = found.pop()
    return span if span is not None and span[0] == 0 else None
