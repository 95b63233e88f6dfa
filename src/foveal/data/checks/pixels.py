"""What the doctor looks for in the pixels of images: those that look alike, and those of one value.

All of them are looked at as small squares, which is many times as fast as decoding them whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import Finding, make_finding
from foveal.data.checks.near_duplicates import ALIKE, group_patterns, nearest_pattern
from foveal.data.images.rasters import SMALL, open_raster
from foveal.data.images.reading import image_info, read_values
from foveal.errors import FovealError
from foveal.structures import PixelRange

if TYPE_CHECKING:
    from pathlib import Path

    from foveal.data.checks.subject import Subject

_NEARLY_FLAT = 1
"""Gray levels within which the square of a flat image lies."""
_ROWS = 256
_NAMED = 4
"""Images of a group that are named."""


def check_near_duplicates(subject: Subject) -> list[Finding]:
    """Find images of one split that look alike; files of the same content are told elsewhere."""
    patterns, again = subject.patterns, _copies(subject)
    places = []
    images = 0
    for split in subject.splits:
        members = [index for index in split.members if index not in again]
        for group in group_patterns(patterns[members], mirrored=subject.mirrored):
            names = [subject.name_image(members[index]) for index in group.indices]
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            places.append(f"{', '.join(names[:_NAMED])}{more} (similarity {group.similarity:.2f})")
            images += len(names)
    return make_finding(
        "near-duplicates", "doubt",
        "{n} group{s} of images that look alike" f" ({images:,} images)", places,
        advice="Copies in another size or encoding: keep one of each. Frames of one view: let "
        "none of them validate what others train; foveal train --folds keeps them together.",
    )  # fmt: skip


def check_near_leakage(subject: Subject) -> list[Finding]:
    """Find images of later splits that look like one of an earlier split."""
    patterns, again = subject.patterns, _copies(subject)
    places = []
    for number, split in enumerate(subject.splits[1:], 1):
        earlier = [index for other in subject.splits[:number] for index in other.members]
        later = [index for index in split.members if index not in again]
        if not (earlier and later):
            continue
        nearest, similarity = nearest_pattern(
            patterns[later], patterns[earlier], mirrored=subject.mirrored
        )
        for index in np.flatnonzero(similarity >= ALIKE):
            one, other = subject.images[later[index]][1], subject.images[earlier[nearest[index]]][1]
            places.append(f"{one.path} ~ {other.path} (similarity {similarity[index]:.2f})")
    if len(subject.parts) > 1:
        what = "{n} image{s} of the validation data that look{v} like one of the training data"
    else:
        what = "{n} image{s} that look{v} like one of another split"
    return make_finding(
        "near-duplicate in both", "doubt", what.replace("{v}", "s" if len(places) == 1 else ""),
        places,
        advice="Validation praises what was learned by heart where they are copies, or frames of "
        "one view. Keep what looks alike in one split: foveal train --folds does.",
    )  # fmt: skip


def _copies(subject: Subject) -> set[int]:
    """All but the first of images whose files have the same content."""
    return {index for group in subject.copies for index in group[1:]}


def check_flat(subject: Subject) -> list[Finding]:
    """Find images of a single value."""
    squares = subject.squares
    lowest, highest = (bound(squares.values, axis=(1, 2)).astype(int) for bound in (np.min, np.max))
    flat = (highest - lowest <= _NEARLY_FLAT) & squares.readable
    places = [
        f"{subject.name_image(index)}{_objects(len(subject.images[index][1]))}"
        for index in np.flatnonzero(flat).tolist()
        if is_flat(subject.images[index][1].path)
    ]
    return make_finding(
        "flat image", "doubt", "{n} image{s} of a single value", places,
        advice="Nothing is to be seen in them. A camera that failed, or a broken conversion? Fetch "
        "them again, or leave them out.",
    )  # fmt: skip


def _objects(count: int) -> str:
    return f": {count:,} object{'' if count == 1 else 's'} in it" if count else ""


def is_flat(path: Path) -> bool:
    """Whether each band of an image has one value alone; False where it can't be read."""
    try:
        info = image_info(path)
        if info.width * info.height <= SMALL:
            values = read_values(path)
            return bool((values == values[:1, :1]).all())
        with open_raster(path, PixelRange(info.bands)) as raster:
            first = raster.read_stored(0, 0, 1, 1).values
            step = max(raster.block[0], _ROWS)
            return all(
                (
                    raster.read_stored(0, top, raster.width, min(top + step, raster.height)).values
                    == first
                ).all()
                for top in range(0, raster.height, step)
            )
    except FovealError:
        return False
