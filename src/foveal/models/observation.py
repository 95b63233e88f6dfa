"""What is seen of a network's convolutions on images, and the ranges of 8 bits that follow."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foveal.models.fast_convolutions import FastConv2d, fast_convolutions
from foveal.models.int8 import STEPS, InputRange, can_be_quantised
from foveal.models.onednn import fused_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CUTS = tuple(share / 40 for share in range(8, 41))
"""Shares of the whole range that are tried."""
_ONE_IN = 500
_MOST_SAMPLES = 8192
"""So many values of an input are kept: one in 500, but hardly more of one call than these."""
_MOST_APART = 64
"""Channels of a smaller part of the largest one's range are not enlarged further."""


def observe(network: nn.Module, look: Callable[[], object]) -> Observation:
    """Watch every convolution's input while the network looks at images.

    A convolution that is given something that is no finite number is left out.

    Args:
        network: in evaluation mode, computing in float32.
        look: runs it on images that are like those of use.
    """
    observer = _Observer()
    convolutions = fast_convolutions(network)
    with ExitStack() as stack:
        for name, conv in convolutions.items():
            seen = name if can_be_quantised(conv) else None
            for hook in observer.hooks(seen, conv):
                stack.callback(hook.remove)
        for part in network.children():
            stack.callback(part.register_forward_hook(observer.after_part).remove)
        stack.callback(network.register_forward_hook(observer.after_pass).remove)
        stack.enter_context(observer)
        look()
    return Observation(
        {
            name: Seen(
                inputs,
                _Weights.of(convolutions[name]),
                frozenset(observer.takers[name]),
                frozenset(observer.givers[name]),
                name in observer.with_relu,
            )
            for name, inputs in observer.inputs.items()
            if inputs.are_finite()
        }
    )


@dataclass(frozen=True, slots=True)
class _Weights:
    """Of a convolution: what sharing out its input's range has to know."""

    columns: Tensor
    """[I]: the largest weight on each input channel."""
    depthwise: bool
    fused: str
    """The activation, as `fused_name` calls it; "other" for one that it does not know."""

    @classmethod
    def of(cls, conv: FastConv2d) -> _Weights:
        weight = conv.effective_weight().detach().abs().amax(dim=(2, 3)).cpu()
        by_group = weight.reshape(conv.groups, -1, weight.shape[1]).amax(dim=1).flatten()
        fused = fused_name(conv.activation)[0]
        other = fused == "none" and conv.activation is not None
        depthwise = conv.groups == conv.in_channels
        return cls(by_group, depthwise, "other" if other else fused)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one convolution.

    Attributes:
        inputs: values.
        weights: what matters of its own.
        takers: the convolutions that took its output; None stands for anything else.
        givers: the convolutions that made its input; None likewise.
        with_relu: whether ReLU was applied to its output in place.
    """

    inputs: _Inputs
    weights: _Weights
    takers: frozenset[str | None]
    givers: frozenset[str | None]
    with_relu: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of each convolution, by name, in the order of the first pass."""

    seen: dict[str, Seen]

    def ranges(self, *, without: str | None = None) -> dict[str, InputRange]:
        """The input range of each convolution.

        Ranges are cut where rounding and cutting do the least harm together (least squares). Where
        only one convolution takes an output, its channels are brought to ranges of like size first,
        by factors that one multiplies into its weights and the other takes out of its own. An
        output goes on in 8 bits where nothing but 8-bit convolutions takes it, and no ReLU lies
        between or zero is the least of the 8 bits.

        Args:
            without: the beginning of the names of convolutions that stay in float32.
        """
        chosen = {
            name: seen
            for name, seen in self.seen.items()
            if without is None or not name.startswith(without)
        }
        factors = {name: _factors(name, chosen) for name in chosen}
        spans = {name: seen.inputs.best_span(factors[name]) for name, seen in chosen.items()}
        found = {}
        for name, seen in chosen.items():
            taker = next(iter(seen.takers), None) if len(seen.takers) == 1 else None
            gives = factors.get(taker or "")
            found[name] = InputRange(
                *spans[name],
                _rounded(seen.inputs.channel_means() * _or_ones(factors[name])),
                _rounded(factors[name]),
                _shared(seen, spans),
                _rounded(gives),
            )
        return found


@dataclass(slots=True)
class _Inputs:
    """What was seen of one convolution's input."""

    lows: list[Tensor] = field(default_factory=list)
    highs: list[Tensor] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    samples: list[Tensor] = field(default_factory=list)

    def add(self, features: Tensor, generator: torch.Generator) -> None:
        places = features.permute(0, 2, 3, 1).flatten(0, 2)
        self.lows.append(places.amin(dim=0).cpu())
        self.highs.append(places.amax(dim=0).cpu())
        self.means.append(places.mean(dim=0).cpu())
        self.sizes.append(len(places))
        count = min(len(places) // _ONE_IN, _MOST_SAMPLES // places.shape[1]) + 1
        chosen = torch.randint(len(places), (count,), generator=generator)
        self.samples.append(places[chosen.to(places.device)].cpu())

    def are_finite(self) -> bool:
        return all(bool(torch.isfinite(each).all()) for each in (*self.lows, *self.highs))

    def channel_means(self) -> Tensor:
        weights = torch.tensor(self.sizes, dtype=torch.float32)
        return (torch.stack(self.means) * weights[:, None]).sum(0) / weights.sum()

    def channel_extents(self) -> Tensor:
        """[C]: the largest absolute value of each channel."""
        return torch.stack([*self.lows, *self.highs]).abs().amax(dim=0)

    def best_span(self, factors: Tensor | None) -> tuple[float, float]:
        by_channel = _or_ones(factors)
        low = min(0.0, float((torch.stack(self.lows) * by_channel).min()))
        high = max(1e-6, float((torch.stack(self.highs) * by_channel).max()))
        values = torch.cat(self.samples) * by_channel

        def error(share: float) -> float:
            step = (high - low) * share / STEPS
            zero = round(-low * share / step)
            seen = ((values / step).round() + zero).clamp(0, STEPS) - zero
            return float((seen * step - values).div(by_channel).square().mean())

        share = min(_CUTS, key=error)
        return low * share, high * share


class _Observer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees each operation, and so who takes a convolution's output."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inputs: defaultdict[str, _Inputs] = defaultdict(_Inputs)
        self.takers: defaultdict[str, set[str | None]] = defaultdict(set)
        self.givers: defaultdict[str, set[str | None]] = defaultdict(set)
        self.with_relu: set[str] = set()
        self._made: dict[int, tuple[str, Tensor]] = {}  # with the tensors, so that ids stay unique
        self._inside = 0
        self._generator = torch.Generator().manual_seed(0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if self._inside == 0 and func is torch.ops.aten.relu_.default:
            self.with_relu.update(filter(None, [self._maker(args[0])]))
        elif self._inside == 0:
            self._taken((args, kwargs), by=None)
        return func(*args, **(kwargs or {}))

    def hooks(self, name: str | None, conv: FastConv2d) -> list[Any]:
        """Watch one convolution; without a name only that it takes others' outputs."""

        def before(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self._inside += 1
            self._taken(arguments[0], by=name)
            if name is not None:
                self.givers[name].add(self._maker(arguments[0]))
                self.inputs[name].add(arguments[0].detach().float(), self._generator)

        def after(_: nn.Module, __: Any, output: Tensor) -> None:
            self._inside -= 1
            if name is not None:
                self._made[id(output)] = name, output

        return [conv.register_forward_pre_hook(before), conv.register_forward_hook(after)]

    def after_part(self, _: nn.Module, __: Any, output: Any) -> None:
        """A part is over: what it gives may be moved before a convolution takes it."""
        self._taken(output, by=None)

    def after_pass(self, _: nn.Module, __: Any, output: Any) -> None:
        """A pass is over: what was made may go."""
        self._taken(output, by=None)
        self._made.clear()

    def _maker(self, value: Any) -> str | None:
        return self._made[id(value)][0] if id(value) in self._made else None

    def _taken(self, values: Any, *, by: str | None) -> None:
        for value in tree_leaves(values):
            maker = self._maker(value)
            if maker is not None:
                self.takers[maker].add(by)


def _factors(name: str, chosen: Mapping[str, Seen]) -> Tensor | None:
    """[C]: what each input channel is to be multiplied by; None where that can't be done.

    A depthwise convolution has a scale for each channel, so all can fill the 8 bits. Where others
    add channels up, half of the way is gone, the other half with the weights (Xiao et al. 2023,
    "SmoothQuant", equation 4). ReLU lets factors pass; ReLU6 only where 8 bits do the cutting.
    """
    seen = chosen[name]
    for giver in seen.givers:
        known = chosen.get(giver or "")
        if known is None or known.takers != {name} or known.weights.fused == "other":
            return None
        if known.weights.fused == "hardtanh" and not seen.weights.depthwise:
            return None
    extents = _above(seen.inputs.channel_extents())
    factors = (
        1 / extents if seen.weights.depthwise else (_above(seen.weights.columns) / extents).sqrt()
    )
    return factors / factors.max()


def _above(values: Tensor) -> Tensor:
    """[C], none of them far below the largest, and none 0."""
    return values.clamp(min=max(float(values.max()) / _MOST_APART, torch.finfo(values.dtype).tiny))


def _or_ones(factors: Tensor | None) -> Tensor:
    return torch.ones(()) if factors is None else factors


def _rounded(values: Tensor | None) -> tuple[float, ...]:
    if values is None:
        return ()
    return tuple(float(f"{value:.5g}") for value in values.tolist())


def _shared(seen: Seen, spans: Mapping[str, tuple[float, float]]) -> tuple[float, float] | None:
    """The span that all who take an output agree on, if they are all 8-bit convolutions."""
    found = {spans.get(taker or "") for taker in seen.takers}
    if len(found) != 1:
        return None
    span = found.pop()
    return None if span is None or (seen.with_relu and span[0] < 0) else span
