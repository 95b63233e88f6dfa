"""Files compared by their content: by size first, so that few are read."""

from __future__ import annotations

import os
from collections import defaultdict
from hashlib import blake2b
from stat import S_ISREG
from typing import TYPE_CHECKING

from foveal.data.images.pages import file_of, split_page
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

_ENDS = 1 << 16
_BLOCK = 1 << 20


def file_size(path: Path) -> int | None:
    """The size in bytes; None where there is no regular file."""
    try:
        status = file_of(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


def same_content(paths: Sequence[Path], sizes: Sequence[int]) -> list[list[int]]:
    """Groups of indices of files with equal content, in the order of their first.

    Files are compared by their sizes, in bytes, first; only those of equal size are read.
    """
    groups: Iterable[list[int]] = _grouped(range(len(paths)), sizes)
    for digest in (_digest_of_ends, _digest):
        candidates = [index for group in groups for index in group]
        digests = list(map_in_threads(digest, [paths[index] for index in candidates]))
        keys = [(sizes[i], d or i) for i, d in zip(candidates, digests, strict=True)]
        groups = list(_grouped(candidates, keys))
    return sorted(groups)


def _grouped(indices: Iterable[int], keys: Sequence[Hashable]) -> Iterator[list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in zip(indices, keys, strict=True):
        found[key].append(index)
    return (group for group in found.values() if len(group) > 1)


def _digest_of_ends(path: Path) -> bytes | None:
    """Of the first and last 64 KiB: tells most files apart; None where the file can't be read."""
    name, page = split_page(path)
    try:
        with name.open("rb") as file:
            state = blake2b(file.read(_ENDS), digest_size=16, salt=_salt(page))
            if os.fstat(file.fileno()).st_size > 2 * _ENDS:
                file.seek(-_ENDS, os.SEEK_END)
            state.update(file.read(_ENDS))
    except OSError:
        return None
    return state.digest()


def _salt(page: int | None) -> bytes:
    """What tells the pages of one file apart."""
    return (page or 0).to_bytes(8, "little")


def _digest(path: Path) -> bytes | None:
    name, page = split_page(path)
    state = blake2b(digest_size=16, salt=_salt(page))
    try:
        with name.open("rb") as file:
            while block := file.read(_BLOCK):
                state.update(block)
    except OSError:
        return None
    return state.digest()
