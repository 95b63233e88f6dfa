"""Which image files a person means, and what the pictures drawn of them are called."""

from __future__ import annotations

import glob
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.dataset import Dataset, Record
from foveal.data.folders import files_below, is_junk
from foveal.data.images.inputs import path_of
from foveal.data.images.kinds import describe_endings, is_image_file
from foveal.data.images.pages import Pages, describe_stacks, file_of, page_path, split_page
from foveal.data.images.reading import pages_of
from foveal.errors import DataError
from foveal.text import counted, natural_order
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from foveal.data.images.inputs import ImageLike

log = logging.getLogger(__name__)

_STACKS = "stacks"
"""A kind of what is told once."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that a person means.

    Attributes:
        path: the file, as it was named or found in a folder.
        picture: what a picture drawn of it is called, a relative path ending in .jpg.
    """

    path: Path
    picture: Path


@dataclass(frozen=True, slots=True)
class FoundImages:
    """What names stand for.

    Attributes:
        images: each once, in the order of the names.
        passed_over: files of folders and globs that are no images, hidden ones left out.
    """

    images: list[ImageFile]
    passed_over: list[Path]

    def describe_passed_over(self) -> str:
        """What was passed over, by endings: 3 files passed over: 2 .mov, 1 .txt."""
        count = len(self.passed_over)
        if not count:
            return ""
        files = counted(count, "file")
        return f"{files} passed over, no images: {describe_endings(self.passed_over)}."


def find_images(named: Iterable[str], *, leave_out: Path | None = None) -> FoundImages:
    """The images that paths, folders and globs name, each once, in the order of the names.

    Of a folder, and of what a glob matches below folders, files are taken that have an image's
    ending, or none that is known and an image's content; a file that is named is taken whatever it
    is. `**` reaches into all folders.

    Args:
        named: paths of files or folders, or globs.
        leave_out: a folder whose files are not taken out of other folders, since they are ours.

    Raises:
        DataError: a name stands for no image.
    """
    files: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for name in named:
        paths, passed = _expand(name, os.path.realpath(leave_out) if leave_out else None)
        others |= {os.path.realpath(path): path for path in passed}
        if not paths:
            raise DataError(
                f"{name}: {_what_is_wrong(name, passed)} Expected an image, a folder of images or "
                "a glob such as 'smears/*.jpg'."
            )
        for path in paths:
            files.setdefault(os.path.realpath(path), path)
    paths = list(files.values())
    images = [ImageFile(*each) for each in zip(paths, picture_names(paths), strict=True)]
    return FoundImages(images, [path for real, path in others.items() if real not in files])


def open_stacks(found: FoundImages, page: int | None) -> tuple[FoundImages, str]:
    """Take the pages of files that hold several images, and the frames of animations.

    Args:
        found: the files; a page that is named stays as it is.
        page: which page of each such file, counted from 1; None takes all, each as an image.

    Returns:
        The images, and what was taken of what in one sentence, nothing where there is no such file.
    """
    paths = [each.path for each in found.images]
    held = list(map_in_threads(pages_of, paths))
    stacks = [(path, pages) for path, pages in zip(paths, held, strict=True) if pages.several]
    if not stacks:
        return found, ""
    taken: list[Path] = []
    for path, pages in zip(paths, held, strict=True):
        if pages.count == 1:
            taken.append(path)
        elif page is not None:
            taken.append(page_path(path, page))
        else:
            taken += [page_path(path, number) for number in range(1, pages.count + 1)]
    images = [ImageFile(*each) for each in zip(taken, picture_names(taken), strict=True)]
    return FoundImages(images, found.passed_over), _describe_taken(stacks, page)


def telling_stacks(
    images: Iterable[ImageLike], told: set[str] | None = None
) -> Iterator[ImageLike]:
    """Give the images on, and log of the first file that holds several that one page is read.

    Args:
        images: paths, or anything else, of which there is nothing to tell.
        told: what was told of images before, and will have been; None remembers nothing.
    """
    told = set() if told is None else told
    for image in images:
        path = None if _STACKS in told else path_of(image)
        if path is not None:
            pages = pages_of(path)
            if pages.count > 1 and pages.unit == "page":
                told.add(_STACKS)
                log.warning(
                    "%s holds %s: the first is read. %r reads the second. Further files of several "
                    "pages are not named.", path, pages.describe(),
                    page_path(path, 2).name,
                )  # fmt: skip
        yield image


def _describe_taken(stacks: Sequence[tuple[Path, Pages]], page: int | None) -> str:
    several = [(path, pages) for path, pages in stacks if pages.count > 1]
    if not several:
        return f"{describe_stacks(stacks)}: the first is read."
    path, pages = several[0]
    if page is not None:
        return f"{describe_stacks(several)}: {pages.unit} {page} is read."
    count = counted(sum(pages.count for _, pages in several), "image")
    return (
        f"{describe_stacks(several)}: all are read, as {count}, {page_path(path, 1).name} and so "
        f"on. --page 1 reads one {pages.unit} only."
    )


def without_labels(paths: Sequence[Path], classes: Sequence[str]) -> Dataset:
    """Images as a data set in which nothing is labeled, their sizes unknown.

    Args:
        paths: of the images, pages of stacks among them.
        classes: the K class names.

    Raises:
        DataError: they lie on several drives, so that no folder holds them all.
    """
    absolute = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 keeps links as named
    folders = {path.parent for path in absolute}
    if len({folder.drive for folder in folders}) > 1:
        raise DataError("The unlabeled images lie on several drives. Expected one.")
    root = Path(os.path.commonpath(folders or {Path.cwd()}))
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    records = tuple(Record(path, 0, 0, *nothing) for path in absolute)
    return Dataset(records, tuple(classes), root, "the unlabeled images")


def picture_names(paths: Sequence[Path]) -> list[Path]:
    """A relative path ending in .jpg for each image, all different, in folders as theirs."""
    full = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 keeps links as named
    roots = {path.parent for path in full}
    root = Path(os.path.commonpath(roots)) if _same_drive(roots) else None
    taken: set[str] = set()
    names = []
    for path in full:
        short = path.relative_to(root) if root else Path(path.name)
        file, page = split_page(path)
        if page is not None:
            short = short.with_name(f"{file.stem}[{page}].jpg")
        choices = [short.with_suffix(".jpg"), short.with_name(short.name + ".jpg")]
        number = 2
        while str(choices[0]).lower() in taken:
            choices.pop(0)
            if not choices:
                choices.append(short.with_name(f"{short.name}-{number}.jpg"))
                number += 1
        taken.add(str(choices[0]).lower())
        names.append(choices[0])
    return names


def _expand(name: str, leave_out: str | None) -> tuple[list[Path], list[Path]]:
    """The images that a name stands for, and the other files that it would stand for."""
    path = Path(name).expanduser()
    if path.is_dir():
        return _sorted_out(map(str, sorted(files_below(path), key=_order)), leave_out)
    if path.exists() or file_of(path).is_file():
        return [path], []
    if not glob.has_magic(name):
        return [], []
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 takes absolute globs
    matches.sort(key=lambda match: _order(Path(match)))
    kept = [m for m in matches if not any(map(is_junk, set(Path(m).parts) - set(path.parts)))]
    return _sorted_out(kept, leave_out)


def _order(path: Path) -> list[tuple[tuple[str | int, ...], str]]:
    """Folder by folder, img2 before img10."""
    return [natural_order(part) for part in path.parts]


def _sorted_out(paths: Iterable[str], leave_out: str | None) -> tuple[list[Path], list[Path]]:
    """Images, and other files; without folders and ours."""
    images: list[Path] = []
    others: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_file() and not _is_below(text, leave_out):
            (images if is_image_file(text) else others).append(path)
    return images, others


def _is_below(path: str, folder: str | None) -> bool:
    return folder is not None and os.path.realpath(path).startswith(folder + os.sep)


def _what_is_wrong(name: str, passed: Sequence[Path]) -> str:
    path = Path(name).expanduser()
    other = f": {describe_endings(passed)}." if passed else "."
    if path.is_dir():
        return f"no image in this folder{other}"
    if glob.has_magic(name):
        return f"matches no image{other}"
    return "no such file or folder."


def _same_drive(folders: set[Path]) -> bool:
    return len({folder.drive for folder in folders}) == 1
