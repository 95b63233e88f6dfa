"""What a pickle was found to hold: named tensors, and the plain values around them. No torch."""

from __future__ import annotations

import posixpath
from typing import Any

from foveal.models.inert_pickles import (
    BrokenPickleError,
    Content,
    Name,
    StandIn,
    StoredTensor,
)

_MAX_MODULES = 100_000
_MAX_DEPTH = 60
"""Of modules within modules, and of values within values."""


def tensors_in(value: Content) -> dict[str, StoredTensor] | None:
    """The tensors of a state dict, or of a whole module, by name.

    Args:
        value: a dictionary with tensors, or what stands in for a `torch.nn.Module`.

    Returns:
        None where it is neither, or has none.

    Raises:
        BrokenPickleError: modules within modules without end.
    """
    if isinstance(value, StandIn) and isinstance(value.state, dict) and "_modules" in value.state:
        return _module_tensors(value) or None
    if not isinstance(value, dict):
        return None
    found = {
        key: tensor
        for key, tensor in value.items()
        if isinstance(key, str) and isinstance(tensor, StoredTensor) and tensor.storage is not None
    }
    return found or None


def _module_tensors(module: StandIn) -> dict[str, StoredTensor]:
    """Parameters and buffers of a module and of those inside, as torch names them."""
    found: dict[str, StoredTensor] = {}
    waiting = [("", module)]
    for _ in range(_MAX_MODULES):
        if not waiting:
            return found
        prefix, current = waiting.pop()
        if prefix.count(".") > _MAX_DEPTH:
            break
        state = current.state if isinstance(current.state, dict) else {}
        passing = state.get("_non_persistent_buffers_set") or ()
        passing = passing.arguments if isinstance(passing, StandIn) else passing
        for part in ("_parameters", "_buffers"):
            values = state.get(part)
            for name, value in values.items() if isinstance(values, dict) else ():
                if isinstance(value, StoredTensor) and value.storage and name not in passing:
                    found[f"{prefix}{name}"] = value
        inside = state.get("_modules")
        children = list(inside.items()) if isinstance(inside, dict) else []
        waiting.extend(
            (f"{prefix}{name}.", child)
            for name, child in reversed(children)
            if isinstance(child, StandIn)
        )
    raise BrokenPickleError("modules within modules without end")


def plain(value: Content) -> Any:
    """The value with nothing but plain ones in it.

    What stands in for an object becomes the dictionary of its attributes or its name, a path its
    text. Of tensors only the size is said.

    Args:
        value: as it was unpickled.
    """
    return _Plain().of(value, 0)


class _Plain:
    """One conversion; what occurs several times is converted once."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}

    def of(self, value: Content, depth: int) -> Any:
        if isinstance(value, str | int | float | bytes | None):
            return value
        if id(value) in self.done:
            return self.done[id(value)]
        if depth > _MAX_DEPTH:
            return "<too deep>"
        if isinstance(value, dict):
            entries: dict[Any, Any] = {}
            self.done[id(value)] = entries
            entries.update(self._entries(value, depth))
            return entries
        if isinstance(value, list):
            items: list[Any] = []
            self.done[id(value)] = items
            items.extend(self.of(part, depth + 1) for part in value)
            return items
        made: Any
        if isinstance(value, tuple):
            made = tuple(self.of(part, depth + 1) for part in value)
        elif isinstance(value, StandIn):
            made = self._object(value, depth)
        elif isinstance(value, StoredTensor):
            made = f"<tensor {list(value.size)}>"
        elif isinstance(value, Name):
            made = f"<{value.dotted}>"
        else:
            made = f"<{type(value).__name__}>"
        self.done[id(value)] = made
        return made

    def _entries(self, value: dict[Any, Content], depth: int) -> dict[Any, Any]:
        plain_keys = (str, int, bytes, type(None))
        return {
            key if isinstance(key, plain_keys) else f"<{type(key).__name__}>": self.of(
                part, depth + 1
            )
            for key, part in value.items()
        }

    def _object(self, value: StandIn, depth: int) -> Any:
        if value.name.startswith("pathlib."):
            parts = [part for part in value.arguments if isinstance(part, str)]
            return posixpath.join(*parts) if parts else "."
        if value.entries or isinstance(value.state, dict):
            entries: dict[Any, Any] = {}
            self.done[id(value)] = entries
            state = value.state if isinstance(value.state, dict) else {}
            entries.update(self._entries(state | value.entries, depth))
            return entries
        if value.items:
            items: list[Any] = []
            self.done[id(value)] = items
            items.extend(self.of(part, depth + 1) for part in value.items)
            return items
        return f"<{value.name}>"
