"""A folder of model files as a library, where each model has a name. Loads no torch."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from foveal.errors import ModelFileError
from foveal.files import replacing, unwritable

VARIABLE = "FOVEAL_MODELS"
"""The environment variable that says where the library is."""

ENDINGS = (".safetensors", ".xml", ".onnx")
"""Of files that predict: foveal's own, OpenVINO's (with a .bin beside it), ONNX."""

_NAME = re.compile(r"\w[\w.+-]*")


def library_folder() -> Path:
    """Where the library is; the folder may not exist yet.

    $FOVEAL_MODELS, else $XDG_DATA_HOME/foveal/models, else ~/.local/share/foveal/models.

    Raises:
        ModelFileError: there is no home and nothing says where the library is.
    """
    if folder := os.environ.get(VARIABLE):
        return Path(folder).expanduser()
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:
        raise ModelFileError(
            "There is no home folder for a library of models. Say where it is to be: set the "
            f"environment variable {VARIABLE}."
        ) from None
    return Path(base) / "foveal" / "models"


def library_models() -> tuple[Path, ...]:
    """The library's model files by name; none where there is no library."""
    try:
        files = sorted(library_folder().iterdir())
    except (OSError, ModelFileError):
        return ()
    return tuple(
        file
        for file in files
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    )


def find_in_library(name: str) -> Path | None:
    """The library's file of this name, with or without its ending; None where there is none.

    Args:
        name: a single word; with a folder in it, it is a path and none of the library's.
    """
    if not _NAME.fullmatch(name):
        return None
    named = [file for file in library_models() if name in (file.name, file.stem)]
    # One of foveal's own before those that were exported from it.
    return min(named, key=lambda file: ENDINGS.index(file.suffix.lower()), default=None)


def resolve_model(path: Path | str) -> Path:
    """The file that is meant: what is there under this path, else the library's of this name.

    A path that is neither stays as it is; whoever reads it says that it is not there.
    """
    path = Path(path)
    if path.exists() or len(path.parts) != 1:
        return path
    return find_in_library(path.name) or path


def library_name(file: Path, *, name: str | None = None) -> str:
    """What a file will be called in the library: by what people say, else by its own name.

    Of a run's model, which is `best` in every run, the folder's name is taken.

    Args:
        file: the model's.
        name: what people say.

    Raises:
        ModelFileError: that is no name.
    """
    folder = file.absolute().parent.name
    chosen = name
    if chosen is None:
        chosen = folder if file.stem in ("best", "last") and folder else file.stem
        chosen = re.sub(r"[^\w.+-]+", "-", chosen).strip("-.")
    if not _NAME.fullmatch(chosen) or Path(chosen).suffix.lower() in ENDINGS:
        raise ModelFileError(
            f"{chosen!r}: is no name for a model in the library. Expected letters, digits, -, _, + "
            "and periods, without a file's ending, such as cells-2: --name NAME."
        )
    return chosen


def check_addition(file: Path, *, name: str, overwrite: bool = False) -> Path:
    """See whether a model may go into the library; nothing is changed.

    Args:
        file, name, overwrite: as for `add_to_library`.

    Returns:
        The library's file.

    Raises:
        ModelFileError: there is one of this name already, or it is the library's itself.
    """
    target = library_folder() / f"{name}{file.suffix.lower()}"
    there = find_in_library(name)
    if there is not None and not overwrite:
        raise ModelFileError(
            f"{there}: the library has a model {name!r} already. Choose another name: --name NAME, "
            "or replace it: --overwrite."
        )
    if target.exists() and target.samefile(file):
        raise ModelFileError(f"{file}: is in the library already, as {name!r}.")
    return target


def add_to_library(file: Path, *, name: str, overwrite: bool = False) -> Path:
    """Copy a model file into the library.

    Args:
        file: of foveal or exported; of OpenVINO's two the .xml.
        name: what `library_name` gave.
        overwrite: a model of this name gives way.

    Returns:
        The library's file.

    Raises:
        ModelFileError: there is one of this name already, or the file can't be copied.
    """
    target = check_addition(file, name=name, overwrite=overwrite)
    there = find_in_library(name)
    pairs = [(file, target)]
    if file.suffix.lower() == ".xml":  # its weights first, so that it is never without them
        pairs.insert(0, (file.with_suffix(".bin"), target.with_suffix(".bin")))
    for source, copy in pairs:
        try:
            with replacing(copy) as temporary:
                shutil.copyfile(source, temporary)
        except OSError as error:
            if not os.access(source, os.R_OK):
                raise ModelFileError(f"{source}: can't be read ({error.strerror}).") from None
            raise unwritable(copy, error, error=ModelFileError) from None
    if there is not None and there != target:  # under the same name, in another form
        there.unlink(missing_ok=True)
        if there.suffix.lower() == ".xml":
            there.with_suffix(".bin").unlink(missing_ok=True)
    return target
