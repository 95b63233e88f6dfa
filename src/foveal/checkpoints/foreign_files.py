"""Foreign checkpoints read safely: their tensors by name, and what else they say.

Nothing in a file is run: see `foveal.models.inert_pickles`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.checkpoints.description import METADATA_KEY
from foveal.checkpoints.finding import NETWORK
from foveal.errors import WeightsError
from foveal.files import readable_path
from foveal.models.unpickled import plain

if TYPE_CHECKING:
    from torch import Tensor

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What model hubs call the weights, with a `config.json` beside them."""


@dataclass(frozen=True, slots=True, eq=False)
class ForeignFile:
    """What a foreign checkpoint holds.

    Attributes:
        path: of the file with the weights.
        tensors: the network's, by name, out of the checkpoint around them; prefixes such as
            `module.` are still there.
        values: the rest of the checkpoint as plain values, such as `meta`, `classes`, `ratios`,
            `args` (objects become dictionaries of their attributes). `config` is what a
            `config.json` beside the file says; `metadata` that of a safetensors file.
        container: the kind of file, in words: 'safetensors file', 'torch file' ...
        found_under: where in the checkpoint the tensors were, such as 'state_dict'; '' at its top.
        others: where else there are about as many, such as 'ema_state_dict'.
        stand_ins: the names of classes and functions that the file asks for, none of which was
            looked up or run.
    """

    path: Path
    tensors: dict[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)
    container: str = "torch file"
    found_under: str = ""
    others: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()


def read_foreign(path: Path | str, *, under: str | None = None) -> ForeignFile:
    """Read a checkpoint of another program, or the folder that a model hub gives.

    Args:
        path: the file, or a folder with `model.safetensors` or `pytorch_model.bin` in it.
        under: where in the checkpoint to take the tensors from; None looks.

    Raises:
        WeightsError: the file is missing, can't be read, or holds no named tensors.
    """
    from foveal.models.state_dicts import find_tensors

    path = _weights_file(Path(path))
    found = find_tensors(path, under=under)
    file = found.file
    values: dict[str, Any] = {}
    if isinstance(file.content, dict):
        weights = {name.split(".")[0] for name in (found.under, *found.others)} | set(found.tensors)
        rest = {name: value for name, value in file.content.items() if name not in weights}
        values = {str(name): value for name, value in plain(rest).items()}
    if file.metadata:
        values["metadata"] = dict(file.metadata)
    if (config := _read_config(path)) is not None:
        values["config"] = config
    return ForeignFile(
        path,
        found.tensors,
        values=values,
        container=file.container,
        found_under=found.under,
        others=found.others,
        stand_ins=file.stand_ins,
    )


def is_foreign(file: Path) -> bool:
    """Whether a file was written by another program: it has not what foveal's models have.

    Args:
        file: it exists; of a broken one whoever reads it says what is wrong.
    """
    from safetensors import SafetensorError, safe_open

    if file.suffix.lower() != NETWORK:
        return True
    try:
        with readable_path(file) as name, safe_open(name, framework="pt") as content:
            return METADATA_KEY not in (content.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _weights_file(path: Path) -> Path:
    """The file itself, or the one with the weights in a folder."""
    if not path.is_dir():
        return path
    for name in HUB_FILES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(
        f"{path}: is a folder without {' or '.join(HUB_FILES)}. Expected a checkpoint, or the "
        "folder that a model hub gives."
    )


def _read_config(path: Path) -> Any:
    """What is said beside a model of a hub, if anything."""
    config = path.with_name("config.json")
    if path.name not in HUB_FILES or not config.is_file():
        return None
    try:
        return json.loads(config.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"{config}: can't be read ({error}). Expected what the model hub gives beside "
            f"{path.name}; get it again, or take {path.name} to another folder."
        ) from None
