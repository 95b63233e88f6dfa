"""What the doctor looks for in boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import EXPLAINS_OTHERS, Finding, Level, make_finding
from foveal.geometry.arrays import iou

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.checks.subject import Part

NEARLY_IDENTICAL = 0.95
"""IoU from which two boxes of one image are nearly identical."""
TELLING = 0.1
"""Share of impossible boxes from which a mistaken convention is thought of."""
CONVINCING = 0.98
"""Share of boxes that the other convention must make possible."""
FEWEST_TELLING = 5
TINY = 2.0
"""Pixels of a side below which an object is hardly to be seen."""
HUGE = 0.9
"""Share of the image from which a box is huge."""
SLIVER = 10.0
"""How often the shorter side goes into the longer one of a sliver."""
COMMON = 0.05
"""Share of the objects from which something unusual is the custom: slivers of a class of masts and
ropes, boxes of the whole image where labels were made for whole images."""
_EXACT = 0.5
"""Pixels within which a box is that of the image."""


def check_convention(part: Part) -> list[Finding]:
    """Whether width and height were taken for the second corner, or the other way round."""
    if part.is_read_otherwise:
        return []
    objects = part.objects
    limits = part.sizes[objects.images].astype(np.float64)
    known = (limits > 0).all(axis=1) & np.isfinite(objects.boxes).all(axis=1)
    first, second = objects.boxes[known, :2].astype(np.float64), objects.boxes[known, 2:]
    limits = limits[known] * 1.01 + 1
    if len(first) < FEWEST_TELLING:
        return []

    def possible(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
        inside = (low >= -1) & (high <= limits) & (high > low)
        return np.asarray(inside.all(axis=1))

    now = possible(first, second.astype(np.float64))
    if (~now).sum() < FEWEST_TELLING or (~now).mean() < TELLING:
        return []
    places = [part.name_object(int(i)) for i in np.flatnonzero(known)[~now]]
    if possible(first, first + second).mean() >= CONVINCING:
        what = "{n} box{es} impossible as corners, but not as x, y, width, height"
        advice = "The file very likely holds x, y, width, height where corners are expected."
    elif possible(first, second - first).mean() >= CONVINCING:
        what = "{n} box{es} impossible as x, y, width, height, but not as corners"
        advice = "The file very likely holds corners where x, y, width, height are expected."
    else:
        return []
    advice += " Convert the boxes, or write the file in the other format."
    return make_finding(EXPLAINS_OTHERS, "fault", what, places, advice=advice)


def check_nearly_identical(part: Part) -> list[Finding]:
    """Find boxes of one image that are nearly the same."""
    objects = part.objects
    index = np.flatnonzero(part.real)
    order = index[np.lexsort((objects.boxes[index, 0], objects.images[index]))]
    boxes = objects.boxes[order].astype(np.float64)
    images = objects.images[order]
    twins: dict[int, int] = {}
    rows = np.arange(len(order))
    for shift in range(1, len(order)):
        # Sorted by the left edge: two boxes this alike start within a twentieth of their width,
        # and a box that is too far from its neighbor is too far from the one after.
        rows = rows[rows + shift < len(order)]
        gap = boxes[rows + shift, 0] - boxes[rows, 0]
        width = boxes[rows, 2] - boxes[rows, 0]
        near = (images[rows + shift] == images[rows]) & (gap <= (1 - NEARLY_IDENTICAL) * width)
        rows = rows[near]
        if not len(rows):
            break
        alike = rows[iou(boxes[rows], boxes[rows + shift]) >= NEARLY_IDENTICAL]
        for i in alike:
            one, other = sorted((int(order[i]), int(order[i + shift])))
            twins[other] = min(one, twins.get(other, one))
    places = []
    for other, one in sorted(twins.items()):
        labels = [part.data.classes[label] for label in objects.labels[[one, other]]]
        names = labels[0] if labels[0] == labels[1] else f"{labels[0]} and {labels[1]}"
        places.append(f"{part.name_object(one)} and {int(objects.numbers[other]) + 1} ({names})")
    return make_finding(
        "nearly identical boxes", "doubt",
        "{n} box{es} nearly identical with another" f" (IoU {NEARLY_IDENTICAL} or more)", places,
        advice="Remove one of the two, or correct the class.",
    )  # fmt: skip


def check_tiny(part: Part) -> list[Finding]:
    """Find objects of which hardly anything is to be seen."""
    with np.errstate(invalid="ignore"):
        sides = part.objects.boxes[:, 2:] - part.objects.boxes[:, :2]
        tiny = ~part.objects.ignored & (sides > 0).all(axis=1) & (sides < TINY).any(axis=1)
    places = [
        f"{part.name_object(int(i))}: {sides[i, 0]:.2f} x {sides[i, 1]:.2f} px"
        for i in np.flatnonzero(tiny)
    ]
    return make_finding(
        "tiny object", "doubt", "{n} object{s}" f" with a side under {TINY:g} px", places,
        advice="Hardly anything of them is to be seen. Check the unit of the boxes, or whether "
        "they are remains of larger ones; leave them out or mark them to be ignored.",
    )  # fmt: skip


def check_huge(part: Part) -> list[Finding]:
    """Find boxes of nearly the whole image.

    Objects do fill images now and then. Many that do, and boxes of exactly the image, are a doubt.
    """
    if part.is_read_otherwise:
        return []
    limits = part.sizes[part.objects.images].astype(np.float64)
    sides = np.where(part.real[:, None], part.objects.boxes[:, 2:] - part.objects.boxes[:, :2], 0)
    huge = (limits > 0).all(axis=1) & (sides.prod(axis=1) > HUGE * limits.prod(axis=1))
    whole = huge & (np.abs(sides - limits) < _EXACT).all(axis=1)
    many = huge.sum() > COMMON * part.real.sum()
    level: Level = "doubt" if many or whole.any() else "information"
    places = [
        f"{part.name_object(int(i))}: {sides[i, 0]:.0f} x {sides[i, 1]:.0f} px of "
        f"{limits[i, 0]:.0f} x {limits[i, 1]:.0f}"
        for i in [*np.flatnonzero(whole), *np.flatnonzero(huge & ~whole)]
    ]
    return make_finding(
        "huge box", level, "{n} box{es}" f" of more than {HUGE:.0%} of the image", places,
        advice="Right where an object fills its image. Else they are labels of whole images, or "
        "boxes in another unit: correct them, or leave them out.",
    )  # fmt: skip


def check_slivers(part: Part) -> list[Finding]:
    """Find boxes far longer than wide, of classes whose objects mostly are not."""
    if part.is_read_otherwise:
        return []
    index = np.flatnonzero(part.real)
    sides = (part.objects.boxes[index, 2:] - part.objects.boxes[index, :2]).astype(np.float64)
    labels = part.objects.labels[index]
    # Thinner ones are told as tiny.
    sliver = (sides.max(axis=1) >= SLIVER * sides.min(axis=1)) & (sides.min(axis=1) >= TINY)
    found = np.bincount(labels[sliver], minlength=len(part.data.classes))
    total = np.bincount(labels, minlength=len(part.data.classes))
    chosen = sliver & (found <= COMMON * total)[labels]
    places = [
        f"{part.name_object(int(index[i]))} ({part.data.classes[labels[i]]}): "
        f"{sides[i, 0]:.0f} x {sides[i, 1]:.0f} px"
        for i in np.flatnonzero(chosen)
    ]
    return make_finding(
        "sliver", "doubt", "{n} box{es}" f" {SLIVER:g} times as long as wide, or more", places,
        advice="Others of their class are not. Remains of objects that were cut off? Look at a "
        "few; correct them, or mark them to be ignored.",
    )  # fmt: skip


def check_without_objects(part: Part) -> list[Finding]:
    """Find images without objects."""
    dataset = part.data
    empty = [r.path.name for r in dataset if not (~r.ignored).any()]
    return make_finding(
        "image without objects", "information",
        "{n} image{s} without objects" f" ({len(empty) / max(len(dataset), 1):.0%})", empty,
        advice="Kept: they teach what background is. Check that they were not left unlabeled.",
    )  # fmt: skip
