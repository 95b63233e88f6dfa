"""Objects that are too small at the network's input for where its anchors stand."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.findings import Finding, Level, make_finding
from foveal.geometry.anchor_reach import center_gaps, level_locations, within_reach
from foveal.geometry.placement import Placement
from foveal.text import listed, percent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from foveal.data.checks.subject import InputGrid, Part
    from foveal.data.transforms.preparation import Preparation

SMALL_IN_STRIDES = 2.0
"""Where each location has one anchor, an object whose root of the area is below so many strides has
too few locations to itself."""
MANY_SMALL = 0.2
"""The share of such objects from which they are told, as training goes by it."""
_WORTH_A_DOUBT = 0.01
"""The share of them below which nothing need be done."""
_CHUNK = 1 << 16
"""Objects that are compared with the grid at a time, which bounds the memory."""


def check_input_sizes(part: Part) -> list[Finding]:
    """Find objects that are too small at the network's input for its anchors.

    Where anchors are given to objects by their IoU, those that no anchor of any shape reaches.
    Where each location has one anchor, those smaller than the distance of two locations, and where
    they are many, those of up to twice that. Images whose size is not known are left out.
    """
    grid = part.grid
    if grid is None or part.is_read_otherwise:
        return []
    chosen = np.flatnonzero(part.real & (part.sizes[part.objects.images] > 0).all(axis=1))
    if not len(chosen):
        return []
    boxes, inputs = _at_the_input(
        part.objects.boxes[chosen],
        part.objects.images[chosen],
        part.sizes,
        _placer(grid.preparation),
    )
    sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    level: Level = "doubt"
    if grid.rule == "iou":
        small = ~_reached(boxes, sides, inputs, grid)
        what = "too small for any anchor at this input size"
        advice = (
            "foveal anchors says which input size or which finer strides reach them; or cut the "
            "images into tiles: foveal data tile."
        )
    else:
        roots = np.sqrt(sides.prod(axis=1))
        finest = float(grid.strides[0])
        small = roots < SMALL_IN_STRIDES * finest
        limit = SMALL_IN_STRIDES * finest
        if small.mean() < MANY_SMALL:
            small, limit = roots < finest, finest
        share = percent(float(small.mean()), 1)
        what = f"({share}) smaller than {limit:g} px at this input size"
        of_preset = f"Preset {grid.preset} has" if grid.preset else "There is"
        helps = (
            "a larger scale, foveal train --set preparation.scale=2 (in Python settings=)."
            if grid.windows
            else "a larger input, foveal train --set preparation.shorter=N (in Python size=N); or "
            "--preset scenes (preset='scenes'), which shrinks nothing and has nearer locations."
        )
        advice = (
            f"{of_preset} one anchor every {finest:g} px, and such small objects are often missed. "
            f"What helps: {helps}"
        )
        if small.mean() < _WORTH_A_DOUBT:
            level = "information"
    index = np.flatnonzero(small)
    places = [
        f"{part.name_object(int(i))}: {width:.1f} x {height:.1f} px at the input"
        for i, (width, height) in zip(chosen[index], sides[index].tolist(), strict=True)
    ]
    labels = [part.data.classes[label] for label in part.objects.labels[chosen[index]]]
    most = listed([f"{name} {count:,}" for name, count in Counter(labels).most_common()], 4)
    what = f" of {len(chosen):,} {what}: " + most.replace("{", "{{").replace("}", "}}")
    return make_finding(
        "object too small", level,
        "{n} object{s}" + what, places, advice=advice,
    )  # fmt: skip


def _reached(
    boxes: NDArray[np.float32],
    sides: NDArray[np.float64],
    inputs: NDArray[np.int64],
    grid: InputGrid,
) -> NDArray[np.bool_]:
    """[N] which boxes [N, 4] an anchor of any shape reaches, in inputs of sizes [N, 2]."""
    reached = np.empty(len(boxes), np.bool_)
    for start in range(0, len(boxes), _CHUNK):
        block = slice(start, start + _CHUNK)
        steps, counts = level_locations(inputs[block], grid.strides)
        gaps = center_gaps(boxes[block], steps=steps, counts=counts, offset=grid.offset)
        reached[block] = within_reach(sides[block], gaps, iou=grid.foreground_iou)
    return reached


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


def _placer(
    preparation: Preparation | None,
) -> Callable[[int, int], tuple[Placement, tuple[int, int]]]:
    """From an image's (width, height) to its Placement and the input's (width, height)."""

    @lru_cache(maxsize=4096)
    def place(width: int, height: int) -> tuple[Placement, tuple[int, int]]:
        if preparation is None:
            return Placement(width, height), (-(-width // 32) * 32, -(-height // 32) * 32)
        input_height, input_width = preparation.size_for(width, height)
        return preparation.placement_for(width, height), (input_width, input_height)

    return place
