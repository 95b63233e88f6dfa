"""JSON files of a data set: which of a folder are of a format, and which one is a split."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from foveal.data.folders import files_in, files_one_below
from foveal.data.formats.json_kinds import json_kind, look_at
from foveal.data.formats.splits import advise_splits, split_folders, take_split
from foveal.errors import DataError
from foveal.files import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def json_files(folder: Path, *endings: str) -> list[Path]:
    """The JSON files of a folder and of the folders one below, sorted.

    Args:
        folder: the folder.
        endings: of files that hold JSON under another name too.
    """
    found = (*files_in(folder, ".json", *endings), *files_one_below(folder, ".json", *endings))
    return sorted(found)


def is_json_of(file: Path, format: str) -> bool:  # noqa: A002
    """Whether a JSON file is of a format, by its content.

    Raises:
        DataError: the file can't be read.
    """
    try:
        kind = json_kind(file)
    except ValueError:
        return False
    return kind is not None and kind.format == format


def _is_empty(file: Path) -> bool:
    """Whether a file is a list of nothing, as a split without images is written."""
    try:
        return file.stat().st_size < 64 and look_at(file) == []
    except ValueError:
        return False


def annotation_files(path: Path, format: str, *, called: str) -> list[Path]:  # noqa: A002
    """The file itself, or the files of a format in a folder; empty lists are of any.

    Args:
        path: of the data set.
        format: one of FORMATS.
        called: the format's name in words.

    Raises:
        DataError: the folder has none.
    """
    if path.is_file():
        return [path]
    listed = json_files(path)
    found = [file for file in listed if is_json_of(file, format) or _is_empty(file)]
    if not found:
        there = ", ".join(str(file.relative_to(path)) for file in listed[:20]) or "none"
        raise DataError(
            f"{path}: no {called} file. Expected a .json of {called} there or in a folder one "
            f"below. JSON files there: {there}."
        )
    return found


def file_of_split(files: list[Path], path: Path, split: str | None, *, called: str) -> Path:
    """The file of a split: `train.json`, `instances_train2017.json`, `train/*.json`.

    Args:
        files: of the data set, all of one format.
        path: of the data set.
        split: the split's name; None where there is one file alone.
        called: the format's name in words.

    Raises:
        DataError: none fits or several do; the message names them.
    """
    if path.is_file():
        if split is not None:
            raise DataError(
                f"{path} is one {called} file and has no split {split!r}. Name the split's own "
                "file, or the folder that holds it."
            )
        return path
    chosen: Sequence[Path] = files
    if split is not None:

        def choose(name: str) -> Sequence[Path]:
            exact = [f for f in files if f.stem == name]
            below = [f for f in files if f.parent.name == name and f.parent != path]
            words = [f.stem.replace("-", "_").replace(".", "_").split("_") for f in files]
            within = [f for f, parts in zip(files, words, strict=True) if name in parts]
            return exact or below or within or [f for f in files if name in f.stem]

        _, chosen = take_split(split, path, choose)
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(str(f.relative_to(path)) for f in files) or "none"
    wanted = f"one that is the split {split!r}" if split else "one, or a split after a colon"
    folders = list(dict.fromkeys(f.parent.name for f in files if f.parent in split_folders(path)))
    advice = f" {advise_splits(path, folders)}" if split is None and folders else ""
    raise DataError(
        f"{path}: {len(chosen)} {called} files fit. Expected {wanted}. JSON files there: {names}. "
        f"Pass the file's own path.{advice}"
    )


def write_json(file: Path, value: Any) -> None:
    """Write a JSON file, with names in their own letters."""
    write_text(file, json.dumps(value, ensure_ascii=False))
