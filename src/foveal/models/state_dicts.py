"""State dicts in files: read without ever unpickling code."""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from foveal.errors import WeightsError
from foveal.files import readable_path, replacing, unwritable

NESTED_UNDER = ("state_dict", "model_state_dict", "model", "model_ema", "network", "weights")
"""Where training programs keep the weights inside a checkpoint, in the order of looking."""

_UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    AttributeError,
    IndexError,
)
"""What torch and safetensors are known to raise for files that are cut short or something else."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors or torch file, taken out of the checkpoint around them.

    Raises:
        WeightsError: the file is missing, can't be read, or holds no named tensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file. Expected weights in a safetensors or torch file."
        )
    try:
        if path.suffix == ".safetensors":
            with readable_path(path) as name:
                return load_file(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about unusual pickle protocols
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightsError(
            f"{path}: can't be read as {path.suffix or 'torch'} weights ({_first_line(error)}). "
            "Expected a safetensors file, or a torch file that holds only tensors and plain "
            "values: save model.state_dict() with the program that wrote it."
        ) from None
    state = _named_tensors(content)
    if not state:
        raise WeightsError(
            f"{path}: holds no named tensors ({_describe(content)}). Expected a state dict, "
            f"plain or under one of: {', '.join(NESTED_UNDER)}."
        )
    return state


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


def _named_tensors(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    for name in NESTED_UNDER:
        if name in content and (nested := _named_tensors(content[name])):
            return nested
    return {}


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with the keys {', '.join(map(str, list(content)[:8]))}"
    return f"a {type(content).__name__}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
