"""Foreign checkpoints read safely: their tensors by name, and what else they say.

Nothing in a file is run: see `foveal.models.inert_pickles`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ForeignFile:
    """What a foreign checkpoint holds.

    Attributes:
        path: of the file.
        tensors: the network's, by name, out of the checkpoint around them; prefixes such as
            `module.` are still there.
        values: the rest of the checkpoint as plain values, such as `meta`, `classes`, `ratios`,
            `args` (objects become dictionaries of their attributes). `config` is what a
            `config.json` beside the file says; `metadata` that of a safetensors file.
        container: the kind of file, in words: 'safetensors file', 'torch file' ...
        found_under: where in the checkpoint the tensors were, such as 'state_dict'; '' at its top.
        others: where else there are named tensors, such as 'ema_state_dict'.
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
    from foveal.models.state_dicts import read_state_dict

    path = Path(path)
    return ForeignFile(path, read_state_dict(path), found_under=under or "")
