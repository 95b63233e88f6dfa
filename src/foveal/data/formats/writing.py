"""What every writer shares: images placed under names of their own, numbers written exactly."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING, Literal
from unicodedata import category

import numpy as np

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats.class_names import IGNORE
from foveal.data.images.pages import split_page
from foveal.errors import DataError, ImageError
from foveal.text import as_text, counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record

log = logging.getLogger(__name__)

ImageMode = Literal["copy", "link", "hard_link"]
"""Whether images are copied, symbolic links to them are made, or hard ones where that is possible:
the same files under another name."""

Splits = dict[str, list[int]]
"""The indices of the images of each split."""


def image_names(records: Sequence[Record]) -> list[str]:
    """A file name for each image: its own, with the names of folders before it where two agree.

    No two have the same stem, whatever the case of letters, so that a label file can be called
    after its image. How many get another name than theirs is said.
    """
    names: list[str] = []
    taken: set[str] = set()
    for record in records:
        folders = [part for part in record.path.parent.parts if part not in ("/", os.sep)]
        name = _plain(_own_name(record.path))
        while _stem(name) in taken and folders:
            name = f"{_plain(folders.pop())}_{name}"
        first, number = name, 2
        while _stem(name) in taken:
            name, number = f"{number}_{first}", number + 1
        taken.add(_stem(name))
        names.append(name)
    _tell_renamed(records, names)
    return names


def _tell_renamed(records: Sequence[Record], names: Sequence[str]) -> None:
    changed = [
        (record.path.name, name)
        for record, name in zip(records, names, strict=True)
        if record.path.name != name
    ]
    if changed:
        log.warning(
            "%s under another name, since two have the same one or lists can't hold it: %s is %s.",
            counted(len(changed), "image"),
            printable(as_text(changed[0][0]), lines=False),
            changed[0][1],
        )


def _own_name(path: Path) -> str:
    """An image's name; for a page of a file, that of the file which will hold it alone."""
    file, page = split_page(path)
    if page is None:
        return path.name
    return f"{file.stem}-{page}{'.tif' if file.suffix.lower().startswith('.t') else '.png'}"


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].casefold()  # noqa: PTH122


def _plain(name: str) -> str:
    """A name without what a list of names, one in a line, can't hold."""
    return "".join(c if c.isprintable() and c not in '\\/"' else "_" for c in name).strip() or "_"


def place_images(
    records: Sequence[Record], names: Sequence[str], folder: Path, *, images: ImageMode
) -> None:
    """Copy images into a folder, or link to them; a page of a stack is written by itself.

    Raises:
        ImageError: an image does not exist or can't be copied.
        DataError: the mode is unknown.
    """
    if images not in ("copy", "link", "hard_link"):
        raise DataError(f'images is {images!r}. Expected "copy", "link" or "hard_link".')
    from foveal.data.images.encoding import write_page

    folder.mkdir(parents=True, exist_ok=True)
    for record, name in zip(records, names, strict=True):
        if split_page(record.path)[1] is not None:
            write_page(record.path, folder / name)
            continue
        if not record.path.is_file():
            raise ImageError(
                f"{record.path}: the image does not exist, so it can't be written. Correct its "
                "path, or remove its entry: foveal data check names all that are missing."
            )
        try:
            if images == "copy":
                shutil.copyfile(record.path, folder / name)
            elif images == "hard_link":
                _share(record.path, folder / name)
            else:
                (folder / name).symlink_to(record.path.resolve())
        except OSError as error:
            raise ImageError(
                f"{record.path}: can't {images} the image to {folder / name}: "
                f"{error.strerror or error}."
            ) from error


def _share(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has none."""
    try:
        other.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, other)


def expect_sizes(records: Iterable[Record]) -> None:
    """Make sure that every image with objects has a size.

    Raises:
        ImageError: the size of an image is not known.
    """
    for record in records:
        if len(record) and not (record.width and record.height):
            raise ImageError(
                f"{record.path}: the image's size is neither in the annotations nor readable, and "
                "boxes are to be written as shares of it."
            )


def parts(data: Dataset, splits: Mapping[str, Sequence[int]] | None, whole: str) -> Splits:
    """The images of each split; all of them, under the name `whole`, where there are no splits.

    Raises:
        DataError: a split's name is not one for a file.
    """
    if splits is None:
        return {whole: list(range(len(data)))}
    for name in splits:
        if not name or name != _plain(name) or name.startswith("."):
            raise DataError(f"{name!r} is no name for a split. Expected one for a file.")
    return {name: list(indices) for name, indices in splits.items()}


def class_name(label: int, classes: Sequence[str]) -> str:
    """The name of a label, IGNORE for a region to ignore whatever the class."""
    return IGNORE if label == ANY_CLASS else classes[label]


def tidy(value: np.float32 | float) -> float:
    """The float64 with the fewest digits that is the same float32: 61.87 and not 61.8699989."""
    return float(str(np.float32(value)))


def text_of(value: np.float32 | float) -> str:
    """A coordinate as text that reads back as the same float32, whole numbers without a point."""
    number = tidy(value)
    return str(int(number)) if number.is_integer() else repr(number)


def expect_line_names(classes: Sequence[str], *, blanks: bool, format_name: str) -> None:
    """Make sure that class names can stand in a format of lines.

    Raises:
        DataError: a name has a line break, or a blank where the format separates by blanks.
    """
    for name in classes:
        apart = not blanks and len(name.split()) > 1
        if name != name.strip() or apart or not _is_one_line(name):
            raise DataError(
                f"{format_name} can't hold the class name {name!r}. Give it another one, --rename "
                "OLD=NEW (in Python dataset.rename({...})), or choose another format, --to NAME."
            )


def _is_one_line(text: str) -> bool:
    """Whether a text has no line break and no sign that controls a terminal."""
    return not any(category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text)


def length(start: float, last: np.float32) -> float:
    """The side that, added to where the box is written to start, gives the same float32."""
    short = round(tidy(last) - start, 6)
    return short if np.float32(start + short) == last else float(last) - start
