"""Files that are written whole or not at all, and the folder of what can be made again."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import FovealError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PART = ".part"
_JOURNALS = ("-journal", "-wal", "-shm")
"""What SQLite adds to the name of a database for its journals."""
_SPELLED_OUT = "backslashreplace"

MAKE_ROOM = "Choose another folder, or make room in it."


def cache_folder() -> Path | None:
    """Where foveal remembers what it measured and compiled on this machine; it may not exist yet.

    $FOVEAL_CACHE, else $XDG_CACHE_HOME/foveal, else ~/.cache/foveal; None where there is no home.
    Losing it costs time only.
    """
    if folder := os.environ.get("FOVEAL_CACHE"):
        return Path(folder)
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "foveal"


def write_file(
    path: Path | str,
    content: str | bytes,
    *,
    error: type[FovealError] = FovealError,
    advice: str = MAKE_ROOM,
    sync: bool = True,
) -> None:
    r"""Write a file at one stroke: a reader never sees half of it. Makes the folders above it.

    Args:
        path: the file; an older one gives way when the new one is complete.
        content: text is written as UTF-8. What is no letter, in names of files that are not UTF-8,
            is spelled out, \udcf6 for a byte F6, which JSON reads back as it was.
        error: what is raised.
        advice: what to do next, the end of its message.
        sync: see `replacing`.

    Raises:
        FovealError: or the kind that was asked for; the file can't be written.
    """
    path = Path(path)
    data = content if isinstance(content, bytes) else content.encode("utf-8", _SPELLED_OUT)
    try:
        with replacing(path, sync=sync) as temporary:
            _write_bytes(temporary, data)
    except OSError as cause:
        raise unwritable(path, cause, error=error, advice=advice) from cause


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write a text file of any size part by part, at one stroke as `write_file` does.

    Raises:
        FovealError: the file can't be written; or what making a part raises. Then the older file
            is still there.
    """
    try:
        with (
            replacing(path) as temporary,
            temporary.open("w", encoding="utf-8", errors=_SPELLED_OUT, newline="") as file,
        ):
            file.writelines(parts)
    except OSError as cause:
        raise unwritable(path, cause) from cause


def write_text(path: Path, text: str) -> None:
    """Write a text file into a folder that is to take its place as a whole; see `write_file`.

    Raises:
        OSError: it can't be written.
    """
    _write_bytes(path, text.encode("utf-8", _SPELLED_OUT))


@contextmanager
def readable_path(path: Path) -> Iterator[Path]:
    """A path to the file that libraries take which know no names but UTF-8.

    Where the file's own path is text, that; else that of a link to it in a temporary folder, with
    links beside it to the files that share its name but for the ending.

    Raises:
        OSError: no link can be made.
    """
    if _is_text(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="foveal-") as folder:
        for file in path.absolute().parent.iterdir():
            if file.stem == path.stem and _is_text(file.suffix):
                Path(folder, f"file{file.suffix}").symlink_to(file)
        yield Path(folder, f"file{path.suffix}")


@contextmanager
def linked_folder(folder: Path) -> Iterator[Path]:
    """A path to the folder whose text libraries take, as `readable_path` for files.

    Raises:
        OSError: no link can be made.
    """
    if _is_text(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="foveal-") as place:
        link = Path(place, "folder")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


def _is_text(path: Path | str) -> bool:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def writing(
    path: Path, *, error: type[FovealError] = FovealError, advice: str = MAKE_ROOM
) -> Iterator[None]:
    """Turn what the system says of a file that can't be written into an error that names it.

    Of what was there before it promises nothing: see `write_file` for files that are replaced.

    Raises:
        FovealError: or the kind that was asked for.
    """
    try:
        yield
    except OSError as cause:
        raise error(f"{path}: can't be written ({why_unwritable(cause)}). {advice}") from cause


def unwritable(
    path: Path | str,
    cause: BaseException,
    *,
    error: type[FovealError] = FovealError,
    advice: str = MAKE_ROOM,
) -> FovealError:
    """The error for a file that can't be written and was to take an older one's place at once."""
    return error(
        f"{path}: can't be written ({why_unwritable(cause)}). What was there before, if anything "
        f"was, is still there. {advice}"
    )


def why_unwritable(cause: BaseException) -> str:
    """What was wrong with the disk or the folder, in the system's own words where it has any."""
    words = getattr(cause, "strerror", None) or str(cause).strip() or type(cause).__name__
    return str(words).splitlines()[0][:200]


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary file beside `path` that takes its place once it is complete.

    What earlier writers left beside it, who were killed, is removed.

    Args:
        path: the file.
        sync: first see that it is complete on the disk, so that it outlives a power cut. Without,
            it is quick enough for thousands of files in a folder: nobody waits for the disk, and
            nobody looks for what was left.

    Raises:
        OSError: the folder or the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if sync:
        _remove_abandoned(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    temporary = Path(name)
    try:
        _lock(handle)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            _sync(path.parent)
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_database(path: Path) -> Iterator[Path]:
    """Give a place for a database that takes that of `path` once it is complete.

    SQLite makes journals beside its file: so it is made in a hidden folder of its own, which is
    removed with whatever is left in it. What earlier writers left, who were killed, is removed too.

    Args:
        path: the file. Journals beside it belong to the older file, and go with it: SQLite would
            apply them to the new one.

    Yields:
        The place; there is no file yet.

    Raises:
        OSError: the folder or the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    with (
        tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}.", suffix=_PART, ignore_cleanup_errors=True
        ) as name,
        _held_folder(Path(name)) as folder,
        linked_folder(folder) as place,
    ):
        made = place / f"made{path.suffix}"
        yield made
        made.chmod(0o666 & ~_umask())
        _sync(made)
        for journal in _JOURNALS:
            path.with_name(path.name + journal).unlink(missing_ok=True)
        made.replace(path)
        _sync(path.parent)


@contextmanager
def _held_folder(folder: Path) -> Iterator[Path]:
    """Hold a folder, so that no other process takes it for abandoned."""
    if sys.platform == "win32":
        yield folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle)
        yield folder
    finally:
        os.close(handle)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files and folders that no process holds any more."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}{re.escape(_PART)}")
    for entry in path.parent.iterdir():
        if ours.fullmatch(entry.name) and not entry.is_symlink():
            with suppress(OSError):
                handle = os.open(entry, os.O_RDONLY)
                try:
                    if not _lock(handle):
                        continue
                    if entry.is_dir():
                        shutil.rmtree(entry)
                    else:
                        entry.unlink()
                finally:
                    os.close(handle)


def _lock(handle: int) -> bool:
    """Hold an open file until it is closed, or its process ends; False where another does.

    On Windows there is nothing to hold it by, and what was abandoned stays.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync(path: Path) -> None:
    """Ask the system to bring a file or a folder's list of names to the disk."""
    if sys.platform == "win32":
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
