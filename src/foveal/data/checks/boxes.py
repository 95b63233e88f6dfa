"""What the doctor looks for in boxes and classes."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import EXPLAINS_OTHERS, Finding, make_finding
from foveal.data.statistics import StackedObjects, stack_objects
from foveal.geometry.anchor_reach import center_gaps, level_locations, within_reach
from foveal.geometry.arrays import iou
from foveal.text import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.geometry.placement import Placement

NEARLY_IDENTICAL = 0.95
"""IoU from which two boxes of one image are nearly identical."""
TELLING = 0.1
"""Share of impossible boxes from which a mistaken convention is thought of."""
CONVINCING = 0.98
"""Share of boxes that the other convention must make possible."""
FEWEST_TELLING = 5
TINY = 2.0
"""Pixels of a side below which an object is hardly to be seen."""
_CHUNK = 1 << 16
"""Objects that are compared with the grid at a time, which bounds the memory."""
IGNORE_NAMES = frozenset({"dontcare", "ignore", "ignored", "crowd", "dontcareregion"})


def check_boxes(dataset: Dataset, *, convention: bool = True) -> list[Finding]:
    """Find boxes in another convention, nearly identical or tiny ones, images without objects.

    Args:
        dataset: read with its bad boxes kept.
        convention: whether to look for another convention.
    """
    objects = stack_objects(dataset)
    return [
        *(_other_convention(dataset, objects) if convention else []),
        *_nearly_identical(dataset, objects),
        *_tiny(dataset, objects),
        *_without_objects(dataset),
    ]


def place_name(dataset: Dataset, image: int, number: int) -> str:
    """How people are told of an object: file and number, counted from 1."""
    return f"{dataset.records[image].path.name}, object {number + 1}"


def _other_convention(dataset: Dataset, objects: StackedObjects) -> list[Finding]:
    """Whether width and height were taken for the second corner, or the other way round."""
    sizes = np.array([(r.width, r.height) for r in dataset], np.float64).reshape(-1, 2)
    limits = sizes[objects.images]
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
    places = [
        place_name(dataset, int(objects.images[i]), int(objects.numbers[i]))
        for i in np.flatnonzero(known)[~now]
    ]
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


def _nearly_identical(dataset: Dataset, objects: StackedObjects) -> list[Finding]:
    valid = ~objects.ignored & np.isfinite(objects.boxes).all(axis=1)
    valid &= (objects.boxes[:, 2:] > objects.boxes[:, :2]).all(axis=1) & (objects.labels >= 0)
    index = np.flatnonzero(valid)
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
        labels = [dataset.classes[label] for label in objects.labels[[one, other]]]
        names = labels[0] if labels[0] == labels[1] else f"{labels[0]} and {labels[1]}"
        place = place_name(dataset, int(objects.images[one]), int(objects.numbers[one]))
        places.append(f"{place} and {int(objects.numbers[other]) + 1} ({names})")
    return make_finding(
        "nearly identical boxes", "doubt",
        "{n} box{es} nearly identical with another" f" (IoU {NEARLY_IDENTICAL} or more)", places,
        advice="Remove one of the two, or correct the class.",
    )  # fmt: skip


def _tiny(dataset: Dataset, objects: StackedObjects) -> list[Finding]:
    with np.errstate(invalid="ignore"):
        sides = objects.boxes[:, 2:] - objects.boxes[:, :2]
        tiny = ~objects.ignored & (sides > 0).all(axis=1) & (sides < TINY).any(axis=1)
    places = [
        f"{place_name(dataset, int(objects.images[i]), int(objects.numbers[i]))}: "
        f"{sides[i, 0]:.2f} x {sides[i, 1]:.2f} px"
        for i in np.flatnonzero(tiny)
    ]
    return make_finding(
        "tiny object", "doubt", "{n} object{s}" f" with a side under {TINY:g} px", places,
        advice="Hardly anything of them is to be seen. Check the unit of the boxes, or whether "
        "they are remains of larger ones; leave them out or mark them to be ignored.",
    )  # fmt: skip


def _without_objects(dataset: Dataset) -> list[Finding]:
    empty = [r.path.name for r in dataset if not (~r.ignored).any()]
    return make_finding(
        "image without objects", "information",
        "{n} image{s} without objects" f" ({len(empty) / max(len(dataset), 1):.0%})", empty,
        advice="Kept: they teach what background is. Check that they were not left unlabeled.",
    )  # fmt: skip


def check_classes(parts: Sequence[Dataset]) -> list[Finding]:
    """Find classes that are written in several ways, appear once, never, or in valid only.

    Args:
        parts: the data set, then the validation data where there is any.
    """
    counts: list[dict[str, int]] = []
    for data in parts:
        objects = stack_objects(data)
        labels = objects.labels[~objects.ignored & (objects.labels >= 0)]
        found = np.bincount(labels, minlength=len(data.classes))
        counts.append({name: int(found[label]) for label, name in enumerate(data.classes)})
    trained = counts[0]
    names = dict.fromkeys(name for part in parts for name in part.classes)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[_plain(name)].append(name)
    written = [" / ".join(map(repr, same)) for same in alike.values() if len(same) > 1]
    once = [repr(name) for name, count in trained.items() if count == 1]
    never = [repr(name) for name, count in trained.items() if count == 0]
    unseen = [
        f"{name!r}: {count:,} in valid"
        for part in counts[1:]
        for name, count in part.items()
        if count and not trained.get(name)
    ]
    regions = [repr(n) for n, c in trained.items() if c and _plain(n) in IGNORE_NAMES]
    return [
        *make_finding(
            "class written in several ways", "fault",
            "{n} class name{s} written in several ways (case, blanks)", written,
            advice="Give them one name in the annotations, or rename when reading.",
        ),
        *make_finding(
            "class in valid only", "fault", "{n} class{es} in the validation data only", unseen,
            advice="They can't be learnt: move images to the training data, or leave them out.",
        ),
        *make_finding(
            "class once", "doubt", "{n} class{es} with a single object", once,
            advice="A slip of the pen? Else label more of them, or leave the class out.",
        ),
        *make_finding(
            "class never", "information", "{n} class{es} without objects", never,
            advice="They take room in the model; leave them out if none will come.",
        ),
        *make_finding(
            "class to ignore", "doubt", "{n} class{es} whose name speaks of regions to ignore",
            regions, advice="Such regions are learnt as objects unless you say --ignore NAME.",
        ),
    ]  # fmt: skip


def _plain(name: str) -> str:
    """A name without case, blanks, _, - and forms of signs; numbers in it stay apart."""
    words = (
        unicodedata.normalize("NFKC", name).casefold().replace("_", " ").replace("-", " ").split()
    )
    joint = " " if any(c.isdigit() for c in name) else ""
    return joint.join(words) or name


def check_sizes(
    dataset: Dataset,
    place: Callable[[int, int], tuple[Placement, tuple[int, int]]],
    *,
    strides: Sequence[int],
    offset: float,
    foreground_iou: float,
) -> list[Finding]:
    """Find objects that no anchor of any shape reaches at the network's input size.

    Args:
        dataset: images whose size is not known are left out.
        place: from an image's (width, height) to its Placement and the input's (width, height).
        strides, offset: where anchors stand.
        foreground_iou: from which IoU an anchor reaches an object.
    """
    objects = stack_objects(dataset)
    sizes = np.array([(r.width, r.height) for r in dataset], np.int64).reshape(-1, 2)
    keep = ~objects.ignored & (objects.labels >= 0) & np.isfinite(objects.boxes).all(axis=1)
    keep &= (objects.boxes[:, 2:] > objects.boxes[:, :2]).all(axis=1)
    keep &= (sizes[objects.images] > 0).all(axis=1)
    chosen = np.flatnonzero(keep)
    if not len(chosen):
        return []
    boxes, inputs = _at_the_input(objects.boxes[chosen], objects.images[chosen], sizes, place)
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    reached = np.empty(len(chosen), np.bool_)
    for start in range(0, len(chosen), _CHUNK):
        part = slice(start, start + _CHUNK)
        steps, counts = level_locations(inputs[part], strides)
        gaps = center_gaps(boxes[part], steps=steps, counts=counts, offset=offset)
        reached[part] = within_reach(sides[part], gaps, iou=foreground_iou)
    small = np.flatnonzero(~reached)
    places = [
        f"{place_name(dataset, int(objects.images[i]), int(objects.numbers[i]))}: "
        f"{width:.1f} x {height:.1f} px at the input"
        for i, (width, height) in zip(chosen[small], sides[small].tolist(), strict=True)
    ]
    labels = [dataset.classes[label] for label in objects.labels[chosen[small]]]
    most = listed([f"{name} {count:,}" for name, count in Counter(labels).most_common()], 4)
    return make_finding(
        "object too small", "doubt",
        "{n} object{s}" f" of {len(chosen):,} too small for any anchor at this input size: "
        + most.replace("{", "{{").replace("}", "}}"), places,
        advice="foveal anchors says which input size or which finer strides reach them; or cut the "
        "images into tiles: foveal data tile.",
    )  # fmt: skip


def _at_the_input(
    boxes: NDArray[np.float32],
    images: NDArray[np.int64],
    sizes: NDArray[np.int64],
    place: Callable[[int, int], tuple[Placement, tuple[int, int]]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes [N, 4] in input pixels, and the sizes [N, 2] of their inputs, pixels.

    `images` says in which image a box lies, `sizes` how large each is.
    """
    different, of_image = np.unique(sizes, axis=0, return_inverse=True)
    which = of_image[images]
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(different)))
    placed, inputs = np.empty_like(boxes), np.empty((len(boxes), 2), np.int64)
    for (width, height), group in zip(different.tolist(), np.split(order, ends[:-1]), strict=True):
        if not len(group):
            continue
        placement, size = place(width, height)
        placed[group] = placement.to_input(boxes[group])
        inputs[group] = size
    return placed, inputs
