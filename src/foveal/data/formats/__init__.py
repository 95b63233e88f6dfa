"""The formats that annotations come in; each is one module with `read` and `write`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.formats.finding import FORMATS, find_format, load_format

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.data.problems import BadBoxes, Problem
__all__ = ["FORMATS", "read", "split_address"]


def read(
    address: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    images: str | os.PathLike[str] | None = None,
    bad_boxes: BadBoxes = "drop",
    problems: list[Problem] | None = None,
) -> Dataset:
    """Read a data set: `PATH`, `PATH:SPLIT` or `PATH:SPLIT+SPLIT`.

    Nothing outside the data folder is read, except below `images` and the working folder where
    annotations name images there.

    Args:
        address: a file or folder with annotations, and the split where it has several.
        format: one of FORMATS; found by looking where it is not given.
        images: the folder with the images, where they are not beside the annotations.
        bad_boxes: what to do with boxes that can't be right.
        problems: a list that collects every problem with an object; then none of them stops.

    Raises:
        DataError: nothing is there, no format fits, or the annotations can't be right.
    """
    path, splits = split_address(address)
    name = find_format(path) if format is None else format
    reader = load_format(name)
    folder = None if images is None else Path(images).absolute()
    parts = [
        reader.read(path, split, images=folder, bad_boxes=bad_boxes, problems=problems)
        for split in splits
    ]
    data = parts[0]
    for part in parts[1:]:
        data = data.merge(part)
    return replace(data, name=os.fspath(address))


def split_address(address: str | os.PathLike[str]) -> tuple[Path, list[str | None]]:
    """Take `PATH:SPLIT+SPLIT` apart: (absolute path, splits), [None] where no split is named.

    What exists as it is written is a path, colons and all; a colon after one letter is a drive.
    """
    text = os.fspath(address)
    path, colon, split = text.rpartition(":")
    if not colon or Path(text).exists() or len(path) < 2 or not split or set(split) & set("/\\"):
        return Path(text).absolute(), [None]
    return Path(path).absolute(), list(dict.fromkeys(split.split("+")))
