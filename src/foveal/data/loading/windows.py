"""Which windows of larger images an epoch shows, and where each of them lies.

An image that fits into the network's input is shown whole, once an epoch. Of larger ones as many
windows are cut as cover all of them once. Most are placed around an object: every place with
objects, a cell of a grid as coarse as a window, gets its turn. The others show none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.loading.plan import BatchTask
from foveal.data.loading.sampling import draw_weighted
from foveal.data.transforms.boxes import move_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset, Record
    from foveal.data.transforms.preparation import Preparation
    from foveal.structures import Target

WHOLE = -1
"""Aim of a window that shows all of an image."""
BACKGROUND = -2
"""Aim of a window that is to show no object."""

_PLACES_TRIED = 64
"""So many places are drawn for a window without objects; it takes the one with the fewest."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom of a window, whole original pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowPlan:
    """How an epoch is made of windows; see `plan_windows`.

    Attributes:
        whole: [W] positions of the images that fit into a window.
        whole_weights: [W] how often each comes in an epoch.
        places: [P] of each place with objects its image's position.
        place_weights: [P] how often a place should come, beside the others.
        objects: [N] positions of the objects in their images' records, place by place.
        starts: [P + 1] where each place's objects begin in `objects`.
        large: [M] positions of the images that do not fit into a window.
        areas: [M] their areas, in windows.
        around_objects: windows an epoch that are placed around an object.
        background: windows an epoch that are to show none.
    """

    whole: NDArray[np.int64]
    whole_weights: NDArray[np.float64]
    places: NDArray[np.int64]
    place_weights: NDArray[np.float64]
    objects: NDArray[np.int64]
    starts: NDArray[np.int64]
    large: NDArray[np.int64]
    areas: NDArray[np.float64]
    around_objects: int
    background: int

    @property
    def windows(self) -> int:
        """How many an epoch has, whole images included."""
        return self.shown_whole + self.around_objects + self.background

    @property
    def shown_whole(self) -> int:
        """How many of them are whole images."""
        return math.ceil(float(self.whole_weights.sum()) - 1e-6)

    def draw(self, *, seed: int, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """An epoch's windows in random order.

        Args:
            seed, epoch: give the same windows again.

        Returns:
            [N] positions of images, and [N] aims: the position of an object in its record, WHOLE
            or BACKGROUND.
        """
        generator = np.random.default_rng([seed % 2**63, epoch, 0, 2])
        whole = self.whole[draw_weighted(self.whole_weights, self.shown_whole, generator)]
        places = draw_weighted(self.place_weights, self.around_objects, generator)
        empty = self.large[draw_weighted(self.areas, self.background, generator)]
        first, last = self.starts[places], self.starts[places + 1]
        chosen = first + (generator.random(len(places)) * (last - first)).astype(np.int64)
        images = np.concatenate([whole, self.places[places], empty])
        aims = np.concatenate(
            [
                np.full(len(whole), WHOLE),
                self.objects[chosen],
                np.full(len(empty), BACKGROUND),
            ]
        )
        order = generator.permutation(len(images))
        return images[order], aims[order]


def plan_windows(
    dataset: Dataset,
    sizes: NDArray[np.int64],
    preparation: Preparation,
    *,
    background_fraction: float,
    factors: NDArray[np.float64] | None = None,
) -> WindowPlan:
    """Plan the windows of a data set's images.

    Args:
        dataset: the images; regions to ignore are no objects.
        sizes: [N, 2] width and height of each, pixels; zeros leave an image out.
        preparation: with mode "windows".
        background_fraction: of the windows cut out of larger images, those without objects; all
            where there are no objects.
        factors: [N] how much more often an image is to come than others; None: 1 for all.
    """
    side = preparation.shorter
    scaled = np.maximum(1, np.round(sizes * preparation.scale))
    usable = sizes.all(axis=1)
    fits = (scaled <= side).all(axis=1)
    whole, large = np.flatnonzero(usable & fits), np.flatnonzero(usable & ~fits)
    weights = np.ones(len(sizes)) if factors is None else factors
    areas = scaled[large].prod(axis=1) / side**2
    cells = [
        _cells(dataset.records[index], index, side / preparation.scale) for index in large.tolist()
    ] or [np.zeros((0, 4), np.int64)]
    table = np.concatenate(cells)
    table = table[np.lexsort(table.T[::-1])]
    first = np.ones(len(table), np.bool_)
    first[1:] = (table[1:, :3] != table[:-1, :3]).any(axis=1)
    starts = np.append(np.flatnonzero(first), len(table))
    places = table[first, 0]
    place_weights = weights[places]
    wanted = math.ceil(areas.sum() - 1e-6)
    if not len(places):
        background = wanted
    else:
        around = math.ceil(place_weights.sum() - 1e-6)
        wanted = max(wanted, math.ceil(around / (1 - background_fraction) - 1e-6))
        background = min(round(background_fraction * wanted), wanted - around)
    return WindowPlan(
        whole=whole,
        whole_weights=weights[whole],
        places=places,
        place_weights=place_weights,
        objects=table[:, 3],
        starts=starts,
        large=large,
        areas=areas,
        around_objects=wanted - background,
        background=background,
    )


def plan_window_batches(
    plan: WindowPlan,
    preparation: Preparation,
    *,
    batch: int,
    seed: int,
    epoch: int,
    quarter_turns: bool = False,
    shorter_sides: Sequence[int] = (),
) -> list[BatchTask]:
    """An epoch's windows in batches; the last one is filled up with some that come once more.

    Args:
        plan: which windows there are.
        preparation: gives the input's size.
        batch: windows in a batch.
        seed, epoch: give the same batches again.
        quarter_turns: draw quarter turns.
        shorter_sides: to draw a scale from for each batch, as `Preparation.with_shorter` means
            them; empty: the preparation's.
    """
    images, aims = plan.draw(seed=seed, epoch=epoch)
    if not len(images):
        return []
    length = -(-len(images) // batch) * batch
    images, aims = np.resize(images, length), np.resize(aims, length)
    generator = np.random.default_rng([seed % 2**63, epoch, 0])
    turns = generator.integers(0, 4 if quarter_turns else 1, length)
    repeats = _repeats(images)
    size = preparation.size_for(1, 1)
    tasks = []
    for start in range(0, length, batch):
        cut = slice(start, start + batch)
        tasks.append(
            BatchTask(
                seed, epoch, tuple(images[cut].tolist()), tuple(repeats[cut].tolist()),
                tuple(turns[cut].tolist()), size,
                int(generator.choice(shorter_sides or (preparation.shorter,))),
                tuple(aims[cut].tolist()),
            )
        )  # fmt: skip
    return tasks


def draw_window(
    record: Record, width: int, height: int, *, side: int, aim: int, generator: Generator
) -> Rectangle:
    """Where a window lies in an image.

    One around an object holds it wholly, anywhere, if it is not larger than the window. One
    without objects lies where there is none or, of the places tried, where the fewest are.

    Args:
        record: the image's objects.
        width, height: of the image, pixels.
        side: of the window, original pixels; it is cut where the image ends.
        aim: the position of an object in the record, WHOLE or BACKGROUND.
        generator: draws the place.
    """
    if aim == WHOLE:
        return 0, 0, width, height
    size = np.minimum(side, (width, height))
    room = np.array([width, height]) - size
    if aim == BACKGROUND:
        corners = generator.integers(0, room + 1, (_PLACES_TRIED, 2))
        left, top = corners[_overlapping(record.boxes, corners, size).argmin()]
    else:
        box = record.boxes[aim].astype(np.float64)
        low = np.clip(np.ceil(np.minimum(box[2:] - size, box[:2])), 0, room)
        high = np.clip(np.floor(np.maximum(box[2:] - size, box[:2])), low, room)
        left, top = generator.integers(low.astype(np.int64), high.astype(np.int64) + 1)
    return int(left), int(top), int(left + size[0]), int(top + size[1])


def draw_aim(record: Record, *, fits: bool, generator: Generator) -> int:
    """The aim of a window of an image that no plan has chosen: any of its objects.

    Args:
        record: the image's objects.
        fits: whether the image fits into a window.
        generator: draws the object.
    """
    if fits:
        return WHOLE
    objects = np.flatnonzero(_real(record))
    return int(generator.choice(objects)) if len(objects) else BACKGROUND


def cut_target(target: Target, window: Rectangle, *, min_visibility: float) -> Target:
    """What a window shows, in its pixels: boxes are cut at its border.

    Args:
        target: what the image shows, original pixels.
        window: the part of it.
        min_visibility: an object of which a smaller share is inside becomes a region to ignore:
            it is neither a whole object nor background.
    """
    left, top, right, bottom = window
    boxes = target.boxes
    inside = (boxes[:, 2] > left) & (boxes[:, 0] < right)
    inside &= (boxes[:, 3] > top) & (boxes[:, 1] < bottom)
    return move_target(
        target.select(inside),
        np.array([[1, 0, -left], [0, 1, -top]], np.float64),
        room=(bottom - top, right - left),
        min_visibility=min_visibility,
        rule="corners",
        cut="ignore",
    )


def most_in_a_window(record: Record, side: float) -> int:
    """How many objects the fullest window of an image has their centers in, nearly.

    Windows are looked at that lie half a side apart.

    Args:
        record: the image's objects; regions to ignore are none.
        side: of a window, original pixels.
    """
    boxes = record.boxes[_real(record)].astype(np.float64)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 / side
    most = 0
    for shift in ((0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)):
        _, counts = np.unique(np.floor(centers + shift), axis=0, return_counts=True)
        most = max(most, int(counts.max(initial=0)))
    return most


def _real(record: Record) -> NDArray[np.bool_]:
    """[N] which boxes are objects with an area."""
    boxes = record.boxes
    found: NDArray[np.bool_] = ~record.ignored & (record.labels >= 0)
    return found & np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)


def _cells(record: Record, index: int, side: float) -> NDArray[np.int64]:
    """[N, 4] of each object its image, row and column of its cell, and its position."""
    objects = np.flatnonzero(_real(record))
    boxes = record.boxes[objects].astype(np.float64)
    cells = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / side).astype(np.int64)
    images = np.full(len(objects), index, np.int64)
    return np.stack([images, cells[:, 1], cells[:, 0], objects], axis=1)


def _overlapping(
    boxes: NDArray[np.float32], corners: NDArray[np.int64], size: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[n] how many boxes each window of this size at corners [n, 2] overlaps."""
    low, high = corners[:, None], (corners + size)[:, None]
    apart = (boxes[None, :, :2] >= high) | (boxes[None, :, 2:] <= low)
    return np.asarray(np.count_nonzero(~apart.any(axis=2), axis=1), np.int64)


def _repeats(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each of [N] positions came before."""
    order = np.argsort(images, kind="stable")
    ranked = images[order]
    starts = np.searchsorted(ranked, ranked)
    repeats = np.empty(len(images), np.int64)
    repeats[order] = np.arange(len(images)) - starts
    return repeats
