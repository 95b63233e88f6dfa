"""One batch from one task: the images read, prepared or augmented, and put together."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from foveal.data.images.reading import image_size, read_image
from foveal.data.loading.collate import make_batch
from foveal.data.loading.object_pool import ObjectPool, around
from foveal.data.loading.plan import BatchTask, image_generator
from foveal.data.loading.rasters import OpenRasters
from foveal.data.loading.windows import (
    BACKGROUND,
    WHOLE,
    Rectangle,
    cut_target,
    draw_aim,
    draw_window,
    plan_windows,
)
from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.pasting import Cutout
from foveal.data.transforms.preparation import fill_values
from foveal.errors import FovealError, ImageError
from foveal.geometry.placement import Placement
from foveal.structures import RGB, Batch, PixelRange, Sample, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset, Record
    from foveal.data.images.rasters import Raster
    from foveal.data.loading.cache import ImageCache
    from foveal.data.transforms.preparation import Preparation
    from foveal.data.transforms.user import Change

logger = logging.getLogger(__name__)

BadImages = Literal["stop", "skip"]
_MOST_EMPTY = 0.5
_PLACES_READ = 4
"""A window without objects of which more than this share holds no data is cut elsewhere, so often
at most."""
_TRIES = 20
"""So many broken images in a row, and "skip" stops too."""


class LoadedBatch(NamedTuple):
    """What a worker sends back: a batch or an error, and the images that were skipped."""

    batch: Batch | None
    skipped: tuple[tuple[int, str], ...] = ()
    error: FovealError | None = None


@dataclass(frozen=True)
class ImageSource:
    """A data set's images as samples, decoded or from the cache.

    Attributes:
        dataset: the records.
        sizes: [N, 2] width and height of each image, pixels; zeros for a broken one.
        pixel_range: the bands and limits of the pixels.
        cache: where decoded images are kept, if anywhere.
        rasters: images of which windows are read.
    """

    dataset: Dataset
    sizes: NDArray[np.int64]
    pixel_range: PixelRange = RGB
    cache: ImageCache | None = None
    rasters: OpenRasters = field(default_factory=OpenRasters)

    def sample(self, index: int) -> Sample:
        """Image `index` with its target, original pixels; its image is not to be written to.

        Raises:
            ImageError: the image can't be read.
        """
        path = self.dataset.records[index].path
        image = None if self.cache is None else self.cache.get(index)
        if image is None:
            image = read_image(path, self.pixel_range)
            if self.cache is not None:
                self.cache.put(index, image)
        return Sample(image, self.dataset.target(index), str(path))

    def window(
        self,
        index: int,
        place: Callable[[int, int], Rectangle],
        *,
        min_visibility: float,
        fill: tuple[int, ...],
    ) -> Sample:
        """A window of image `index` with its target, in the window's pixels.

        Nothing but the window is read, unless the image has a place in the cache.

        Args:
            index: the image's position.
            place: gives the window from the image's width and height.
            min_visibility: see `foveal.data.loading.windows.cut_target`.
            fill: the value of each band where the image holds no data, as in prediction.

        Raises:
            ImageError: the image can't be read.
        """
        path = self.dataset.records[index].path
        image = None if self.cache is None else self.cache.get(index)
        if image is not None:
            left, top, right, bottom = rectangle = place(image.shape[1], image.shape[0])
            pixels = image[top:bottom, left:right]
        else:
            raster = self.rasters.open(path, self.pixel_range)
            rectangle = place(raster.width, raster.height)
            pixels = _read_filled(raster, rectangle, fill)
            if self.cache is not None and index < self.cache.places:
                whole = (0, 0, raster.width, raster.height)
                self.cache.put(index, _read_filled(raster, whole, fill))
        target = cut_target(self.dataset.target(index), rectangle, min_visibility=min_visibility)
        return Sample(pixels, target, str(path))


def _read_filled(raster: Raster, window: Rectangle, fill: tuple[int, ...]) -> NDArray[np.uint8]:
    """A window's pixels, filled where there is no data."""
    shown = raster.read(*window)
    if shown.valid is not None:
        shown.pixels[~shown.valid] = fill_values(fill, shown.pixels.shape[2])
    return shown.pixels


def _is_mostly_fill(pixels: NDArray[np.uint8], fill: tuple[int, ...]) -> bool:
    """Whether more than half of the pixels hold no data, as far as their values tell."""
    empty = (pixels == fill_values(fill, pixels.shape[2])).all(axis=2)
    return bool(empty.mean() > _MOST_EMPTY)


@dataclass(frozen=True)
class BatchMaker:
    """Makes the batch that a task asks for; the same whatever was asked before, and by whom.

    Attributes:
        source: the images.
        preparation: brings them to the input's size.
        change: the augmentation, if any.
        usable: positions of images that may stand in for a broken one, or make a mosaic.
        bad_images: "stop" makes a broken image an error; "skip" puts another in its place where
            `usable` has any, and else leaves it out.
        min_visibility: an object of which a window shows less becomes a region to ignore.
        objects: those that may be pasted into other images; None where there are none.
    """

    source: ImageSource
    preparation: Preparation
    change: Augmentation | Change | None
    usable: NDArray[np.int64]
    bad_images: BadImages
    min_visibility: float = 0.25
    objects: ObjectPool | None = None

    def __getitem__(self, task: BatchTask) -> LoadedBatch:
        """The batch, or the error that it met."""
        skipped: list[tuple[int, str]] = []
        preparation = self.preparation.with_shorter(task.shorter)
        images = np.empty((len(task.indices), *task.size, self.source.pixel_range.bands), np.uint8)
        prepared: list[tuple[Sample, Placement]] = []
        indices: list[int] = []
        aims = task.aims or (None,) * len(task.indices)
        for index, repeat, turns, aim in zip(
            task.indices, task.repeats, task.turns, aims, strict=True
        ):
            generator = image_generator(task.seed, task.epoch, index, repeat)
            out = images[len(prepared)]
            zoom = self._draw_zoom(generator)
            try:
                found, sample = self._read(index, aim, zoom, generator, preparation, skipped)
                if sample is not None:
                    prepared.append(
                        self._prepare(
                            sample, generator, preparation, task, turns, zoom, skipped, out
                        )
                    )
                    indices.append(found)
            except FovealError as error:
                return LoadedBatch(None, tuple(skipped), error)
            except Exception as error:
                error.add_note(f"while preparing {self.source.dataset.records[index].path}")
                raise
        if not prepared:
            return LoadedBatch(None, tuple(skipped))
        batch = make_batch(prepared, images=images[: len(prepared)], indices=indices)
        return LoadedBatch(batch, tuple(skipped))

    @property
    def _cuts_windows(self) -> bool:
        return self.preparation.mode == "windows"

    def _draw_zoom(self, generator: Generator) -> float | None:
        """Of a window, which shows more or less of the image by it; None for whole images."""
        if not self._cuts_windows or not isinstance(self.change, Augmentation):
            return None
        return self.change.draw_zoom(generator)

    def _read(
        self,
        index: int,
        aim: int | None,
        zoom: float | None,
        generator: Generator,
        preparation: Preparation,
        skipped: list[tuple[int, str]],
    ) -> tuple[int, Sample | None]:
        """The sample, or another one's in its place: where it was found, and what."""
        for _ in range(_TRIES):
            try:
                if not self._cuts_windows:
                    return index, self.source.sample(index)
                return index, self._cut(index, aim, zoom or 1.0, generator, preparation)
            except ImageError as error:
                if self.bad_images == "stop":
                    raise
                skipped.append((index, str(error)))
            if not len(self.usable):
                return index, None
            index, aim = int(generator.choice(self.usable)), None
        raise ImageError(
            f"{_TRIES} images in a row can't be read, the last of them: {skipped[-1][1]}"
        )

    def _cut(
        self,
        index: int,
        aim: int | None,
        zoom: float,
        generator: Generator,
        preparation: Preparation,
    ) -> Sample:
        """A window of an image; where no plan says what it is to show, any object of the image."""
        record = self.source.dataset.records[index]
        side = math.ceil(preparation.shorter / (preparation.scale * zoom) - 1e-6)

        def place(width: int, height: int) -> Rectangle:
            fits = max(preparation.scaled_size(width, height)) <= preparation.shorter
            chosen = aim
            if chosen is None or (chosen == WHOLE and not fits):
                chosen = draw_aim(record, fits=fits, generator=generator)
            return draw_window(record, width, height, side=side, aim=chosen, generator=generator)

        for _ in range(_PLACES_READ if aim == BACKGROUND else 1):
            sample = self.source.window(
                index, place, min_visibility=self.min_visibility, fill=preparation.fill
            )
            if not _is_mostly_fill(sample.image, preparation.fill):
                break
        return sample

    def _prepare(
        self,
        sample: Sample,
        generator: Generator,
        preparation: Preparation,
        task: BatchTask,
        turns: int,
        zoom: float | None,
        skipped: list[tuple[int, str]],
        out: NDArray[np.uint8],
    ) -> tuple[Sample, Placement]:
        if not isinstance(self.change, Augmentation):
            if self.change is not None:
                sample = self.change(sample, generator)
            return preparation(sample, size=task.size, out=out)

        def another() -> Sample:
            chosen = int(generator.choice(self.usable))
            found = self._read(chosen, None, None, generator, preparation, skipped)[1]
            assert found is not None
            return found

        def donor() -> Cutout | None:
            return self._cut_out(generator, preparation, skipped)

        changed = self.change(
            sample,
            generator,
            preparation,
            size=task.size,
            turns=turns,
            zoom=zoom,
            another=another if task.strong else None,
            donor=donor if task.strong and self.objects is not None else None,
            out=out,
        )
        return changed, Placement(task.size[1], task.size[0])

    def _cut_out(
        self, generator: Generator, preparation: Preparation, skipped: list[tuple[int, str]]
    ) -> Cutout | None:
        """An object of any image with what surrounds it; None where its image can't be read."""
        assert self.objects is not None
        index, position = self.objects.draw(generator)
        box = self.source.dataset.records[index].boxes[position]
        try:
            if self._cuts_windows:
                sample, rectangle = self._window_around(index, box, preparation)
                scale = preparation.scale
            else:
                whole = self.source.sample(index)
                height, width = whole.image.shape[:2]
                left, top, right, bottom = rectangle = around(box, width, height)
                sample = replace(whole, image=whole.image[top:bottom, left:right])
                scale = preparation.placement_for(width, height).scale_x
        except ImageError as error:
            if self.bad_images == "stop":
                raise
            skipped.append((index, str(error)))
            return None
        return make_cutout(
            sample,
            self.source.dataset.target(index),
            rectangle,
            position=position,
            scale=scale,
            min_visibility=self.min_visibility,
        )

    def _window_around(
        self, index: int, box: NDArray[np.float32], preparation: Preparation
    ) -> tuple[Sample, Rectangle]:
        """What an image shows around a box, and where."""
        found: list[Rectangle] = []

        def place(width: int, height: int) -> Rectangle:
            found.append(around(box, width, height))
            return found[-1]

        sample = self.source.window(
            index, place, min_visibility=self.min_visibility, fill=preparation.fill
        )
        return sample, found[-1]


def make_cutout(
    sample: Sample,
    target: Target,
    rectangle: Rectangle,
    *,
    position: int,
    scale: float,
    min_visibility: float,
) -> Cutout | None:
    """An object that is cut out, with all that its box shows; None where nothing of it is inside.

    Args:
        sample: its image is the cut.
        target: what the whole image shows, original pixels.
        rectangle: of the cut, original pixels.
        position: of the object in the target.
        scale: input pixels that an original pixel becomes.
        min_visibility: another object of which the object's box shows a smaller share becomes a
            region to ignore.
    """
    left, top, right, bottom = rectangle
    inside = np.array([[left, top, right, bottom]], np.float32)
    box = np.clip(target.boxes[position], inside[0, [0, 1, 0, 1]], inside[0, [2, 3, 2, 3]])
    if not (box[2:] > box[:2]).all():
        return None
    others = target.select(np.arange(len(target)) != position)
    low, high = np.maximum(others.boxes[:, :2], box[:2]), np.minimum(others.boxes[:, 2:], box[2:])
    seen = np.maximum(high - low, 0).prod(axis=1)
    areas = (others.boxes[:, 2:] - others.boxes[:, :2]).prod(axis=1)
    little = seen < min_visibility * areas
    others = others.transformed(np.hstack([low, high]))
    others = replace(others, ignored=others.ignored | little).select(seen > 0)
    own = target.select(np.array([position])).transformed(box[None])
    shown = Target.concatenate([own, others])
    shift = np.array([left, top, left, top], np.float32)
    return Cutout(replace(sample, target=shown.transformed(shown.boxes - shift)), scale)


def sample_windows(
    dataset: Dataset,
    preparation: Preparation,
    pixel_range: PixelRange,
    *,
    count: int,
    seed: int = 0,
) -> list[NDArray[np.uint8]]:
    """Windows of a data set's images as an epoch would have them, at most so many.

    Args:
        dataset: the images.
        preparation: with mode "windows".
        pixel_range: the bands and limits of the pixels.
        count: of windows.
        seed: gives the same ones again.

    Returns:
        Each [h, w, C], original pixels.

    Raises:
        ImageError: an image can't be read.
    """
    source = open_source(dataset, pixel_range, bad_images="stop")
    plan = plan_windows(dataset, source.sizes, preparation, background_fraction=0.0)
    images, aims = plan.draw(seed=seed, epoch=0)
    side = math.ceil(preparation.shorter / preparation.scale - 1e-6)
    found = []
    for number, (index, aim) in enumerate(
        zip(images[:count].tolist(), aims[:count].tolist(), strict=True)
    ):
        place = partial(
            _draw_place, dataset.records[index], side, aim, image_generator(seed, 0, index, number)
        )
        sample = source.window(index, place, min_visibility=0.0, fill=preparation.fill)
        found.append(sample.image)
    return found


def _draw_place(
    record: Record, side: int, aim: int, generator: Generator, width: int, height: int
) -> Rectangle:
    return draw_window(record, width, height, side=side, aim=aim, generator=generator)


def open_source(dataset: Dataset, pixel_range: PixelRange, *, bad_images: BadImages) -> ImageSource:
    """The source of a data set's images; of those whose size no record says, headers are read.

    Raises:
        ImageError: such an image is broken and not to be skipped.
    """
    sizes = np.zeros((len(dataset.records), 2), np.int64)
    for index, record in enumerate(dataset.records):
        if record.width > 0 and record.height > 0:
            sizes[index] = record.width, record.height
            continue
        try:
            sizes[index] = image_size(record.path)
        except ImageError as error:
            if bad_images == "stop":
                raise
            logger.warning("Skipped: %s", error)
    return ImageSource(dataset, sizes, pixel_range)
