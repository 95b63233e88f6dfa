"""Images to calibrate and to compare with, prepared as prediction prepares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.data.checks.readiness import Readiness
from foveal.data.images.headers import decode_whole
from foveal.data.images.inputs import to_pixels
from foveal.data.loading.batches import sample_windows
from foveal.data.synthetic import draw_smear
from foveal.data.transforms.preparation import make_pixel_range, make_preparation
from foveal.errors import DataError
from foveal.structures import Sample, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.checkpoints.description import Description
    from foveal.config import Settings
    from foveal.data.dataset import Dataset
    from foveal.runtimes.base import InputSizes
    from foveal.structures import ModelCard

_DRAWN_SIDE = 320
"""Pixels of a drawn image's side; it is scaled like any other."""
_SEED = 0
_WINDOWS = 100
"""So many windows at least, however few the images are that they are cut out of."""


def align(dataset: Dataset, card: ModelCard) -> Dataset:
    """A data set with the model's classes; those that its training ignored are ignored.

    Raises:
        DataError: it has no images, or objects of classes that the model does not know; or files
            have another size than the annotations say.
        ImageError: images can't be read.
    """
    present = [name for name in card.ignored_classes if name in dataset.classes]
    aligned = (dataset.ignoring(present) if present else dataset).aligned(card.classes)
    if not len(aligned):
        raise DataError(f"{dataset.name or dataset.root}: has no images. Expected some to export.")
    return Readiness(skip="").make_ready(aligned)


def spread(dataset: Dataset, max_images: int) -> Dataset:
    """At most so many images of a data set, evenly spread over it."""
    count = min(max_images, len(dataset))
    return dataset.take(np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist())


def decodable(dataset: Dataset) -> Dataset:
    """The images that can be decoded: what training passed over is passed over again."""
    faults = [decode_whole(str(path)).fault for path in dataset.paths]
    return dataset.take([index for index, fault in enumerate(faults) if not fault])


def prepare(
    dataset: Dataset, description: Description, sizes: InputSizes
) -> list[NDArray[np.uint8]]:
    """Each image as the network's input [B, C, H, W]; B is 1, or what the network takes.

    Of a network that looks at windows of images they are windows, which it sees in training.

    Raises:
        ImageError: an image can't be read.
    """
    preparation = make_preparation(description.preparation)
    pixel_range = make_pixel_range(description.model, description.preparation)
    batch = sizes.batch or 1
    inputs = []
    if preparation.mode == "windows":
        count = max(len(dataset), _WINDOWS)
        shown = iter(sample_windows(dataset, preparation, pixel_range, count=count))
    else:
        shown = (to_pixels(path, pixel_range) for path in dataset.paths)
    for pixels in shown:
        size = None
        if sizes.height is not None and sizes.width is not None:
            size = (sizes.height, sizes.width)
        sample, _ = preparation(Sample(pixels, Target.empty()), size=size)
        image = sample.image.transpose(2, 0, 1)[None].repeat(batch, axis=0)
        inputs.append(np.ascontiguousarray(image))
    return inputs


def pictures_of(dataset: Dataset | None, settings: Settings, count: int) -> list[NDArray[np.uint8]]:
    """Images or windows [H, W, C] to compare on: of a data set, or drawn where there is none.

    Raises:
        ImageError: an image can't be read.
    """
    if dataset is None:
        return [_drawn(index, settings.model.bands) for index in range(count)]
    pixel_range = make_pixel_range(settings.model, settings.preparation)
    preparation = make_preparation(settings.preparation)
    if preparation.mode == "windows":
        return sample_windows(dataset, preparation, pixel_range, count=count)
    return [to_pixels(path, pixel_range) for path in spread(dataset, count).paths]


def fit(
    pictures: Sequence[NDArray[np.uint8]], settings: Settings, *, size: tuple[int, int], batch: int
) -> NDArray[np.uint8]:
    """Pictures prepared for one input size (height, width): [batch, C, H, W].

    All are different as long as there are enough.
    """
    preparation = make_preparation(settings.preparation)
    chosen = [pictures[index % len(pictures)] for index in range(batch)]
    images = [preparation(Sample(each, Target.empty()), size=size)[0].image for each in chosen]
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def _drawn(index: int, bands: int) -> NDArray[np.uint8]:
    sample = draw_smear(np.random.default_rng((_SEED, index)), size=_DRAWN_SIDE)
    return sample.image[:, :, np.arange(bands) % 3]
