"""What the parts of a data set are called: train, val and test, and their other names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

from foveal.data.folders import folders_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

_ALIKE = (("val", "valid", "validation", "dev"),)
"""Names of the same part. KITTI's "training" is none of "train": it holds train and val."""
_FOLDERS = frozenset({"train", "training", "test", "testing", *_ALIKE[0]})


def names_of_split(split: str) -> tuple[str, ...]:
    """The name, then the other names that people give the same part (val, valid, Validation)."""
    alike = next((names for names in _ALIKE if split.lower() in names), ())
    plain = (split, split.lower(), *alike)
    return tuple(dict.fromkeys([*plain, *map(str.capitalize, plain), *map(str.upper, plain)]))


def split_folders(root: Path) -> list[Path]:
    """The folders in a folder that are called as splits are."""
    return [folder for folder in folders_in(root) if folder.name.lower() in _FOLDERS]


Part = TypeVar("Part")


def take_split(
    split: str, root: Path, choose: Callable[[str], Sequence[Part]]
) -> tuple[str, Sequence[Part]]:
    """The split under the first of its names that holds anything; another name is told.

    Args:
        split: the name that was asked for.
        root: the data set, for the message.
        choose: what a name stands for, empty where for nothing.
    """
    for name in names_of_split(split):
        found = choose(name)
        if found:
            tell_other_name(split, name, root)
            return name, found
    return split, ()


def tell_other_name(split: str, name: str, root: Path) -> None:
    """Say that a split is taken under another name than was asked for."""
    if name != split:
        log.warning("%s: there is no split %r. Taken is %r.", root, split, name)


def advise_splits(root: Path, names: Sequence[str]) -> str:
    """What to write to read one of several splits, as a sentence."""
    listed = ", ".join(names)
    return f"It has the splits {listed}: name one after a colon, as in {root}:{names[0]}."
