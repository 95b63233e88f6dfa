"""Images that are one page of several in their file: annotations name the file, and mean a page."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from foveal.data.formats.issues import AnnotationIssue
from foveal.data.images.pages import Pages, describe_stacks, page_path
from foveal.errors import DataError
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.data.dataset import Dataset

log = logging.getLogger(__name__)

_STACKS = frozenset({".tif", ".tiff", ".btf", ".tf8"})
"""Endings of files that may hold pages, in small letters."""

_MOVING = _STACKS | {".gif", ".webp", ".png", ".apng", ".avif", ".jxl"}
"""Endings of files that may hold pages or frames; without a choice, frames are no image."""


def choose_page(
    data: Dataset, page: int | None, problems: list[AnnotationIssue] | None = None
) -> Dataset:
    """Take one page of each file that holds several, and say so where nobody chose one.

    Args:
        data: as it was read.
        page: which page or frame, counted from 1; None takes the first page of stacks.
        problems: collects what is said where it is given; else the log has it.

    Raises:
        DataError: the page is no number from 1.
    """
    if page is not None and page < 1:
        raise DataError(f"--page {page} (in Python page={page}): expected a number from 1.")
    endings = _STACKS if page is None else _MOVING
    asked = [
        index
        for index, record in enumerate(data.records)
        if os.path.splitext(record.path.name)[1].lower() in endings  # noqa: PTH122
    ]
    if not asked:
        return data
    from foveal.data.images.reading import pages_of

    held = list(map_in_threads(pages_of, [data.records[index].path for index in asked]))
    stacks = {i: pages for i, pages in zip(asked, held, strict=True) if pages.several}
    if page is None:
        _tell([(data.records[i].path, pages) for i, pages in stacks.items()], problems)
        return data
    records = list(data.records)
    for index, pages in stacks.items():
        if pages.count > 1:
            path = page_path(records[index].path, page)
            records[index] = replace(records[index], path=path)
    return replace(data, records=tuple(records))


def _tell(stacks: list[tuple[Path, Pages]], problems: list[AnnotationIssue] | None) -> None:
    if problems is not None:
        for path, pages in stacks:
            problems.append(
                AnnotationIssue("stack of pages", path, "image", pages.describe(), path)
            )
    elif stacks:
        log.warning(
            "%s: the first page of each is taken. --page N takes another (in Python page=N).",
            describe_stacks(stacks),
        )
