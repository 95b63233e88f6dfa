"""Which images belong together: copies of one another must never stand in two parts."""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset


def group_copies(data: Dataset) -> list[list[int]]:
    """Groups of the indices of images that are copies; an image without any is a group of its own.

    Raises:
        OSError: a file can't be read.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, path in enumerate(data.paths):
        groups[blake2b(path.read_bytes(), digest_size=16).digest()].append(index)
    return list(groups.values())
