"""Where the images named in annotations lie on disk: found by looking, never outside the data."""

# Strings are several times as fast as Path objects, for thousands of names:
# ruff: noqa: PTH100, PTH113, PTH118
from __future__ import annotations

import logging
import os
import posixpath
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.folders import files_below, folders_in
from foveal.data.formats.image_urls import is_address, names_in
from foveal.data.images.kinds import (
    IMAGE_ENDINGS,
    describe_endings,
    is_image_file,
    lies_beside_images,
)
from foveal.errors import DataError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

IMAGE_FOLDERS = ("images", "JPEGImages", "image_2", "data", "imgs", "img")
"""Folders beside or above annotations in which people keep images."""

ANNOTATION_FOLDERS = frozenset({"annotations", "labels", "label_2", "imagesets", "annotation"})

_LONGEST = 4096
"""Characters of a path; no file system takes more."""

_MAX_FOLDERS = 20

_DRIVE = re.compile(r"^[A-Za-z]:[/\\]")


def data_root(annotations: Path) -> Path:
    """The folder that a data set's images lie in or below: where its annotations are.

    For a file in a folder that only holds annotations (`annotations/train.json`) it is the folder
    above.
    """
    folder = annotations if annotations.is_dir() else annotations.parent
    if folder.name.lower() in ANNOTATION_FOLDERS and folder.parent != folder:
        return folder.parent
    return folder


class ImageFinder:
    """Finds images by the names that annotations give them.

    A name is looked up in the image folder if one was given, else beside the annotations, in
    folders called `images` and the like, in the folders below and in the working folder; a name
    that fails as written is tried without its leading folders, since data sets move. Links are
    followed.

    Attributes:
        root: the data folder.
        images: the image folder that the caller named, if any.
    """

    def __init__(
        self, annotations: Path, *, images: Path | None = None, more: Iterable[Path] = ()
    ) -> None:
        self.root = data_root(annotations)
        self.images = images
        folder = annotations if annotations.is_dir() else annotations.parent
        self._given = [*more, folder, self.root]
        self._stem = annotations.stem if annotations.is_file() else ""
        self._bases: list[str] | None = None
        self._last = ""
        if images is not None and not images.is_dir():
            raise DataError(f"The image folder {images} does not exist or is not a folder.")

    def find(self, name: object, *, file: Path, place: str) -> Path:
        """The absolute path of an image; where there is none, the path where it was expected.

        Args:
            name: the image's name as the annotations write it.
            file, place: where they write it, for messages.

        Raises:
            DataError: the name is not a file name, or it leads out of the data folder.
        """
        if not isinstance(name, str) or not name.strip() or "\0" in name or len(name) > _LONGEST:
            raise DataError(
                f"{file}, {place}: {str(name)[:60]!r} is not the name of an image file."
            )
        if self._last and "/" not in name and "\\" not in name and name != "..":
            direct = f"{self._last}/{name}"
            if os.path.lexists(direct):
                return Path(direct)
        if is_address(name):
            return self._find_address(name, file, place)
        return self._search(name, file, place)

    def find_called(self, stem: str, *, ending: str, file: Path, place: str) -> Path:
        """The image of a name without its ending; with `ending` where there is none.

        Raises:
            DataError: as `find`.
        """
        for other in (ending, *IMAGE_ENDINGS, *(known.upper() for known in IMAGE_ENDINGS)):
            path = self.find(stem + other, file=file, place=place)
            if path.is_file():
                return path
        return self.find(stem + ending, file=file, place=place)

    def _find_address(self, address: str, file: Path, place: str) -> Path:
        """The image that an address of the web or of a tool means."""
        names = names_in(address)
        for name in names:
            try:
                path = self._search(name, file, place)
            except DataError:  # the address itself may lead anywhere; the names in it can't
                continue
            if path.is_file():
                return path
        return self._search(names[min(1, len(names) - 1)], file, place)

    def _search(self, name: str, file: Path, place: str) -> Path:
        text = name.replace("\\", "/")
        parts = [part for part in posixpath.normpath(text).split("/") if part not in ("", "..")]
        if _DRIVE.match(text):
            parts = parts[1:]
        inside = not (text.startswith("/") or _DRIVE.match(text)) and ".." not in text.split("/")
        foreign = os.name != "nt" and _DRIVE.match(text)
        exact = None if inside or foreign else self._inside(text)
        if exact and os.path.isfile(exact):
            return Path(exact)
        if inside and "\\" in name and os.path.isfile(f"{self.bases[0]}/{name}"):
            return Path(f"{self.bases[0]}/{name}")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for base in ([self._last] if self._last else []) + self.bases:
                if os.path.isfile(f"{base}/{tail}"):
                    self._last = base if start == 0 and len(parts) == 1 else self._last
                    return Path(f"{base}/{tail}")
        if not inside and not exact:
            raise DataError(
                f"{file}, {place}: image {name!r} lies outside the data folder {self.root}, and "
                "there is no file of that name inside it. Expected a path below it. Move the "
                "image, or name its folder with images=FOLDER."
            )
        return Path(exact or f"{self.bases[0]}/{'/'.join(parts)}")

    def _inside(self, text: str) -> str | None:
        """A path that is absolute or climbs, made absolute, if it stays in a folder we may read."""
        for base in self.bases:
            path = os.path.normpath(os.path.join(base, text))
            if any(Path(path).is_relative_to(folder) for folder in self._allowed):
                return path
        return None

    @cached_property
    def _allowed(self) -> list[Path]:
        working = Path.cwd()
        folders = [self.images] if self.images else []
        return [*folders, self.root, *([working] if working != working.parent else [])]

    def _below(self) -> list[Path]:
        """Folders below the data folder, first those that the annotation file is called after.

        So `annotations/instances_val2017.json` finds its images in `val2017`.
        """
        tops = (self.root, self.root / "images")
        found = [path for top in tops for path in folders_in(top)]
        called = [path for path in found if path.name in self._stem]
        return sorted(called) + sorted(set(found) - set(called))[:_MAX_FOLDERS]

    @property
    def bases(self) -> list[str]:
        """The folders in which names are looked up, best first."""
        if self._bases is None:
            if self.images is not None:
                folders = [self.images]
            else:
                folders = [path for path in self._given if path.is_dir()]
                roots = [*folders, self.root.parent] if self.root.parent != self.root else folders
                folders += [root / name for root in roots for name in IMAGE_FOLDERS]
                folders += self._below()
                folders.append(Path.cwd())
            self._bases = list(dict.fromkeys(os.path.abspath(p) for p in folders if p.is_dir()))
        return self._bases


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder and the folders below it, sorted; others are told in the log.

    Files of an ending that says nothing are images if their content is.
    """
    found, others = [], []
    for file in files_below(folder):
        if is_image_file(str(file)):
            found.append(file)
        elif not lies_beside_images(file.name):
            others.append(file)
    if others:
        passed = counted(len(others), "file")
        log.warning("%s: %s passed over, no images: %s.", folder, passed, describe_endings(others))
    return found
