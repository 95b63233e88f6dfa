"""Pages of a file that holds several images: how one is named, and how many there are.

Page 3 of `stack.tif` is called `stack.tif[3]`; pages count from 1. A file that is really called so
goes before. Stacks of TIFF have pages, and so have animations (GIF, WebP, PNG, AVIF): their frames.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from foveal.errors import ImageError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMED = re.compile(r"(.+)\[([1-9]\d{0,8})\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pages:
    """What a file holds.

    Attributes:
        count: how many images.
        unit: what they are called, "page" or "frame".
        axes: what they are by the file's own words, such as "3 channels, 5 slices".
        smaller: smaller versions of the first that do not say that they are; no pages.
    """

    count: int
    unit: str = "page"
    axes: str = ""
    smaller: int = 0

    @property
    def several(self) -> bool:
        """Whether anything but one image is in the file."""
        return self.count > 1 or self.smaller > 0

    def describe(self) -> str:
        """12 pages (3 channels, 4 slices), or 1 page and 3 smaller versions of it."""
        axes = f" ({self.axes})" if self.axes and self.count > 1 else ""
        smaller = f" and {counted(self.smaller, 'smaller version')} of it" if self.smaller else ""
        return f"{counted(self.count, self.unit)}{axes}{smaller}"


def split_page(path: Path) -> tuple[Path, int | None]:
    """The file that a path means, and the page of it, counted from 1; None where it names none."""
    name = path.name
    if not name.endswith("]") or os.path.lexists(path):
        return path, None
    stack, page = split_page_name(name)
    return (path, None) if page is None else (path.with_name(stack), page)


def split_page_name(name: str) -> tuple[str, int | None]:
    """As `split_page`, of a name alone: nothing is looked for on disk."""
    named = _NAMED.fullmatch(name)
    return (name, None) if named is None else (named[1], int(named[2]))


def file_of(path: Path) -> Path:
    """The file that an image lies in: the path itself, or without the page that it names."""
    return split_page(path)[0]


def page_path(path: Path, page: int) -> Path:
    """What a page of a file is called."""
    return path.with_name(f"{path.name}[{page}]")


def ask_for_frame(path: Path, pages: Pages) -> NoReturn:
    """Say that an animation is not one image.

    Raises:
        ImageError: always.
    """
    raise ImageError(
        f"{path}: is an animation of {pages.describe()}. Expected a single picture. Say which "
        f"frame: --page 1 (in Python {page_path(path, 1).name!r})."
    )


def missing_page(path: Path, page: int, pages: Pages) -> NoReturn:
    """Say that a file has no such page.

    Raises:
        ImageError: always.
    """
    last = f"from 1 to {pages.count}" if pages.count > 1 else "1"
    raise ImageError(
        f"{path}: has no {pages.unit} {page}: the file holds {pages.describe()}. Expected {last}."
    )


def describe_stacks(found: Sequence[tuple[Path, Pages]]) -> str:
    """The files that hold several images, with the first: 3 files hold several images (a.tif: ...).

    Args:
        found: files of more than one page, at least one.
    """
    path, pages = found[0]
    if len(found) == 1:
        return f"{path.name} holds {pages.describe()}"
    return f"{counted(len(found), 'file')} hold several images ({path.name}: {pages.describe()})"
