"""Scenes in tiles: where these lie, which objects each owns, and how their boxes are put together.

A tile is a window of the scene, resized to one input of the network. Neighbors overlap. The scene
is cut into *cores*, one for each tile, in the middle of the overlaps; a tile owns the objects whose
center lies in its core. An object no larger than the overlap is seen whole by the tile that owns
it, so nothing is cut, and no two tiles own the same object.

A box's center differs a little from tile to tile. So cores are wider by a strip of a few pixels:
what a tile finds there is a guest, in case the owner misses it. Boxes of different tiles go through
the NMS that the boxes of one tile went through, so a guest that the owner knows goes.

Frames: *scene* pixels are the image's own; *input* pixels are the network's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import SettingsError
from foveal.geometry.arrays import areas, intersections
from foveal.geometry.overlaps import keep_greedily, overlapping_pairs
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LARGEST_SIDE = 1536
"""Input pixels: tiles are no larger of themselves. Larger ones overlap less, and need more memory
than they save in time."""
_STRIP = 8.0
"""Input pixels by which a core is wider on each side, at most."""
_TOUCHING = 4.0
"""Input pixels: a box that comes so close to its tile's border may have been cut there."""
_COVERED = 0.7
"""What is cut and lies in a larger box by this fraction of its area is a part of that object."""
_TILES_A_BAND = 32
_SURROUNDINGS = 8
"""Input pixels around an object that the tile that owns it sees at least."""
WHOLE = -1
"""In place of a tile's number: a box that was found in the shrunk scene."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a scene is cut into tiles of one input size.

    Steps from tile to tile are multiples of the pyramid's coarsest stride, so that at scale 1 the
    anchors of all tiles lie on one grid, that of one pass over the whole scene. At other scales
    windows still begin at whole scene pixels, and the grids lie beside each other by less than one.

    Attributes:
        size: (height, width) of a tile, input pixels.
        overlap: input pixels that neighbors share at least.
        scale: input pixels that one scene pixel becomes. A tile shows a whole number of scene
            pixels, so the exact scale is `scales`, which differs by less than half a pixel a tile.
        stride: input pixels of which steps are a multiple.
        why: where overlap and scale come from, the rest of a sentence and whole ones; "" where
            there is nothing to tell.
    """

    size: tuple[int, int]
    overlap: int
    scale: float = 1.0
    stride: int = 128
    why: str = ""

    def __post_init__(self) -> None:
        if min(self.size) < 1 or self.stride < 1 or not 0 < self.scale < math.inf:
            raise SettingsError(
                f"Tiles of {self.size[1]} x {self.size[0]} pixels at scale {self.scale:g}. "
                "Expected positive numbers."
            )
        if not 0 <= self.overlap < max(self.size):
            raise _too_much_overlap(self.overlap, self.size)

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of what a tile shows, scene pixels."""
        return self._window(0), self._window(1)

    @property
    def scales(self) -> tuple[float, float]:
        """Input pixels that a scene pixel becomes, along y and x."""
        return self.size[0] / self._window(0), self.size[1] / self._window(1)

    @property
    def steps(self) -> tuple[int, int]:
        """Scene pixels from one tile to the next, along y and x."""
        return self._step(0), self._step(1)

    @property
    def strip(self) -> tuple[float, float]:
        """Scene pixels by which cores are wider on each side, along y and x."""
        return self._strip(0), self._strip(1)

    @property
    def largest_whole(self) -> tuple[float, float]:
        """Height and width of the largest object that a tile surely sees whole, scene pixels."""
        (height, width), (down, right) = self.window, self.steps
        return height - down - 2 * self._strip(0), width - right - 2 * self._strip(1)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of the tiles of a scene.

        Args:
            width, height: of the scene, pixels.
        """
        return self._count(0, height), self._count(1, width)

    def window_of(self, tile: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what a tile shows inside the scene, scene pixels.

        Args:
            tile: its number, row by row.
            width, height: of the scene, pixels.
        """
        row, column = divmod(tile, self._count(1, width))
        top, left = row * self._step(0), column * self._step(1)
        right, bottom = left + self._window(1), top + self._window(0)
        return left, top, min(right, width), min(bottom, height)

    def cores(self, tiles: NDArray[np.int64], width: int, height: int) -> NDArray[np.float64]:
        """The cores of tiles: [N, 4] xyxy, scene pixels; infinite beyond the scene's edges.

        Args:
            tiles: [N] numbers.
            width, height: of the scene, pixels.
        """
        rows, columns = self.grid(width, height)
        row, column = np.divmod(tiles, columns)
        sides = []
        for axis, index, count in ((1, column, columns), (0, row, rows)):
            step = self._step(axis)
            middle = (self._window(axis) - step) / 2
            low = np.where(index == 0, -np.inf, index * step + middle)
            high = np.where(index == count - 1, np.inf, (index + 1) * step + middle)
            sides.append((low, high))
        (left, right), (top, bottom) = sides
        return np.stack([left, top, right, bottom], axis=-1)

    def describe(self, width: int, height: int) -> str:
        """In words: in how many windows of which size a scene is looked at, and why so.

        Args:
            width, height: of the scene, pixels.
        """
        rows, columns = self.grid(width, height)
        high, wide = self.window
        down, right = self.steps
        overlaps = sorted({high - down if rows > 1 else 0, wide - right if columns > 1 else 0})
        shared = " and ".join(f"{each:,}" for each in overlaps if each)
        overlap = f" that overlap by {shared}" if shared else ""
        text = (
            f"{width:,} x {height:,} pixels, looked at in {counted(rows * columns, 'window')} of "
            f"{wide:,} x {high:,} pixels{overlap}"
        )
        if self.window != self.size:
            text += f", each shown at {self.size[1]:,} x {self.size[0]:,}"
        return f"{text}, {self.why}" if self.why else f"{text}."

    def _window(self, axis: int) -> int:
        return max(1, round(self.size[axis] / self.scale))

    def _step(self, axis: int) -> int:
        window = self._window(axis)
        whole = max(1, (self.size[axis] - self.overlap) // self.stride) * self.stride
        step = min(whole, self.size[axis] - self.overlap)
        return max(1, min(window, math.floor(step * window / self.size[axis] + 1e-9)))

    def _strip(self, axis: int) -> float:
        window = self._window(axis)
        shared = window - self._step(axis)
        return min(_STRIP * window / self.size[axis], shared / 8)

    def _count(self, axis: int, side: int) -> int:
        return 1 + max(0, math.ceil((side - self._window(axis)) / self._step(axis)))


def margin() -> int:
    """Input pixels by which tiles overlap beyond the size of the largest object."""
    return int(2 * (_STRIP + _SURROUNDINGS))


def choose_tiling(
    width: int,
    height: int,
    *,
    scale: float,
    overlap: int,
    stride: int,
    size: tuple[int, int] | int | None = None,
    multiple: int = 32,
    why: str = "",
) -> Tiling:
    """The tiling of a scene.

    Where no size is asked for, each side is the one with which the fewest input pixels are
    computed: larger tiles overlap less, and smaller ones end closer to the scene's edge.

    Args:
        width, height: of the scene, pixels.
        scale: input pixels that a scene pixel becomes.
        overlap: input pixels that neighbors share at least.
        stride: the pyramid's coarsest, input pixels.
        size: of a tile, or its (height, width), input pixels.
        multiple: what a tile's sides are multiples of.
        why: where overlap and scale come from, in words.

    Raises:
        SettingsError: a size that is no multiple of `multiple`, or no larger than the overlap.
    """
    if size is None:
        sides = tuple(_best_side(side * scale, overlap, stride) for side in (height, width))
        size = sides[0], sides[1]
        overlap = min(overlap, max(size) - 1)  # a small scene in one tile, which has no neighbors
    elif isinstance(size, int):
        size = size, size
    if size[0] % multiple or size[1] % multiple:
        below = max(multiple, size[1] // multiple * multiple)
        raise SettingsError(
            f"--tile {size[1]} (in Python tile=): expected a multiple of {multiple}, such as "
            f"{below} or {below + multiple}."
        )
    tiling = Tiling(size, overlap, scale, stride, why)
    counts = tiling.grid(width, height)
    if any(count > 1 and overlap >= side for count, side in zip(counts, size, strict=True)):
        raise _too_much_overlap(overlap, size)
    return tiling


def _too_much_overlap(overlap: int, size: tuple[int, int]) -> SettingsError:
    return SettingsError(
        f"--overlap {overlap} (in Python overlap=) with tiles of {size[1]} x {size[0]} pixels: "
        "expected 0 or more, and less than a tile's side."
    )


def _best_side(side: float, overlap: int, stride: int) -> int:
    """The side of a tile with which the fewest input pixels cover a scene's side.

    Args:
        side: of the scene, input pixels.
        overlap, stride: as for `choose_tiling`.
    """
    largest = max(LARGEST_SIDE, 2 * overlap)
    candidates = np.arange(stride, largest // stride * stride + 1, stride)
    steps = (candidates - overlap) // stride * stride
    counts = 1 + np.ceil(np.maximum(0, side - candidates) / np.maximum(steps, 1))
    possible = (candidates >= side) | (2 * steps >= candidates)
    cost = np.where(possible, counts * candidates, np.inf)
    return int(candidates[len(cost) - 1 - np.argmin(cost[::-1])])


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of a scene's tiles: what is finished, kept and taken up again as one.

    Attributes:
        index: its position among the bands, from 0.
        tiles: the numbers of the first tile and of the one after the last; both 0 for the band in
            which the whole scene is looked at once more, shrunk.
        top, bottom: the rows of the scene that it reads, scene pixels.
    """

    index: int
    tiles: tuple[int, int]
    top: int
    bottom: int

    @property
    def is_whole(self) -> bool:
        """Whether it is the look at the whole scene."""
        return self.tiles == (0, 0)

    @property
    def looks(self) -> int:
        """How many windows it looks at."""
        return max(1, self.tiles[1] - self.tiles[0])


def plan_bands(
    width: int, height: int, tiling: Tiling, *, tiles: int = _TILES_A_BAND, whole: bool = False
) -> tuple[Band, ...]:
    """The bands of a scene, from top to bottom.

    Args:
        width, height: of the scene, pixels.
        tiling: of the scene.
        tiles: how many tiles a band has at least, where the scene has as many.
        whole: add the look at the whole scene, as the last one.
    """
    rows, columns = tiling.grid(width, height)
    together = max(1, -(-tiles // columns))
    bands: list[Band] = []
    for first in range(0, rows, together):
        last = min(rows, first + together)
        top = tiling.window_of(first * columns, width, height)[1]
        bottom = tiling.window_of((last - 1) * columns, width, height)[3]
        bands.append(Band(len(bands), (first * columns, last * columns), top, bottom))
    if whole:
        bands.append(Band(len(bands), (0, 0), 0, height))
    return tuple(bands)


@dataclass(frozen=True, slots=True, eq=False)
class BandDetections:
    """What was found in a band, before it is put together with the others.

    Attributes:
        index: of the band.
        boxes: [N, 4] float32 xyxy, scene pixels.
        scores: [N] float32.
        labels: [N] int64.
        tiles: [N] int32, the tile that found each; `WHOLE` where the whole scene was looked at.
        cut: [N] bool, touches a border of its tile inside the scene.
        left_out_score: as in Detections, the highest of the tiles.
        capped: tiles in which a limit left something out.
        looked: tiles that were looked at.
        skipped: tiles that hold no valid pixel, and were not.
    """

    index: int
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    tiles: NDArray[np.int32]
    cut: NDArray[np.bool_]
    left_out_score: float = 0.0
    capped: int = 0
    looked: int = 0
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def of(index: int, parts: Sequence[BandDetections]) -> BandDetections:
        """The band that several parts make, in their order; there may be none.

        Args:
            index: of the band.
            parts: of the band.
        """
        return BandDetections(
            index,
            np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.labels for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.tiles for part in parts)]),
            np.concatenate([np.zeros(0, np.bool_), *(part.cut for part in parts)]),
            left_out_score=max((part.left_out_score for part in parts), default=0.0),
            capped=sum(part.capped for part in parts),
            looked=sum(part.looked for part in parts),
            skipped=sum(part.skipped for part in parts),
        )

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """All of it as arrays by name, as `numpy.savez` takes them: [N, ...], and [4] counts."""
        return {
            "boxes": self.boxes,
            "scores": self.scores,
            "labels": self.labels,
            "tiles": self.tiles,
            "cut": self.cut,
            "left_out_score": np.array(self.left_out_score, np.float64),
            "counts": np.array([self.index, self.capped, self.looked, self.skipped], np.int64),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> BandDetections:
        """The band of which `to_arrays` gave the arrays.

        Args:
            arrays: boxes [N, 4], scores, labels, tiles and cut [N], counts [4] and others.

        Raises:
            KeyError, ValueError: it is something else.
        """
        index, capped, looked, skipped = (int(each) for each in arrays["counts"])
        return BandDetections(
            index,
            np.asarray(arrays["boxes"], np.float32).reshape(-1, 4),
            np.asarray(arrays["scores"], np.float32),
            np.asarray(arrays["labels"], np.int64),
            np.asarray(arrays["tiles"], np.int32),
            np.asarray(arrays["cut"], np.bool_),
            left_out_score=float(arrays["left_out_score"]),
            capped=capped,
            looked=looked,
            skipped=skipped,
        )


def claim(
    boxes: NDArray[np.float32], tile: int, width: int, height: int, tiling: Tiling
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which boxes of a tile are its own or its guests, and which of them may have been cut.

    A guest that touches the tile's border is left to its owner, which sees more of it. A box of its
    own that does can only be an object larger than the overlap.

    Args:
        boxes: [N, 4] xyxy, scene pixels.
        tile: its number.
        width, height: of the scene, pixels.
        tiling: of the scene.

    Returns:
        [N] kept, [N] cut.
    """
    core = tiling.cores(np.array([tile]), width, height)[0]
    down, right = tiling.strip
    wider = core + np.array([-right, -down, right, down])
    centers = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    own = (centers >= core[:2]).all(axis=1) & (centers < core[2:]).all(axis=1)
    near = (centers >= wider[:2]).all(axis=1) & (centers < wider[2:]).all(axis=1)
    window = np.array(tiling.window_of(tile, width, height), np.float64)
    scale_y, scale_x = tiling.scales
    slack = np.array([_TOUCHING / scale_x, _TOUCHING / scale_y])
    # The scene's own edges cut nothing that could be seen elsewhere.
    low = np.where(window[:2] > 0, window[:2] + slack, -np.inf)
    high = np.where(window[2:] < (width, height), window[2:] - slack, np.inf)
    cut: NDArray[np.bool_] = np.any((boxes[:, :2] < low) | (boxes[:, 2:] > high), axis=1)
    keep: NDArray[np.bool_] = own | (near & ~cut)
    return keep, cut


def merge_bands(
    bands: Sequence[BandDetections],
    width: int,
    height: int,
    tiling: Tiling,
    *,
    nms_iou: float,
    class_agnostic: bool,
) -> BandDetections:
    """Put the bands of a scene together, best first.

    Boxes of different tiles that overlap by more than `nms_iou` go through greedy NMS, as boxes of
    one tile did. Only boxes that leave their core can overlap others', so few are compared. Of the
    look at the whole scene those count that are larger than what tiles see whole; they go through
    the same NMS, and a box that was cut goes where it lies in one of them.

    Args:
        bands: of one scene, in any order.
        width, height: of the scene, pixels.
        tiling: of the scene.
        nms_iou: of two boxes that overlap by more, the lesser goes.
        class_agnostic: NMS over all classes together.
    """
    found = BandDetections.of(0, sorted(bands, key=lambda band: band.index))
    found = _select(found, ~_small_in_whole(found, tiling))
    order = np.argsort(-found.scores, kind="stable")
    found = _select(found, order)
    groups = np.zeros_like(found.labels) if class_agnostic else found.labels
    is_whole = found.tiles == WHOLE
    cores = tiling.cores(np.maximum(found.tiles, 0).astype(np.int64), width, height)
    leaves = (found.boxes[:, :2] < cores[:, :2]).any(axis=1)
    leaves |= (found.boxes[:, 2:] > cores[:, 2:]).any(axis=1)
    better = []
    worse = []
    parts = []
    for one, other in overlapping_pairs(found.boxes, leaves | is_whole):
        apart = (found.tiles[one] != found.tiles[other]) & (groups[one] == groups[other])
        one, other = one[apart], other[apart]
        boxes = found.boxes.astype(np.float64)
        shared = intersections(boxes[one], boxes[other])
        size_one, size_other = areas(boxes[one]), areas(boxes[other])
        same = shared > nms_iou * (size_one + size_other - shared)
        better.append(np.minimum(one, other)[same])
        worse.append(np.maximum(one, other)[same])
        part = is_whole[one] & found.cut[other] & (size_other < size_one)
        parts.append(other[part & (shared >= _COVERED * size_other)])
    keep = np.ones(len(found), np.bool_)
    if parts:
        keep[np.concatenate(parts)] = False
    if better:
        keep = keep_greedily(keep, np.concatenate(better), np.concatenate(worse))
    return _select(found, keep)


def _small_in_whole(found: BandDetections, tiling: Tiling) -> NDArray[np.bool_]:
    """[N] whether a box of the look at the whole scene is no larger than what tiles see whole."""
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    small: NDArray[np.bool_] = np.all(sides <= np.array(tiling.largest_whole[::-1]), axis=1)
    small &= found.tiles == WHOLE
    return small


def _select(found: BandDetections, keep: NDArray[np.bool_] | NDArray[np.int64]) -> BandDetections:
    return replace(
        found,
        boxes=found.boxes[keep],
        scores=found.scores[keep],
        labels=found.labels[keep],
        tiles=found.tiles[keep],
        cut=found.cut[keep],
    )
