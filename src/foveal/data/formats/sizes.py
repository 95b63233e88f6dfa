"""Sizes of images whose annotations do not say them, from the images' headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.formats.issues import AnnotationIssue
from foveal.errors import ImageError
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from foveal.data.formats.image_files import ImageFinder
    from foveal.data.formats.issues import IssuePolicy
    from foveal.data.formats.records import ImageRow


def measured(rows: Sequence[ImageRow], finder: ImageFinder, policy: IssuePolicy) -> list[ImageRow]:
    """All images of a data set, found, and those without a size given the one of their file.

    Args:
        rows: all of them, with the paths that the finder gave.
        finder: settles where those are that it did not find as they are written.
        policy: decides what becomes of those that are outside the data, or in two folders.

    Returns:
        The rows; a size that can't be read stays 0.

    Raises:
        DataError: see `ImageFinder.settle`.
    """
    settled = finder.settle(rows, policy)
    if all(row.width and row.height for row in settled):
        return settled
    return list(map_in_threads(_measured, settled))


def report_unreadable(row: ImageRow, policy: IssuePolicy, *, file: Path, place: str) -> None:
    """Report an image whose size is needed to place its boxes and can't be read."""
    from foveal.data.images.reading import image_size

    try:
        image_size(row.path)
        why = "its size is not known"
    except ImageError as error:
        why = str(error)
    message = f"boxes are written as shares of the image's size, and {why}"
    policy.report(AnnotationIssue("image not readable", file, place, message, row.path))


def _measured(row: ImageRow) -> ImageRow:
    from foveal.data.images.reading import image_size

    if row.width and row.height:
        return row
    try:
        width, height = image_size(row.path)
    except ImageError:
        return row
    return row._replace(width=width, height=height)
