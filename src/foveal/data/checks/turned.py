"""Boxes that were drawn on images as stored, before their orientation (EXIF) turns them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import Finding, make_finding
from foveal.data.images.tiff import SWAPPED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.checks.subject import Part

_TOLERANCE = 2.0
"""Pixels by which a box may leave the image and still be taken to fit."""
_OVERWHELMING = 9
"""So many images must say so for each that says otherwise."""


def check_turned(part: Part) -> list[Finding]:
    """Find images whose boxes fit before their orientation turns them, and not after.

    Only images that are turned by a quarter, and are no squares, tell: in all others both fit.
    Sizes that the annotations state as stored are told by the check of sizes.
    """
    ends = _far_ends(part)
    stored = []
    upright = 0
    for index, (record, header) in enumerate(zip(part.data, part.headers, strict=True)):
        sides = header.width, header.height
        if header.orientation not in SWAPPED or not header.width or not len(record):
            continue
        if (record.width, record.height) == header.stored != sides:
            continue
        as_turned, as_stored = (
            bool((ends[index] <= np.array(size) + _TOLERANCE).all())
            for size in (sides, header.stored)
        )
        if as_stored and not as_turned:
            stored.append(
                f"{part.name_image(record)}: boxes reach to {ends[index, 0]:.0f}, "
                f"{ends[index, 1]:.0f} px; {header.width} x {header.height} px, stored as "
                "{} x {}".format(*header.stored)
            )
        upright += as_turned and not as_stored
    if len(stored) < _OVERWHELMING * upright:
        return []
    return make_finding(
        "boxes as stored", "fault",
        "{n} image{s} whose boxes fit before the orientation (EXIF) turns it, and not after",
        stored,
        advice="They were drawn on the images as stored. Take the orientation out of the files, so "
        "that they are read as stored (exiftool -Orientation= FILES), or draw the boxes anew.",
    )  # fmt: skip


def _far_ends(part: Part) -> NDArray[np.float64]:
    """[N, 2] the largest x and y that the boxes of each image reach, pixels; 0 without boxes."""
    ends = np.zeros((len(part.data), 2))
    objects = part.objects
    finite = np.isfinite(objects.boxes).all(axis=1)
    np.maximum.at(ends, objects.images[finite], objects.boxes[finite, 2:])
    return ends
