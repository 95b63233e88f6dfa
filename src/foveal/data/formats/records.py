"""From the objects of a whole data set in columns to checked records, without looping over them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from foveal.data.dataset import Record
from foveal.data.formats.issues import AnnotationIssue
from foveal.data.formats.units import BoxReading, doubt, parse_reading, reread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.formats.issues import IssuePolicy, Kind

Written = Literal["xyxy", "xywh", "cxcywh"]
"""How a file writes the numbers of a box: corners, a corner and sides, or a center and sides."""

ROUNDING = 1.0
"""A box that leaves its image by no more than this, in pixels, is clipped without a word."""


class ImageRow(NamedTuple):
    """An image of the data set: its path, its size (0 where unknown) and the format's id."""

    path: Path
    width: int = 0
    height: int = 0
    image_id: int | str | None = None


@dataclass(slots=True)
class ObjectColumns:
    """Every object of a data set, one entry in each column.

    Attributes:
        unit: what a number in `numbers` counts ("object", "line", "annotation").
        image: [N] int64, index of the object's image.
        boxes: [N, 4] float64 xyxy, original pixels, unchecked.
        labels: [N] int64, indices of classes.
        ignored: whether it is a region to ignore.
        files, numbers: where the object is written.
        areas: [N] stated areas in pixels, or None.
        flags: further columns.
        written: how the file writes the boxes, which shows what other reading they may have;
            None where they are extents of something else.
        shares: whether the file writes shares of the image's size.
    """

    unit: str
    image: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ignored: Sequence[bool]
    files: Sequence[Path]
    numbers: Sequence[Any]
    areas: NDArray[np.float64] | None = None
    flags: dict[str, Sequence[Any]] = field(default_factory=dict)
    written: Written | None = "xyxy"
    shares: bool = False


@dataclass(slots=True)
class ObjectTable:
    """The same of objects that are found one after another; see ObjectColumns."""

    unit: str
    image: list[int] = field(default_factory=list)
    boxes: list[Sequence[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    numbers: list[Any] = field(default_factory=list)
    areas: None = None
    flags: dict[str, list[Any]] = field(default_factory=dict)
    written: Written | None = "xyxy"
    shares: bool = False

    def add(
        self,
        image: int,
        box: Sequence[float],
        label: int,
        *,
        file: Path,
        number: int | str,
        ignored: bool = False,
        **flags: Any,
    ) -> None:
        """Append one object; every call names the same flags."""
        self.image.append(image)
        self.boxes.append(box)
        self.labels.append(label)
        self.ignored.append(ignored)
        self.files.append(file)
        self.numbers.append(number)
        for name, value in flags.items():
            self.flags.setdefault(name, []).append(value)


Objects = ObjectColumns | ObjectTable


def assemble(
    images: Sequence[ImageRow], columns: Objects, policy: IssuePolicy
) -> tuple[Record, ...]:
    """Check the boxes, group the objects by image, and make one record for each image.

    Objects keep their order within an image.

    Raises:
        DataError: a box can't be right and the policy is to stop.
    """
    _report_twins(images, policy)
    sizes = np.array([[row.width, row.height] for row in images], np.float64).reshape(-1, 2)
    image = np.asarray(columns.image, np.int64)
    boxes, keep = _checked(columns, image, sizes, images, policy)
    order = np.argsort(image, kind="stable")
    order = order[keep[order]]
    ends = np.cumsum(np.bincount(image[order], minlength=len(images)))
    ignored = np.asarray(columns.ignored, np.bool_)[order]
    labels = np.asarray(columns.labels, np.int64)[order]
    boxes = boxes[order]
    areas = None if columns.areas is None else np.asarray(columns.areas, np.float64)[order]
    for column in (boxes, labels, ignored, areas):
        if column is not None:
            column.setflags(write=False)
    picked = order.tolist()
    flags = {name: [column[i] for i in picked] for name, column in columns.flags.items()}
    records = []
    start = 0
    for row, end in zip(images, ends.tolist(), strict=True):
        records.append(
            Record(
                row.path,
                row.width,
                row.height,
                boxes[start:end],
                labels[start:end],
                ignored[start:end],
                None if areas is None else areas[start:end],
                {name: tuple(column[start:end]) for name, column in flags.items()},
                row.image_id,
            )
        )
        start = end
    return tuple(records)


def _report_twins(images: Sequence[ImageRow], policy: IssuePolicy) -> None:
    """Report images that two entries of the annotations name."""
    first: dict[Path, ImageRow] = {}
    for row in images:
        twin = first.setdefault(row.path, row)
        if twin is not row:
            message = (
                f"two entries of the annotations name it (ids {twin.image_id!r} and "
                f"{row.image_id!r}). Expected one for each image."
            )
            policy.report(AnnotationIssue("image twice", row.path, "image", message, row.path))


def _checked(
    columns: Objects,
    image: NDArray[np.int64],
    sizes: NDArray[np.float64],
    images: Sequence[ImageRow],
    policy: IssuePolicy,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The boxes as float32, clipped unless they are to be kept, and which of them stay."""
    written = np.asarray(columns.boxes, np.float64).reshape(-1, 4)
    if not len(written):
        return written.astype(np.float32), np.zeros(0, np.bool_)
    width, height = sizes[image].T
    limits = np.stack([width, height, width, height], axis=1)
    written = _as_meant(written, limits, columns, policy)
    known = (width > 0) & (height > 0)
    placeless = _placeless(known, image, columns, images, policy)
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.asarray(np.isfinite(written.astype(np.float32)).all(axis=1))
        clipped = np.where(known[:, None], np.clip(written, 0, np.maximum(limits, 0)), written)
        away = np.abs(clipped - written).max(axis=1)
        clipped32 = clipped.astype(np.float32)
        area = _has_area(written.astype(np.float32))
        still = _has_area(clipped32)
    faults: list[tuple[Kind, NDArray[np.bool_]]] = [
        ("box not finite", ~finite),
        ("box without area", finite & ~area & ~placeless),
        ("box outside image", finite & area & ~still),
        ("box leaves image", finite & area & still & (away > ROUNDING)),
    ]
    for kind, mask in faults:
        for i in np.flatnonzero(mask).tolist():
            row = images[int(image[i])]
            message = _explain(kind, written[i].tolist(), row)
            place = f"{columns.unit} {columns.numbers[i]}"
            policy.report(AnnotationIssue(kind, columns.files[i], place, message, row.path))
    if policy.bad_boxes == "keep":
        with np.errstate(over="ignore"):
            return written.astype(np.float32), finite & ~placeless
    return clipped32, finite & still & ~placeless


def _placeless(
    known: NDArray[np.bool_],
    image: NDArray[np.int64],
    columns: Objects,
    images: Sequence[ImageRow],
    policy: IssuePolicy,
) -> NDArray[np.bool_]:
    """Which boxes are asked to be read as shares of an image whose size nobody knows."""
    own = BoxReading(columns.written or "xyxy", "shares" if columns.shares else "pixels")
    asked = policy.boxes is not None and columns.written is not None
    if not asked or known.all() or parse_reading(policy.boxes or "", own).unit == "pixels":
        return np.zeros(len(known), np.bool_)
    first = int(np.argmax(~known))
    policy.note(
        "Boxes of images that can't be read have no place, since they are shares of its size: "
        "they are left out",
        file=columns.files[first],
        place=f"{columns.unit} {columns.numbers[first]}, {images[int(image[first])].path.name}",
        count=int((~known).sum()),
    )
    return ~known


def _as_meant(
    boxes: NDArray[np.float64],
    limits: NDArray[np.float64],
    columns: Objects,
    policy: IssuePolicy,
) -> NDArray[np.float64]:
    """The boxes in the reading that was asked for, else as they are, and a word if they look wrong.

    Raises:
        DataError: they can't be right as their format has them.
    """
    if columns.written is None:
        return boxes
    own = BoxReading(columns.written, "shares" if columns.shares else "pixels")
    if policy.boxes is not None:
        return reread(boxes, limits, own=own, other=parse_reading(policy.boxes, own))
    doubted = doubt(boxes, limits, own=own)
    if doubted is not None:
        first = int(np.argmax(doubted.impossible))
        kind: Kind = "boxes read otherwise" if doubted.certain else "boxes look otherwise"
        place = f"{columns.unit} {columns.numbers[first]}"
        if doubted.certain or policy.problems is not None:
            policy.report(AnnotationIssue(kind, columns.files[first], place, doubted.explain()))
        else:
            policy.note(doubted.explain().rstrip("."), file=columns.files[first], place=place)
    return boxes


def _has_area(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _explain(kind: Kind, box: Sequence[float], row: ImageRow) -> str:
    text = f"box ({', '.join(f'{value:.6g}' for value in box)})"
    size = f"the image {row.path.name} of {row.width} x {row.height}"
    return {
        "box not finite": f"{text} is not finite. Expected four finite numbers.",
        "box without area": f"{text} has no area. Expected xmin < xmax and ymin < ymax.",
        "box outside image": f"{text} lies outside {size}. Expected it inside.",
        "box leaves image": f"{text} leaves {size}. Expected it inside.",
    }[kind]
