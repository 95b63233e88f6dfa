"""Which image files a person means, and what the pictures drawn of them are called."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tga",
    ".jp2", ".avif", ".mpo", ".dib",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image that a person means.

    Attributes:
        path: the file, as it was named or found in a folder.
        picture: what a picture drawn of it is called, a relative path ending in .jpg.
    """

    path: Path
    picture: Path


def find_images(named: Iterable[str], *, leave_out: Path | None = None) -> list[ImageFile]:
    """The images that paths, folders and globs name, each once, in the order of the names.

    Of a folder, and of what a glob matches below folders, files are taken that have an image's
    ending; a file that is named is taken whatever its ending. `**` reaches into all folders.

    Args:
        named: paths of files or folders, or globs.
        leave_out: a folder whose files are not taken out of other folders, since they are ours.

    Raises:
        DataError: a name stands for no image.
    """
    files: dict[str, Path] = {}
    for name in named:
        paths = _expand(name, leave_out.resolve() if leave_out else None)
        if not paths:
            raise DataError(
                f"{name}: {_what_is_wrong(name)} Expected an image, a folder of images or a glob "
                "such as 'smears/*.jpg'."
            )
        for path in paths:
            files.setdefault(os.path.realpath(path), path)
    paths = list(files.values())
    return [ImageFile(*each) for each in zip(paths, picture_names(paths), strict=True)]


def picture_names(paths: Sequence[Path]) -> list[Path]:
    """A relative path ending in .jpg for each image, all different, in folders as theirs."""
    full = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100 keeps links as named
    roots = {path.parent for path in full}
    root = Path(os.path.commonpath(roots)) if _same_drive(roots) else None
    taken: set[str] = set()
    names = []
    for path in full:
        short = path.relative_to(root) if root else Path(path.name)
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


def _expand(name: str, leave_out: Path | None) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        return _inside(path, leave_out)
    if path.exists() or not glob.has_magic(name):
        return [path] if path.exists() else []
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 takes absolute globs
    paths = []
    for match in map(Path, matches):
        if match.is_dir():
            continue
        if match.suffix.lower() in _ENDINGS and not _is_below(match, leave_out):
            paths.append(match)
    return paths


def _inside(folder: Path, leave_out: Path | None) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _ENDINGS
        and not path.name.startswith(".")
        and path.is_file()
        and not _is_below(path, leave_out)
    )


def _is_below(path: Path, folder: Path | None) -> bool:
    return folder is not None and folder in path.resolve().parents


def _what_is_wrong(name: str) -> str:
    path = Path(name).expanduser()
    if path.is_dir():
        return "no image in this folder."
    if glob.has_magic(name):
        return "matches no image."
    return "no such file or folder."


def _same_drive(folders: set[Path]) -> bool:
    return len({folder.drive for folder in folders}) == 1
