"""Which images belong together: near-duplicates must never stand in two parts.

A model that learned from one of them knows the others too, so that a part would praise what was
learned by heart.
"""

from __future__ import annotations

from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.near_duplicates import find_near_duplicates
from foveal.data.images.pages import split_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from foveal.data.dataset import Dataset


def group_copies(
    data: Dataset, *, progress: Callable[[int, int], None] | None = None
) -> list[list[int]]:
    """Groups of the indices of images that are copies or near-duplicates, mirrored ones included.

    An image without any is a group of its own.

    Args:
        data: its images are read.
        progress: is told (images looked at, images).
    """
    alike = find_near_duplicates(data, mirrored=True, progress=progress)
    owner = np.arange(len(data))
    for group in (*(each.indices for each in alike), *_equal_files(data.paths)):
        owners = owner[list(group)]
        owner[np.isin(owner, owners)] = owners.min()
    groups: dict[int, list[int]] = defaultdict(list)
    for index, first in enumerate(owner.tolist()):
        groups[first].append(index)
    return list(groups.values())


def _equal_files(paths: Iterable[Path]) -> list[list[int]]:
    """Files that are equal byte by byte: flat images, which look like no other, have copies too."""
    sizes: dict[tuple[int, int | None], list[tuple[int, Path]]] = defaultdict(list)
    for index, path in enumerate(paths):
        file, page = split_page(path)
        sizes[file.stat().st_size, page].append((index, file))
    equal: dict[bytes, list[int]] = defaultdict(list)
    for (_, page), files in sizes.items():
        for index, file in files if len(files) > 1 else ():
            salt = (page or 0).to_bytes(8, "little")
            equal[blake2b(file.read_bytes(), digest_size=16, salt=salt).digest()].append(index)
    return [group for group in equal.values() if len(group) > 1]
