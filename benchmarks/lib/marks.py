"""Where the time of a real step or prediction goes, without a second version of its code.

Marks are set at the borders of the parts: by hooks on modules, on the optimizer and on gradients,
and around functions. Whatever a meter counts (seconds, bytes, operations) between two marks belongs
to the part that the later one ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from foveal.acceleration import accelerated
from foveal.models.retinanet import RetinaNet
from foveal.structures import RawOutput

Meter = Callable[[], float]

NOTHING_MOVED = ("empty", "new_empty", "resize")
"""Operations that only make room."""


@dataclass
class Marks:
    """What a meter counted in each part, since `start`."""

    meter: Meter
    parts: dict[str, float] = field(default_factory=dict)
    _last: float = 0.0

    def start(self) -> None:
        """Begin anew."""
        self.parts = {}
        self._last = self.meter()

    def end(self, part: str) -> None:
        """What was counted since the last mark belongs to this part."""
        now = self.meter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now


@contextlib.contextmanager
def plain_forward() -> Iterator[None]:
    """The network's own forward, without what makes it faster on a CPU."""
    original = accelerated.can_accelerate
    accelerated.can_accelerate = lambda *_: False
    try:
        yield
    finally:
        accelerated.can_accelerate = original


class Traffic(TorchDispatchMode):
    """Counts the bytes that plain operations read and write: each input and each output once.

    Views move nothing. It is what a device without caches would move; fused kernels move less.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0.0
        self._plain = contextlib.ExitStack()

    def __enter__(self) -> Traffic:
        self._plain.enter_context(plain_forward())
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._plain.close()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not _is_view(func) and not func.__name__.startswith(NOTHING_MOVED):
            sources = {id(item): item for item in tree_leaves((args, kwargs, out))}
            self.bytes += sum(map(_bytes, sources.values()))
        return out

    def meter(self) -> float:
        """Bytes so far."""
        return self.bytes


def _is_view(func: Any) -> bool:
    return any(
        result.alias_info is not None and not result.alias_info.is_write
        for result in func._schema.returns
    )


def _bytes(item: Any) -> int:
    if not isinstance(item, Tensor):
        return 0
    size: int = item.numel() * item.element_size()
    expanded = any(stride == 0 for stride in item.stride())
    return min(size, item.untyped_storage().nbytes()) if expanded else size


@contextlib.contextmanager
def marked_forward(model: RetinaNet, marks: Marks) -> Iterator[None]:
    """Marks normalization, backbone, FPN and heads of every pass through the network."""
    hooks = [
        *on_network(model, before=lambda: marks.end("to the device")),
        *on_network(model, after=lambda _: marks.end("heads")),
        model.backbone.register_forward_pre_hook(lambda *_: marks.end("normalization")),
        model.backbone.register_forward_hook(lambda *_: marks.end("backbone")),
        model.fpn.register_forward_hook(lambda *_: marks.end("FPN")),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def on_gradient(output: Tensor, call: Callable[[], None]) -> None:
    """Call something once the gradient reaches an output; never for a pass without gradients."""
    if output.requires_grad:
        output.register_hook(lambda _: call())


def on_network(
    model: RetinaNet,
    *,
    before: Callable[[], None] | None = None,
    after: Callable[[RawOutput[Tensor]], None] | None = None,
) -> list[RemovableHandle]:
    """Call something before or after each pass, whether the network runs itself or accelerated."""

    def is_it(module: nn.Module) -> bool:
        return module is model or (
            isinstance(module, accelerated.Accelerated) and module.model is model
        )

    def before_module(module: nn.Module, _: Any) -> None:
        if before is not None and is_it(module):
            before()

    def after_module(module: nn.Module, _: Any, output: Any) -> None:
        if after is not None and is_it(module):
            after(output)

    return [
        register_module_forward_pre_hook(before_module),
        register_module_forward_hook(after_module),
    ]


@contextlib.contextmanager
def marked_backward(model: RetinaNet, marks: Marks) -> Iterator[None]:
    """Marks where the gradient passes from the losses to the heads, the FPN and the backbone.

    Autograd goes back in the order in which the forward pass was: the gradient reaches a part's
    last output once everything behind the part is done.
    """

    def after_fpn(_module: nn.Module, _: Any, levels: tuple[Tensor, ...]) -> None:
        on_gradient(levels[-1], lambda: marks.end("heads, backward"))

    def after_backbone(_module: nn.Module, _: Any, features: tuple[Tensor, ...]) -> None:
        on_gradient(features[-1], lambda: marks.end("FPN, backward"))

    def after_heads(raw: RawOutput[Tensor]) -> None:
        arrived: list[None] = []

        def at_first() -> None:
            if not arrived:
                marks.end("losses, backward")
            arrived.append(None)

        for output in (*raw.logits, *raw.deltas):
            on_gradient(output, at_first)

    hooks = [
        model.fpn.register_forward_hook(after_fpn),
        model.backbone.register_forward_hook(after_backbone),
        *on_network(model, after=after_heads),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def around(
    owner: ModuleType | type, name: str, *, before: Callable[[], None], after: Callable[[], None]
) -> Iterator[None]:
    """Call something before and after every call of a function, by its name in a module or class.

    Raises:
        SystemExit: it is not there any more, so that what is measured must be looked at again.
    """
    original = getattr(owner, name, None)
    if original is None:
        raise SystemExit(f"{owner.__name__} has no {name} any more: change the benchmark's marks")

    def marked(*arguments: Any, **options: Any) -> Any:
        before()
        result = original(*arguments, **options)
        after()
        return result

    setattr(owner, name, marked)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def marked_optimizer(optimizer: torch.optim.Optimizer, marks: Marks) -> Iterator[None]:
    """Marks what lies between the gradients and the optimizer's step, and the step itself."""
    hooks = [
        optimizer.register_step_pre_hook(lambda *_: marks.end("gradient norm")),
        optimizer.register_step_post_hook(lambda *_: marks.end("optimizer")),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
