"""Finding objects in scenes of any size, window by window.

**The law.** What is found in a scene in tiles equals what one pass over the whole scene finds, up
to what the network sees of a tile's surroundings: an output of the network depends on the input
pixels around it, and those beyond the tile's border are missing, as those beyond the edge of any
image. An object is owned by a tile that sees it whole with some of its surroundings (see
`tiling`). With a detector that looks at nothing but the object both are equal, box by box.

Memory holds a few windows and the boxes. One thread reads and resizes windows while the network
computes those before.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.loading.prefetch import Input
from foveal.data.transforms.preparation import fill_values
from foveal.data.transforms.resampling import paint, resize_into
from foveal.detection.postprocessing import Origin
from foveal.geometry.placement import Placement
from foveal.inference.tiling import (
    LARGEST_SIDE,
    WHOLE,
    Band,
    BandDetections,
    Tiling,
    claim,
    merge_bands,
    plan_bands,
)
from foveal.structures import Detections, Sample, Target
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from foveal.data.images.rasters import Raster
    from foveal.inference.predictor import Predictor

_PIXELS_AT_ONCE = 2**24
"""Scene pixels of a window that are read at once, where it is shrunk to half or less."""
_AHEAD = 1
"""Windows that are read before the network asks for them, beyond a batch."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A window of a scene, ready for the network.

    Attributes:
        tile: its number, or `tiling.WHOLE`.
        inputs: one for each view.
        window: left, top, right and bottom, scene pixels.
        valid: [h, w], which parts of the window hold data; None where all do.
    """

    tile: int
    inputs: list[Input]
    window: tuple[int, int, int, int]
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True, eq=False)
class SceneDetector:
    """A predictor that looks at scenes in tiles.

    A tile may have as many detections as an image of the predictor's, for each image's area in it.

    Attributes:
        predictor: finds the objects.
        tiling: of the scene; see `Predictor.tiling_for`.
        whole: look at the whole scene once more, shrunk, for objects that no tile sees whole.
        index: the scene's position among the images, for the predictor's observer.
    """

    predictor: Predictor
    tiling: Tiling
    whole: bool = False
    index: int = 0

    def bands(self, raster: Raster) -> tuple[Band, ...]:
        """The bands of a scene: rows of tiles, and the look at the whole if there is one."""
        return plan_bands(raster.width, raster.height, self.tiling, whole=self.whole)

    def detect_band(self, raster: Raster, band: Band) -> BandDetections:
        """Find objects in one band.

        What is found depends on nothing but the scene, the model and the settings: a band gives the
        same alone as among others.

        Args:
            raster: the scene.
            band: of `bands`.

        Raises:
            ImageError: the scene can't be read there.
        """
        return next(self.detect_bands(raster, [band]))

    def detect_bands(
        self,
        raster: Raster,
        bands: Iterable[Band],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[BandDetections]:
        """Find objects in some bands, one after another; windows are read ahead across them.

        Args:
            raster: the scene.
            bands: of `bands`.
            progress: is told how many windows were looked at since it was last called.

        Raises:
            ImageError: the scene can't be read somewhere.
        """
        bands = tuple(bands)
        tiles = (tile for band in bands for tile in _tiles(band))
        with closing(self._read_ahead(raster, tiles)) as looks:
            for band in bands:
                yield self._detect(raster, band, islice(looks, band.looks), progress)

    def merge(self, raster: Raster, bands: Sequence[BandDetections]) -> Detections:
        """Put all bands of a scene together.

        Args:
            raster: the scene; nothing is read.
            bands: one for each of `bands`, in any order.

        Returns:
            Boxes in scene pixels, best first, with the scene's place on the map.
        """
        merged = self._merged(raster, bands)
        return Detections(
            merged.boxes,
            merged.scores,
            merged.labels,
            classes=self.predictor.classes,
            width=raster.width,
            height=raster.height,
            path=raster.path,
            left_out_score=merged.left_out_score,
            georeference=raster.georeference,
        )

    def detect(
        self, raster: Raster, progress: Callable[[int, int], None] | None = None
    ) -> Detections:
        """Find objects in a scene.

        Args:
            raster: the scene.
            progress: is told (windows done, windows).

        Raises:
            ImageError: the scene can't be read.
        """
        return self.look(raster, progress)[0]

    def look(
        self, raster: Raster, progress: Callable[[int, int], None] | None = None
    ) -> tuple[Detections, SceneSummary]:
        """Find objects in a scene, as `detect`; and what should be said of them."""
        bands = self.bands(raster)
        total, done = sum(band.looks for band in bands), 0

        def advance(windows: int) -> None:
            nonlocal done
            done += windows
            if progress is not None:
                progress(done, total)

        found = list(self.detect_bands(raster, bands, advance))
        return self.merge(raster, found), self.summarize(raster, found)

    def summarize(self, raster: Raster, bands: Sequence[BandDetections]) -> SceneSummary:
        """What should be said of what was found in a scene.

        Args:
            raster: the scene; nothing is read.
            bands: all of them.
        """
        merged = self._merged(raster, bands)
        cut = merged.boxes[merged.cut]
        height, width = self.tiling.largest_whole
        return SceneSummary(
            raster.name,
            cut=len(cut),
            first_cut=(float(cut[0, 0]), float(cut[0, 1])) if len(cut) else None,
            largest_whole=(width, height),
            capped=merged.capped,
            looked=merged.looked,
            skipped=merged.skipped,
            limit=self._times() * self.predictor.max_detections,
            whole=self.whole,
            notes=raster.notes,
        )

    def _merged(self, raster: Raster, bands: Sequence[BandDetections]) -> BandDetections:
        return merge_bands(
            bands,
            raster.width,
            raster.height,
            self.tiling,
            nms_iou=self.predictor.nms_iou,
            class_agnostic=self.predictor.class_agnostic,
        )

    def _times(self) -> int:
        """How many images of the predictor's a tile is as large as."""
        preparation = self.predictor.preparation
        longer = preparation.longer if preparation.mode == "keep" else preparation.shorter
        height, width = self.tiling.size
        return max(1, math.ceil(height * width / (preparation.shorter * longer)))

    def _detect(
        self,
        raster: Raster,
        band: Band,
        looks: Iterator[Look | None],
        progress: Callable[[int], None] | None,
    ) -> BandDetections:
        """Find objects in the windows of one band."""
        waiting: dict[int, Look] = {}
        skipped = 0

        def inputs() -> Iterator[list[Input]]:
            nonlocal skipped
            for look in looks:
                if look is None:
                    skipped += 1
                    if progress is not None:
                        progress(1)
                    continue
                waiting[look.tile] = look
                yield look.inputs

        times = self._times()
        predictor = self.predictor
        if times > 1:
            predictor = replace(
                predictor,
                max_detections=times * predictor.max_detections,
                top_per_level=times * predictor.top_per_level,
                batch=max(1, predictor.batch // times),
            )
        parts = []
        for item, found in predictor.look(inputs()):
            parts.append(self._claim(raster, waiting.pop(item.tile), found))
            if progress is not None:
                progress(1)
        parts.sort(key=lambda part: part.index)
        return replace(BandDetections.of(band.index, parts), skipped=skipped)

    def _claim(self, raster: Raster, look: Look, found: Detections) -> BandDetections:
        """What a tile may keep of what it found; its number stands in place of the band's."""
        boxes = found.boxes
        if look.tile == WHOLE:
            keep, cut = np.ones(len(found), np.bool_), np.zeros(len(found), np.bool_)
        else:
            keep, cut = claim(boxes, look.tile, raster.width, raster.height, self.tiling)
        if look.valid is not None:
            keep &= _on_valid(boxes, look)
        kept = int(keep.sum())
        return BandDetections(
            look.tile,
            boxes[keep],
            found.scores[keep],
            found.labels[keep],
            np.full(kept, look.tile, np.int32),
            cut[keep],
            left_out_score=found.left_out_score,
            capped=int(found.capped),
            looked=1,
        )

    def _read_ahead(
        self, raster: Raster, tiles: Iterator[int]
    ) -> Generator[Look | None, None, None]:
        """Windows in order, read in a thread a little before they are asked for."""
        ahead = self.predictor.batch // self._times() + _AHEAD
        pool = ThreadPoolExecutor(1, thread_name_prefix="foveal-windows")
        coming: deque[Future[Look | None]] = deque()
        try:
            while True:
                for tile in islice(tiles, ahead + 1 - len(coming)):
                    coming.append(pool.submit(self._read, raster, tile))
                if not coming:
                    return
                yield coming.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, raster: Raster, tile: int) -> Look | None:
        """Read a tile and make its inputs; None where it holds no valid pixel of its own."""
        if tile == WHOLE:
            return self._read_whole(raster)
        window = self.tiling.window_of(tile, raster.width, raster.height)
        scales = self.tiling.scales
        pixels, valid, (rows, columns) = _read_shrunk(raster, window, min(scales))
        if valid is not None:
            core = self.tiling.cores(np.array([tile]), raster.width, raster.height)[0]
            down, across = self.tiling.strip
            wider = core + np.array([-across, -down, across, down])
            if not _part(valid, window, wider).any():
                return None
        height, width = self.tiling.size
        return self._look(
            tile,
            pixels,
            valid,
            raster,
            window=window,
            shown=(rows, columns),
            # A tile at the scene's edge shows less, at the same scale.
            size=(max(1, round(rows * scales[0])), max(1, round(columns * scales[1]))),
            full=(height, width),
        )

    def _read_whole(self, raster: Raster) -> Look:
        taken = self.predictor.runtime.sizes
        largest = (taken.height or LARGEST_SIDE, taken.width or LARGEST_SIDE)
        scale = min(1.0, largest[0] / raster.height, largest[1] / raster.width)
        shown = raster.overview(max(1, math.floor(max(raster.height, raster.width) * scale)))
        height, width = shown.pixels.shape[:2]
        size = (min(height, largest[0]), min(width, largest[1]))
        return self._look(
            WHOLE,
            shown.pixels,
            shown.valid,
            raster,
            window=(0, 0, raster.width, raster.height),
            shown=(raster.height, raster.width),
            size=size,
            full=size,
        )

    def _look(
        self,
        tile: int,
        pixels: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None,
        raster: Raster,
        *,
        window: tuple[int, int, int, int],
        shown: tuple[int, int],
        size: tuple[int, int],
        full: tuple[int, int],
    ) -> Look:
        """Make a window's inputs, one for each view.

        Args:
            tile: its number.
            pixels: [h, w, bands], the window.
            valid: [h, w].
            raster: the scene.
            window: left, top, right and bottom, scene pixels.
            shown: (height, width) of what the pixels stand for, scene pixels.
            size: (height, width) of the window in the input of a view of scale 1.
            full: (height, width) of that input.
        """
        predictor = self.predictor
        fill = fill_values(predictor.preparation.fill, pixels.shape[2])
        if valid is not None and not valid.all():
            pixels[~valid] = fill
        left, top = window[:2]
        inputs = []
        for view, (factor, flipped) in enumerate(predictor.views):
            height, width = (max(1, round(side * factor)) for side in size)
            out = np.empty((*self._input_size(full, factor), pixels.shape[2]), np.uint8)
            resize_into(pixels, out[:height, :width])
            if flipped:
                out[:height, :width] = out[:height, :width][:, ::-1].copy()
            paint(out[height:], fill)
            paint(out[:height, width:], fill)
            scale_y, scale_x = height / shown[0], width / shown[1]
            first = raster.width - left - shown[1] if flipped else left
            placement = Placement(
                raster.width,
                raster.height,
                scale_x,
                scale_y,
                offset_x=-first * scale_x,
                offset_y=-top * scale_y,
            )
            origin = Origin(placement, mirrored=flipped, path=raster.path)
            sample = Sample(out, Target.empty(), raster.name)
            inputs.append(Input(self.index, view, sample, origin, tile=tile))
        return Look(tile, inputs, window, valid)

    def _input_size(self, full: tuple[int, int], factor: float) -> tuple[int, int]:
        """(height, width) of the input of a view."""
        taken = self.predictor.runtime.sizes
        multiple = math.lcm(taken.multiple, self.predictor.preparation.multiple)
        height, width = (-(-max(1, round(side * factor)) // multiple) * multiple for side in full)
        return taken.height or height, taken.width or width


@dataclass(frozen=True, slots=True)
class SceneSummary:
    """What should be said of what was found in a scene.

    Attributes:
        name: of the scene.
        cut: boxes that may show a part of an object only.
        first_cut: the upper left corner of the best of them, scene pixels.
        largest_whole: width and height of the largest object that windows surely see whole.
        capped: windows in which more was found than may be.
        looked, skipped: windows that were looked at, and that hold no data.
        limit: detections that a window may have.
        whole: whether the whole scene was looked at too.
        notes: what is to be told of the file, see `foveal.data.images.rasters.Raster`.
    """

    name: str
    cut: int
    first_cut: tuple[float, float] | None
    largest_whole: tuple[float, float]
    capped: int
    looked: int
    skipped: int
    limit: int
    whole: bool
    notes: tuple[str, ...] = ()


def describe_summaries(summaries: Sequence[SceneSummary]) -> tuple[str, ...]:
    """What people should know of scenes that were looked at, a sentence for each kind.

    Args:
        summaries: of one or more scenes.
    """
    said = []
    noted = Counter(note for each in summaries for note in each.notes)
    for note, count in noted.items():
        first_noted = next(each.name for each in summaries if note in each.notes)
        others = f" ({count - 1:,} more like it)" if count > 1 else ""
        said.append(f"{first_noted}{others}: {note}.")
    cut = [each for each in summaries if each.first_cut is not None]
    if cut:
        first = cut[0]
        x, y = first.first_cut or (0, 0)
        width, height = first.largest_whole
        more = "" if first.whole else ", or with --whole (in Python whole=True)"
        said.append(
            f"{counted(sum(each.cut for each in cut), 'box')} of {counted(len(cut), 'scene')} may "
            f"show a part of an object only, the first at {x:,.0f}, {y:,.0f} of {first.name}: "
            f"windows show objects of up to {width:,.0f} x {height:,.0f} pixels whole. Look again "
            f"with a larger --overlap (in Python overlap=){more}."
        )
    capped = [each for each in summaries if each.capped]
    if capped:
        first = capped[0]
        said.append(
            f"In {sum(each.capped for each in capped):,} of "
            f"{counted(sum(each.looked for each in capped), 'window')} more was found than the "
            f"limit of {counted(first.limit, 'detection')} a window lets through, first in "
            f"{first.name}: counts may be too low, and are marked as capped. Look again with a "
            "larger --max-detections (in Python predictor(max_detections=))."
        )
    skipped = sum(each.skipped for each in summaries)
    if skipped:
        total = skipped + sum(each.looked for each in summaries)
        said.append(f"{skipped:,} of {counted(total, 'window')} hold no data and were skipped.")
    return tuple(said)


def _tiles(band: Band) -> Iterable[int]:
    return (WHOLE,) if band.is_whole else range(*band.tiles)


def _read_shrunk(
    raster: Raster, window: tuple[int, int, int, int], scale: float
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None, tuple[int, int]]:
    """Read a window; a large one that is to be shrunk is read and shrunk piece by piece.

    Args:
        raster: the scene.
        window: left, top, right and bottom, scene pixels.
        scale: to which it will be resized; below 0.5 it may come back shrunk by a whole factor.

    Returns:
        Pixels, their mask, and (height, width) of what they stand for, scene pixels: shrunk by a
        whole factor, the last row and column may reach beyond the window.
    """
    left, top, right, bottom = window
    factor = int(1 / scale)
    if factor < 2 or (right - left) * (bottom - top) <= _PIXELS_AT_ONCE:
        read = raster.read(*window)
        return read.pixels, read.valid, (bottom - top, right - left)
    width = -(-(right - left) // factor)
    rows = max(1, _PIXELS_AT_ONCE // (right - left) // factor) * factor
    pieces: list[NDArray[np.uint8]] = []
    masks: list[NDArray[Any]] = []
    for first in range(top, bottom, rows):
        last = min(bottom, first + rows)
        read = raster.read(left, first, right, last)
        height = -(-(last - first) // factor)
        beyond = (0, factor * height - (last - first)), (0, factor * width - (right - left))
        small = np.empty((height, width, read.pixels.shape[2]), np.uint8)
        resize_into(np.pad(read.pixels, (*beyond, (0, 0)), "edge"), small)
        pieces.append(small)
        if read.valid is None:
            masks.append(np.ones((height, width), np.bool_))
        else:
            valid = np.pad(read.valid, beyond, "edge")
            masks.append(np.any(valid.reshape(height, factor, width, factor), axis=(1, 3)))
    pixels, mask = np.concatenate(pieces), np.concatenate(masks)
    stands_for = (factor * pixels.shape[0], factor * pixels.shape[1])
    return pixels, None if mask.all() else mask, stands_for


def _part(
    valid: NDArray[np.bool_], window: tuple[int, int, int, int], box: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """The part of a window's mask that lies in a box, scene pixels."""
    left, top, right, bottom = window
    height, width = valid.shape
    shrink_x, shrink_y = width / (right - left), height / (bottom - top)
    x = np.clip((box[[0, 2]] - left) * shrink_x, 0, width)
    y = np.clip((box[[1, 3]] - top) * shrink_y, 0, height)
    return valid[int(y[0]) : math.ceil(y[1]), int(x[0]) : math.ceil(x[1])]


def _on_valid(boxes: NDArray[np.float32], look: Look) -> NDArray[np.bool_]:
    """[N] whether the centers of boxes, scene pixels, lie where a window holds data."""
    assert look.valid is not None
    left, top, right, bottom = look.window
    height, width = look.valid.shape
    centers = (boxes[:, :2].astype(np.float64) + boxes[:, 2:]) / 2
    x = (centers[:, 0] - left) * (width / (right - left))
    y = (centers[:, 1] - top) * (height / (bottom - top))
    column = np.clip(x.astype(np.int64), 0, width - 1)
    row = np.clip(y.astype(np.int64), 0, height - 1)
    on: NDArray[np.bool_] = look.valid[row, column]
    return on
