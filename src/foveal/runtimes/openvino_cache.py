"""What OpenVINO has compiled, remembered for the next process.

Compiling takes most of the time of a command for one image, half a second for a small model in
8 bits; reading what was compiled before takes half of that or less. OpenVINO finds it by the
model's content, the settings, the processor and its own version. What is cut short or of another
version it compiles anew.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from foveal.files import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST = 512 * 2**20
"""Bytes that may stay in the folder: the oldest files beyond go."""


@contextmanager
def compiled_models(remember: bool = True) -> Iterator[dict[str, str]]:
    """Give the settings with which OpenVINO remembers what it compiles while this is entered.

    The files lie in openvino/ in the user's cache folder. Where that can't be written, nothing is
    remembered.

    Args:
        remember: False gives no settings.
    """
    folder = _folder() if remember else None
    yield {} if folder is None else {"CACHE_DIR": str(folder)}
    if folder is not None:
        _make_room(folder)


def _folder() -> Path | None:
    base = cache_folder()
    if base is None:
        return None
    folder = base / "openvino"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _make_room(folder: Path) -> None:
    """Remove the oldest files of the folder beyond `LARGEST` bytes; another process may as well."""
    sizes = {}
    for file in folder.glob("*.blob"):
        with suppress(OSError):
            status = file.stat()
            sizes[file] = (status.st_mtime, status.st_size)
    total = sum(size for _, size in sizes.values())
    for file, (_, size) in sorted(sizes.items(), key=lambda item: item[1][0]):
        if total <= LARGEST:
            return
        with suppress(OSError):
            file.unlink()
            total -= size
