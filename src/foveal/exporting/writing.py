"""Files that appear only when all of them are complete and checked."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import ModelFileError
from foveal.files import linked_folder, unwritable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """A folder beside `path` in which it is made; it is removed with whatever is left in it.

    Raises:
        ModelFileError: a file can't be written there; what was at `path` is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder,
            linked_folder(Path(folder)) as place,
        ):
            yield place
    except OSError as error:
        raise unwritable(path, error, error=ModelFileError) from None


def install(made: Path, path: Path) -> None:
    """Put a file or a folder that is complete in the place of an older one.

    Args:
        made: in the `workplace` of `path`.
        path: where it belongs. A folder there must be one of `made`'s kind.
    """
    if made.is_dir():
        for file in made.rglob("*"):
            _to_disk(file)
        if path.exists():
            path.replace(made.parent / "before")
    else:
        _to_disk(made)
    made.replace(path)


def _to_disk(file: Path) -> None:
    if file.is_file():
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
