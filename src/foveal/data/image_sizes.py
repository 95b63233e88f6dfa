"""Sizes that annotations say beside those of the files: compared, scaled, or turned to agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foveal.data.images.tiff import SWAPPED
from foveal.errors import DataError
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset, Record
    from foveal.data.images.headers import Header

Sizes = Literal["stop", "scale", "stored"]
"""What is done where an image file has another size than its annotations say.

"stop": an error. "scale": the boxes are scaled to the file, as when images were shrunk after they
were labeled. "stored": the boxes were drawn on the pixels as they are stored, before the file's
orientation is applied, and are turned as the image is.
"""

ROUNDING = 1
"""Pixels by which a size may differ without a word to stop for: tools round."""

_AS_TEXT = ("geometry", "wkt", "wkt_geom")
"""Flags of shapes as text, in pixels."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class SizeConflict:
    """An image file of another size than its annotations say.

    Attributes:
        index: of the image in the data set.
        path: of the file.
        stated: width and height in the annotations, pixels.
        file: width and height of the file, its orientation applied, pixels.
        is_stored: whether the annotations say the size as stored, before it is turned.
    """

    index: int
    path: str
    stated: tuple[int, int]
    file: tuple[int, int]
    is_stored: bool

    def __str__(self) -> str:
        words = "{} x {}".format(*self.file) + ", annotated as {} x {}".format(*self.stated)
        if self.is_stored:
            return f"{self.path}: {words}: its size before the file's orientation turns it"
        turned = ", as if turned by 90 degrees" if self.stated == self.file[::-1] else ""
        return f"{self.path}: {words}{turned}"


def compare_sizes(data: Dataset, headers: Sequence[Header]) -> list[SizeConflict]:
    """The images whose files have another size than the annotations say.

    Args:
        data: annotations without sizes, and files that can't be read, agree with anything.
        headers: of the files, in the images' order.
    """
    conflicts = []
    for index, (record, header) in enumerate(zip(data.records, headers, strict=True)):
        width, height = record.width, record.height
        if not (width and height and header.width) or (
            abs(width - header.width) <= ROUNDING and abs(height - header.height) <= ROUNDING
        ):
            continue
        stated, file = (width, height), (header.width, header.height)
        is_stored = header.orientation in SWAPPED and header.stored == stated
        conflicts.append(SizeConflict(index, str(record.path), stated, file, is_stored))
    return conflicts


def fit_sizes(
    data: Dataset,
    headers: Sequence[Header],
    sizes: Sizes,
    *,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """The data set with the sizes of its files, boxes included.

    Args:
        data: the annotations.
        headers: of its files, in the images' order.
        sizes: what is done where they disagree.
        say: gets a sentence about what was done.

    Raises:
        DataError: sizes disagree, and what was asked for does not mend all of them.
    """
    if sizes not in ("stop", "scale", "stored"):
        raise DataError(f'sizes is {sizes!r}. Expected "stop", "scale" or "stored".')
    conflicts = compare_sizes(data, headers)
    records = list(data.records)
    mended: list[SizeConflict] = []
    done = ""
    if sizes == "scale":
        mended = [c for c in conflicts if c.stated != c.file[::-1] or c.stated == c.file]
        for conflict in mended:
            records[conflict.index] = _scaled(records[conflict.index], headers[conflict.index])
        done = f"The boxes of {counted(len(mended), 'image')} were scaled to the files' sizes."
    elif sizes == "stored":
        turned = [i for i, (r, h) in enumerate(zip(records, headers, strict=True)) if _fits(r, h)]
        mended = [c for c in conflicts if c.is_stored]
        for index in turned:
            records[index] = _turned(records[index], headers[index])
        done = f"The boxes of {counted(len(turned), 'image')} were turned as the files say."
    left = [c for c in conflicts if c not in mended]
    if left:
        raise DataError(_explain(data, left))
    if say is not None and done:
        say(f"{data.name or data.root}: {done}")
    return data if not done else replace(data, records=tuple(records))


def _explain(data: Dataset, conflicts: Sequence[SizeConflict]) -> str:
    """What is wrong, where, and the ways out."""
    count, total = len(conflicts), len(data.records)
    first = "; ".join(map(str, conflicts[:_SHOWN]))
    more = f"; and {count - _SHOWN:,} more" if count > _SHOWN else ""
    stored = sum(conflict.is_stored for conflict in conflicts)
    return (
        f"{data.name or data.root}: {count:,} of {counted(total, 'image')} "
        f"{'has' if count == 1 else 'have'} another size than the annotations say, so that boxes "
        f"would lie in wrong places. {first}{more}. {advise(count, stored)}"
    )


def advise(count: int, stored: int) -> str:
    """The ways out of sizes that disagree.

    Args:
        count: of the images.
        stored: how many of them are annotated in the size before their orientation is applied.
    """
    turn = (
        "If the boxes were drawn on the images as they are stored, before their orientation turns "
        "them, turn the boxes too: --sizes stored (in Python dataset.fit_sizes('stored')). "
    )
    scale = (
        "If the images were made larger or smaller after they were labeled, scale the boxes to "
        "the files: --sizes scale (in Python dataset.fit_sizes('scale')). "
    )
    ways = (turn if stored else "") + (scale if stored < count else "")
    return f"{ways}Otherwise correct the annotations or get the images that belong to them."


def _fits(record: Record, header: Header) -> bool:
    """Whether a record's boxes may be those of the file as stored, and that is turned."""
    if header.orientation == 1 or not header.width:
        return False
    stated = (record.width, record.height)
    return stated == header.stored or not all(stated)


def _scaled(record: Record, header: Header) -> Record:
    x, y = header.width / record.width, header.height / record.height
    factors = np.array([x, y, x, y])
    boxes = (record.boxes * factors).astype(np.float32)

    def move(points: NDArray[Any]) -> NDArray[Any]:
        moved: NDArray[Any] = points * factors[:2]
        return moved

    areas = None if record.areas is None else record.areas * (x * y)
    return replace(
        record,
        width=header.width,
        height=header.height,
        boxes=boxes,
        areas=areas,
        flags=_with_outlines(record, move),
    )


def _turned(record: Record, header: Header) -> Record:
    corners = turn_points(
        record.boxes.reshape(-1, 2), header.orientation, header.width, header.height
    )
    pairs = corners.reshape(-1, 2, 2)
    boxes = np.concatenate([pairs.min(axis=1), pairs.max(axis=1)], axis=1).astype(np.float32)

    def move(points: NDArray[Any]) -> NDArray[Any]:
        return turn_points(points, header.orientation, header.width, header.height)

    return replace(
        record,
        width=header.width,
        height=header.height,
        boxes=boxes,
        flags=_with_outlines(record, move),
    )


def turn_points(points: NDArray[Any], orientation: int, width: int, height: int) -> NDArray[Any]:
    """Points in an image as stored, where they are after its orientation is applied.

    Args:
        points: [N, 2] x and y, pixels.
        orientation: 1..8 as EXIF numbers them.
        width, height: of the image after it is turned.

    Returns:
        [N, 2] of the same dtype.
    """
    x, y = points.T
    if orientation in SWAPPED:
        x, y = y, x
    if orientation in (3, 4, 7, 8):
        y = height - y
    if orientation in (2, 3, 6, 7):
        x = width - x
    return np.stack([x, y], axis=1)


def _with_outlines(
    record: Record, move: Callable[[NDArray[Any]], NDArray[Any]]
) -> dict[str, tuple[Any, ...]]:
    """The flags with outlines moved as the boxes are; masks and WKT can't be and are left out."""
    flags = {name: column for name, column in record.flags.items() if name not in _AS_TEXT}
    if "segmentation" in flags:
        flags["segmentation"] = tuple(_outlines(shape, move) for shape in flags["segmentation"])
    return flags


def _outlines(shape: Any, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    try:
        return [
            move(np.asarray(outline, np.float64).reshape(-1, 2)).ravel().tolist()
            for outline in ([] if isinstance(shape, dict) else shape or [])
        ] or None
    except (ValueError, TypeError):
        return None
