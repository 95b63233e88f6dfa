"""State dicts in files: read without running any code, and taken out of what is around them."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from foveal.errors import WeightsError
from foveal.files import replacing, unwritable
from foveal.models.checkpoint_files import CheckpointFile, load_tensors, read_checkpoint
from foveal.models.inert_pickles import BrokenPickleError, Content, StandIn, StoredTensor
from foveal.models.unpickled import tensors_in
from foveal.text import listed

Group: TypeAlias = dict[str, StoredTensor]
"""Named tensors that belong together."""

NESTED_UNDER = (
    "state_dict",
    "model_state_dict",
    "model",
    "model_ema",
    "network",
    "weights",
    "blobs",
)
"""Where training programs keep the weights inside a checkpoint, in the order of looking."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundTensors:
    """The network's tensors in a checkpoint.

    Attributes:
        tensors: by name.
        under: where in the checkpoint they were, '' at its top.
        others: where else there are about as many named tensors.
        file: all that was read.
    """

    tensors: dict[str, Tensor]
    under: str
    others: tuple[str, ...]
    file: CheckpointFile


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of weights, taken out of the checkpoint around them.

    Raises:
        WeightsError: the file is missing, can't be read, or holds no named tensors.
    """
    return find_tensors(path).tensors


def find_tensors(path: Path, *, under: str | None = None) -> FoundTensors:
    """Read a file of weights and take the network's tensors out of it.

    Args:
        path: safetensors, torch's, or a pickle of arrays.
        under: where in the checkpoint they are; None looks under the names in `NESTED_UNDER`.

    Raises:
        WeightsError: the file is missing, can't be read, or holds no named tensors (there).
    """
    file = read_checkpoint(path)
    if file.tensors is not None:
        if not file.tensors:
            raise WeightsError(f"{path}: holds no tensors. Expected the weights of a network.")
        return FoundTensors(file.tensors, "", (), file)
    try:
        groups = _groups(file.content)
    except BrokenPickleError as error:
        raise WeightsError(f"{path}: can't be read as weights: {error}.") from None
    if under is None:
        under = _main_group(groups)
    if under not in groups:
        raise WeightsError(
            f"{path}: holds no named tensors ({_describe(file.content)}). Expected a state dict, "
            f"plain or under one of: {', '.join(NESTED_UNDER)}; save the network's, or look for "
            "the file that has it."
            if not groups
            else f"{path}: holds no named tensors under {under!r}. Expected one of "
            f"{listed([name for name in groups if name], 8)}: --weights-under NAME (in Python "
            "weights_under=...)."
        )
    tensors = load_tensors(path, groups[under])
    many = len(tensors) / 2
    others = [name for name, group in groups.items() if name != under and len(group) >= many]
    return FoundTensors(tensors, under, tuple(others), file)


def write_state_dict(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors, as safetensors where the file is called so, else as torch.

    Raises:
        WeightsError: the file can't be written.
    """
    try:
        with replacing(path) as temporary:
            if path.suffix == ".safetensors":
                save_file(state, temporary)
            else:
                content = io.BytesIO()  # torch's own words about a full disk don't name it
                torch.save(state, content)
                temporary.write_bytes(content.getbuffer())
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error, error=WeightsError) from None


def strip_prefix(state: Mapping[str, Tensor], expected: Collection[str]) -> dict[str, Tensor]:
    """Take away the prefix (`model.`, `module.` ...) with which most keys are expected ones.

    Keys without that prefix are left out, unless there is nothing to take away.
    """
    wanted = set(expected)
    prefixes: dict[str, int] = {"": 0}
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                prefix = ".".join(parts[:start])
                prefixes[prefix] = prefixes.get(prefix, 0) + 1
                break
    best = max(prefixes, key=lambda prefix: prefixes[prefix])
    if not best:
        return dict(state)
    start = len(best) + 1
    return {key[start:]: value for key, value in state.items() if key.startswith(best + ".")}


def _groups(content: Content, prefix: str = "", *, depth: int = 2) -> dict[str, Group]:
    """All groups of named tensors, by where they are: '' is the top."""
    found: dict[str, Group] = {}
    if (here := tensors_in(content)) is not None:
        found[prefix] = here
    if isinstance(content, dict) and depth:
        for name, value in content.items():
            if isinstance(name, str) and isinstance(value, (dict, StandIn)):
                found |= _groups(value, f"{prefix}.{name}".strip("."), depth=depth - 1)
    return found


def _main_group(groups: Mapping[str, Group]) -> str:
    """Where the weights are: at the top, unless there is only a value or two beside them."""
    nested = [name for name in groups if name and set(name.split(".")) <= set(NESTED_UNDER)]
    nested.sort(key=lambda name: [NESTED_UNDER.index(part) for part in name.split(".")])
    top = len(groups.get("", {}))
    return nested[0] if nested and len(groups[nested[0]]) > top else ""


def _is_optimizer(content: Content) -> bool:
    return isinstance(content, dict) and {"state", "param_groups"} <= content.keys()


def _describe(content: Content) -> str:
    if isinstance(content, dict):
        names = [str(name) if isinstance(name, str | int) else "..." for name in list(content)[:8]]
        if _is_optimizer(content):
            return "it looks like the state of an optimizer alone"
        inside = [str(name) for name, value in content.items() if _is_optimizer(value)]
        if inside:
            return f"it has the state of an optimizer under {inside[0]!r}, and no weights"
        return f"a dictionary with the keys {', '.join(names)}" if names else "an empty dictionary"
    if isinstance(content, StandIn):
        return f"an object of {content.name} that is no torch module"
    if isinstance(content, StoredTensor):
        return "a single tensor"
    return f"a {type(content).__name__}"
