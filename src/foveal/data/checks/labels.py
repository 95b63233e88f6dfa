"""Images that differ and have the same boxes to the digit: labels saved for the wrong image."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import Finding, make_finding
from foveal.data.checks.near_duplicates import ALIKE, nearest_pattern, read_squares

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from foveal.data.checks.subject import Part
    from foveal.data.dataset import Record

_FEWEST = 2
"""Objects that an image needs to tell: one box alone may be the same by chance."""
_PLACES = 6
"""Decimals of boxes as shares of their image, as files of shares have them."""


def check_equal_labels(part: Part) -> list[Finding]:
    """Find images that don't look alike and have the same boxes and classes to the digit.

    So it is in every format; where each image has a file of its own, the files are copies but for
    the image's name. Pixels are compared, and shares of the image, which a file of shares holds.
    """
    records = part.data.records
    places: list[str] = []
    for group in _groups(records):
        # Copies and frames of one view have the same objects.
        squares = read_squares([records[index].path for index in group]).patterns
        similarity = nearest_pattern(squares[1:], squares[:1])[1]
        others = [index for index, s in zip(group[1:], similarity, strict=True) if s < ALIKE]
        first = records[group[0]]
        places += [
            f"{part.name_image(records[index])} = {part.name_image(first)} ({len(first)} objects)"
            for index in others
        ]
    return make_finding(
        "equal labels", "doubt",
        "{n} image{s} with exactly the boxes of another one, which it does not look like", places,
        advice="Labels that were saved for the wrong image? Look at both; label it anew, or leave "
        "it out.",
    )  # fmt: skip


def _groups(records: Sequence[Record]) -> Iterator[list[int]]:
    """Groups of indices of records with the same objects, in pixels or in shares."""
    by_key: dict[Hashable, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        if len(record) >= _FEWEST and not _repeats(record):
            for key in _keys(record):
                by_key[key].append(index)
    told: set[tuple[int, ...]] = set()
    for group in by_key.values():
        if len(group) > 1 and tuple(group) not in told:
            told.add(tuple(group))
            yield group


def _keys(record: Record) -> Iterator[Hashable]:
    labels = record.labels.tobytes()
    yield "pixels", labels, record.boxes.tobytes()
    if record.width and record.height:
        size = np.array([record.width, record.height] * 2, np.float64)
        yield "shares", labels, (record.boxes / size).round(_PLACES).tobytes()


def _repeats(record: Record) -> bool:
    """Whether all boxes are the same one, such as the whole image."""
    return bool((record.boxes == record.boxes[:1]).all())
