"""What lies in a folder, without what systems leave there: the one way to list files."""

from __future__ import annotations

import os
from pathlib import Path

_JUNK = frozenset(
    {
        "__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information",
        "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    }
)  # fmt: skip
"""Names of what macOS, Windows and Synology make by themselves, in lower case."""


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden (`._a.jpg`, `.DS_Store`) or the system's."""
    return name.startswith(".") or name.lower() in _JUNK


def files_in(folder: Path, *endings: str) -> list[Path]:
    """The files of a folder with these endings in any case, sorted; none where there is no folder.

    Args:
        folder: hidden or not, as the caller named it.
        endings: with their point, in lower case; without any, all files.

    Raises:
        OSError: the folder can't be read.
    """
    return [folder / name for name in _names(folder, files=True) if _ends(name, endings)]


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; none where there is no folder.

    Raises:
        OSError: the folder can't be read.
    """
    return [folder / name for name in _names(folder, files=False)]


def files_one_below(folder: Path, *endings: str) -> list[Path]:
    """The files of the folders in a folder; see `files_in`.

    Raises:
        OSError: a folder can't be read.
    """
    return [file for below in folders_in(folder) for file in files_in(below, *endings)]


def files_below(folder: Path, *endings: str) -> list[Path]:
    """The files of a folder and of all below it, sorted; links to folders are not followed."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_junk(name)]
        found += [Path(parent, n) for n in names if _ends(n, endings) and not is_junk(n)]
    return sorted(found)


def _names(folder: Path, *, files: bool) -> list[str]:
    """The names in a folder; a link that leads nowhere counts as a file, so that it is missed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() != files and not is_junk(e.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return not endings or name.lower().endswith(endings)
