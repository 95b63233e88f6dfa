"""What a call opens outside a folder, and what it says."""

from __future__ import annotations

import logging
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import foveal
from foveal.data.formats.image_files import IMAGE_FOLDERS

_EVENTS = ("open", "os.listdir", "os.scandir")
_OWN = (
    str(Path(foveal.__file__).parents[1]),
    sysconfig.get_paths()["stdlib"],
    sysconfig.get_paths()["platstdlib"],
    sysconfig.get_paths()["purelib"],
    sysconfig.get_paths()["platlib"],
    sys.prefix,
    sys.base_prefix,
    "/usr/share/zoneinfo",
)
"""Folders of Python and its packages, which are read when a module is first imported."""

_allowed: tuple[str, ...] | None = None
_listed: tuple[str, ...] = ()
_outside: list[str] = []


def _listen(event: str, arguments: tuple[object, ...]) -> None:
    if _allowed is None or event not in _EVENTS:
        return
    place = arguments[0]
    if place is None or isinstance(place, int):
        return
    path = os.path.abspath(os.fsdecode(place))  # type: ignore[arg-type]  # noqa: PTH100
    if event != "open" and path in _listed:
        return
    if not any(path == folder or path.startswith(f"{folder}/") for folder in (*_allowed, *_OWN)):
        _outside.append(path)


sys.addaudithook(_listen)  # it can't be taken away: it does nothing unless a folder is watched


@contextmanager
def watching(folder: Path) -> Iterator[list[str]]:
    """Give the list of files and folders outside a data folder that are opened.

    The working folder is not outside. The folder above may be listed, and `images` and the like in
    it, since people give the folder of annotations alone.
    """
    global _allowed, _listed
    _outside.clear()
    _allowed = (str(folder), os.getcwd())  # noqa: PTH109
    above = folder.parent
    # Importing a module lists the folders of the path.
    _listed = (*sys.path, str(above), *(str(above / name) for name in IMAGE_FOLDERS))
    try:
        yield _outside
    finally:
        _allowed = None


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def listening() -> Iterator[list[str]]:
    """Give the list of what foveal says, information and warnings."""
    collector = _Collector()
    logger = logging.getLogger("foveal")
    before = logger.level, logger.propagate
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)
        logger.setLevel(before[0])
        logger.propagate = before[1]
