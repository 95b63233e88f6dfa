"""Image files that are made once and then only linked to."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from PIL import Image


def make_folder() -> Path:
    """A new folder in memory where there is such a place; it goes when the process ends."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="foveal-fuzzing-", dir=memory))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _store() -> Path:
    return make_folder()


@cache
def _picture(width: int, height: int) -> Path:
    path = _store() / f"{width}x{height}.png"
    Image.new("1", (width, height)).save(path)
    return path


def place_picture(path: Path, width: int, height: int) -> Path:
    """Put an image of that size there; its content is PNG whatever its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(_picture(width, height), path)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(_picture(width, height), path)
    return path
