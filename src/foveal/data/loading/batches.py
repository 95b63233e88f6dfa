"""One batch from one task: the images read, prepared or augmented, and put together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from foveal.data.images.reading import image_size, read_image
from foveal.data.loading.collate import make_batch
from foveal.data.loading.plan import BatchTask, image_generator
from foveal.data.transforms.augmentation import Augmentation
from foveal.errors import FovealError, ImageError
from foveal.geometry.placement import Placement
from foveal.structures import RGB, Batch, PixelRange, Sample

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.data.loading.cache import ImageCache
    from foveal.data.transforms.user import Change
from foveal.data.transforms.preparation import Preparation

logger = logging.getLogger(__name__)

BadImages = Literal["stop", "skip"]
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
    """

    dataset: Dataset
    sizes: NDArray[np.int64]
    pixel_range: PixelRange = RGB
    cache: ImageCache | None = None

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
    """

    source: ImageSource
    preparation: Preparation
    change: Augmentation | Change | None
    usable: NDArray[np.int64]
    bad_images: BadImages

    def __getitem__(self, task: BatchTask) -> LoadedBatch:
        """The batch, or the error that it met."""
        skipped: list[tuple[int, str]] = []
        preparation = self.preparation.with_shorter(task.shorter)
        images = np.empty((len(task.indices), *task.size, self.source.pixel_range.bands), np.uint8)
        prepared: list[tuple[Sample, Placement]] = []
        indices: list[int] = []
        for index, repeat, turns in zip(task.indices, task.repeats, task.turns, strict=True):
            generator = image_generator(task.seed, task.epoch, index, repeat)
            out = images[len(prepared)]
            try:
                found, sample = self._read(index, generator, skipped)
                if sample is not None:
                    prepared.append(
                        self._prepare(
                            sample, generator, preparation, task.size, turns, skipped, out
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

    def _read(
        self, index: int, generator: Generator, skipped: list[tuple[int, str]]
    ) -> tuple[int, Sample | None]:
        """The sample, or another one's in its place: where it was found, and what."""
        for _ in range(_TRIES):
            try:
                return index, self.source.sample(index)
            except ImageError as error:
                if self.bad_images == "stop":
                    raise
                skipped.append((index, str(error)))
            if not len(self.usable):
                return index, None
            index = int(generator.choice(self.usable))
        raise ImageError(
            f"{_TRIES} images in a row can't be read, the last of them: {skipped[-1][1]}"
        )

    def _prepare(
        self,
        sample: Sample,
        generator: Generator,
        preparation: Preparation,
        size: tuple[int, int],
        turns: int,
        skipped: list[tuple[int, str]],
        out: NDArray[np.uint8],
    ) -> tuple[Sample, Placement]:
        if not isinstance(self.change, Augmentation):
            if self.change is not None:
                sample = self.change(sample, generator)
            return preparation(sample, size=size, out=out)

        def another() -> Sample:
            found = self._read(int(generator.choice(self.usable)), generator, skipped)[1]
            assert found is not None
            return found

        changed = self.change(
            sample, generator, preparation, size=size, turns=turns, another=another, out=out
        )
        return changed, Placement(size[1], size[0])


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
