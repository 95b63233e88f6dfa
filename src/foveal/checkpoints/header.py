"""What stands at the beginning of a model file: its description, read without the weights.

Loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from foveal.checkpoints.description import METADATA_KEY, Description, from_json
from foveal.errors import ModelFileError
from foveal.files import readable_path


def read_description(path: Path) -> Description:
    """What a model file says of itself.

    Raises:
        ModelFileError: the file is missing, cut short, not foveal's, or of a later version.
    """
    check_there(path)
    try:
        with readable_path(path) as name, safe_open(name, framework="numpy") as file:
            text = document_of(file.metadata() or {}, where=path)
    except (SafetensorError, OSError) as error:
        raise incomplete(path, error) from None
    return from_json(text, where=path)


def check_there(path: Path) -> None:
    """Say so where there is no such file.

    Raises:
        ModelFileError: there is none.
    """
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such file. Expected a model that foveal wrote, or the name of one in the "
            "library (foveal models list)."
        )


def document_of(metadata: Mapping[str, str], *, where: object) -> str:
    """The JSON document that describes the model.

    Args:
        metadata: of a safetensors file.
        where: the file, for messages.

    Raises:
        ModelFileError: foveal did not write the file.
    """
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{where}: is a safetensors file, but no model of foveal's. "
            "Backbone weights are passed with --set model.weights=FILE; "
            "a foreign checkpoint becomes a model with foveal import."
        )
    return metadata[METADATA_KEY]


def incomplete(path: Path, error: Exception) -> ModelFileError:
    """The error for a file that safetensors can't read."""
    return ModelFileError(
        f"{path}: is no complete safetensors file ({error}). It was cut short or is something "
        "else; get it again, or turn a foreign checkpoint into a model with foveal import."
    )
