"""The formats that annotations come in; each is one module with `read` and `write`."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.format_names import FORMATS
from foveal.data.formats.detect import find_format, load_format
from foveal.data.formats.issues import IssuePolicy
from foveal.data.formats.parsing import telling_encodings
from foveal.data.formats.stacks import choose_page
from foveal.data.formats.units import parse_reading
from foveal.errors import DataError
from foveal.files import writing
from foveal.text import as_text, counted, is_text, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.data.dataset import Dataset
    from foveal.data.formats.issues import AnnotationIssue, BadBoxes
    from foveal.data.formats.writing import ImageMode

log = logging.getLogger(__name__)

__all__ = ["FORMATS", "expect_new_folder", "read", "read_splits", "split_address", "write"]


def read(
    address: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    images: str | os.PathLike[str] | None = None,
    bad_boxes: BadBoxes = "drop",
    page: int | None = None,
    boxes: str | None = None,
    class_column: str | None = None,
    layer: str | None = None,
    problems: list[AnnotationIssue] | None = None,
) -> Dataset:
    """Read a data set: `PATH`, `PATH:SPLIT` or `PATH:SPLIT+SPLIT`.

    Nothing outside the data folder is read, except below `images` and the working folder where
    annotations name images there.

    Args:
        address: a file or folder with annotations, and the split where it has several.
        format: one of FORMATS; found by looking where it is not given.
        images: the folder with the images, where they are not beside the annotations.
        bad_boxes: what to do with boxes that can't be right.
        page: which page or frame of files that hold several, counted from 1; None takes the first
            page of stacks and says so.
        boxes: how the numbers of a box are meant, where not as their format has them: one of xyxy,
            xywh, cxcywh, yxyx, one of pixels, shares, percent, or both with a + between.
        class_column: the column of the class in tables and files of shapes on a map, or "=" and
            the one class of all objects; found by its name where it is not given.
        layer: the layer of a file of shapes on a map that has several.
        problems: a list that collects every problem with an object; then none of them stops.

    Raises:
        DataError: nothing is there, no format fits, or the annotations can't be right.

    Examples:
        >>> data = foveal.read("cells:train")
        >>> len(data), data.classes
        (6, ('normal', 'infected', 'platelet'))
    """
    data, _ = read_splits(
        address,
        format,
        images=images,
        bad_boxes=bad_boxes,
        page=page,
        boxes=boxes,
        class_column=class_column,
        layer=layer,
        problems=problems,
    )
    return data


def read_splits(
    address: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    images: str | os.PathLike[str] | None = None,
    bad_boxes: BadBoxes = "drop",
    page: int | None = None,
    boxes: str | None = None,
    class_column: str | None = None,
    layer: str | None = None,
    problems: list[AnnotationIssue] | None = None,
) -> tuple[Dataset, dict[str, list[int]] | None]:
    """Read as `read` does, and say which images belong to which split; None if none is named."""
    folder = None if images is None else _absolute(images)
    if boxes is not None:
        parse_reading(boxes)
    try:
        path, splits = split_address(address)
        name = find_format(path) if format is None else format
        reader = load_format(name)
        _expect_columns(name, path, class_column=class_column, layer=layer)
        if not path.exists():
            raise DataError(f"{path} does not exist. Expected annotations there.")
        with _without_collector(), telling_encodings(problems):
            parts = [
                replace(
                    reader.read(
                        path,
                        split,
                        images=folder,
                        policy=IssuePolicy(bad_boxes, problems, boxes, class_column, layer),
                    ),
                    name=f"{path.name}:{split}",
                )
                for split in splits
            ]
    except OSError as error:
        where = error.filename or os.fspath(address)
        raise DataError(f"{where} can't be read: {error.strerror or error}.") from error
    except DataError as error:
        # A message quotes what stands in files, which may hold line breaks.
        if (message := printable(str(error), lines=False)) == str(error):
            raise
        raise type(error)(message) from error
    data = parts[0]
    indices = {}
    start = 0
    for split, part in zip(splits, parts, strict=True):
        indices[split or ""] = list(range(start, start + len(part)))
        start += len(part)
    for part in parts[1:]:
        data = data.merge(part)
    named = None if splits == [None] else indices
    data = choose_page(data, page, problems)
    return replace(data, name=os.fspath(address), classes=_as_texts(data.classes)), named


def _expect_columns(
    format: str,  # noqa: A002
    path: Path,
    *,
    class_column: str | None,
    layer: str | None,
) -> None:
    """Refuse what a format has not: columns or layers."""
    for option, value, formats in (
        ("class-column", class_column, ("csv", "geo")),
        ("layer", layer, ("geo",)),
    ):
        if value is not None and format not in formats:
            raise DataError(
                f"--{option} {value} (in Python {option.replace('-', '_')}={value!r}): {path} is "
                f"of the format {format}, which has none. Expected {' or '.join(formats)}; leave "
                "it out."
            )
        if value in ("", "="):
            raise DataError(f"--{option} {value}: expected a name.")


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Let the garbage collector rest, which would go through a million annotations again and again.

    Nothing that is read refers to itself, so that nothing waits for it.
    """
    rests = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if rests:
            gc.enable()


def _as_texts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names that model files and tables can hold: what is no letter is spelled out, told."""
    strange = [name for name in names if not is_text(name)]
    if strange:
        log.warning(
            "%s with halves of letters, as a broken encoding leaves them. They are spelled out. "
            "First: %s",
            counted(len(strange), "class name"),
            as_text(strange[0]),
        )
    return tuple(map(as_text, names))


def write(
    data: Dataset,
    folder: str | os.PathLike[str],
    format: str,  # noqa: A002
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write a data set into a new folder, whole or not at all.

    Args:
        data: the data set; its images are copied or linked to.
        folder: where it goes; it may not hold anything yet.
        format: one of FORMATS.
        images: "copy"; "link" for symbolic links; or "hard_link" for hard ones.
        splits: the indices of the images of each split; without it all images are one.

    Raises:
        DataError: the folder is not empty, or the format can't hold the data.
        ImageError: an image does not exist.
    """
    writer = load_format(format)
    dest = expect_new_folder(folder)
    part = dest.with_name(f".{dest.name}.{os.getpid()}.part")
    with writing(dest, error=DataError):
        dest.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        try:
            writer.write(data, part, images=images, splits=splits)
            if dest.exists():
                dest.rmdir()
            part.rename(dest)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def expect_new_folder(folder: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder that is not there, or empty.

    Raises:
        DataError: there is something.
    """
    dest = _absolute(folder)
    if dest.is_symlink() or (dest.exists() and not (dest.is_dir() and not any(dest.iterdir()))):
        raise DataError(f"{dest} is there already. Expected a new or an empty folder.")
    return dest


def split_address(address: str | os.PathLike[str]) -> tuple[Path, list[str | None]]:
    """Take `PATH:SPLIT+SPLIT` apart: (absolute path, splits), [None] where no split is named.

    What exists as it is written is a path, colons and all; a colon after one letter is a drive,
    unless there are no drives and a folder has that name.
    """
    if not isinstance(address, (str, os.PathLike)):
        raise DataError(
            f"A data set is {type(address).__name__}. Expected a path, such as 'cells:train'."
        )
    text = os.fspath(address)
    path, colon, split = text.rpartition(":")
    drive = len(path) < 2 and (sys.platform == "win32" or not path or not Path(path).exists())
    if not colon or Path(text).exists() or drive or not split or set(split) & set("/\\"):
        return _absolute(text), [None]
    return _absolute(path), list(dict.fromkeys(split.split("+")))


def _absolute(path: str | os.PathLike[str]) -> Path:
    """The absolute path without "..", links left as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100
