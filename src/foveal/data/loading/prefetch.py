"""Reading images a little ahead of the network: from files to inputs, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.inputs import describe, path_of, to_pixels
from foveal.detection.postprocessing import Origin
from foveal.errors import ImageError, MissingExtraError
from foveal.structures import Sample, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from foveal.data.images.inputs import ImageLike
    from foveal.data.transforms.preparation import Preparation
    from foveal.structures import PixelRange


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at an image.

    Attributes:
        preparation: at which scale.
        flipped: mirrored or not.
        size: (height, width) of the input, where the network takes no other.
    """

    preparation: Preparation
    flipped: bool = False
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One view of an image, ready for the network.

    Attributes:
        index: the image's position among the images.
        view: the view's position among the views.
        sample: the pixels, in the input's frame.
        origin: which image this is, and where it lies in the input.
        pixels: [H, W, C] uint8, the image as it was read, where that is kept.
        tile: which window of the image it shows; 0 where it shows the whole image.
    """

    index: int
    view: int
    sample: Sample
    origin: Origin
    pixels: NDArray[np.uint8] | None = None
    tile: int = 0


@dataclass(frozen=True, slots=True)
class LargeImage:
    """An image that is not read whole, but looked at in windows.

    Attributes:
        index: the image's position among the images.
        image: as it was given.
    """

    index: int
    image: ImageLike


Results = Generator[tuple[int, Callable[[], "list[Input] | LargeImage"]]]
"""Each image's position, and what gives its inputs or raises what went wrong."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes each image's inputs.

    Attributes:
        views: the ways in which each image is looked at.
        pixel_range: as for `foveal.data.images.inputs.to_pixels`.
        workers: threads.
        ahead: how many images are read before they are asked for.
        keep_pixels: keep each image as it was read with its inputs.
        is_large: tells which images are to be looked at in windows; None: none is.
    """

    views: Sequence[View]
    pixel_range: PixelRange
    workers: int
    ahead: int
    keep_pixels: bool = False
    is_large: Callable[[ImageLike], bool] | None = None

    def read(
        self,
        images: Iterable[ImageLike],
        on_error: Callable[[int, ImageError | MissingExtraError], None] | None,
    ) -> Iterator[list[Input] | LargeImage]:
        """Yield each image's inputs, in the images' order; a single image needs no thread.

        A large image comes as it is.

        Args:
            images: looked at one after another, never all at once.
            on_error: is called with each image that can't be read, which is then left out.

        Raises:
            ImageError: an image can't be read, and there is no `on_error`.
            MissingExtraError: what reads it is not installed, and there is no `on_error`.
        """
        numbered = enumerate(images)
        first = list(islice(numbered, 2))
        if len(first) < 2:  # a thread would take longer to start than to read a picture in memory
            made = self._in_this_thread(first)
        else:
            made = self._in_threads(chain(first, numbered))
        with closing(made):
            for index, result in made:
                try:
                    inputs = result()
                except (ImageError, MissingExtraError) as error:
                    if on_error is None:
                        raise
                    on_error(index, error)
                else:
                    yield inputs

    def _in_this_thread(self, numbered: Iterable[tuple[int, ImageLike]]) -> Results:
        for index, image in numbered:
            yield index, partial(self._inputs, index, image)

    def _in_threads(self, numbered: Iterator[tuple[int, ImageLike]]) -> Results:
        pool = ThreadPoolExecutor(max(1, self.workers), thread_name_prefix="foveal-images")
        ahead: deque[tuple[int, Future[list[Input] | LargeImage]]] = deque()
        try:
            while True:
                for index, image in islice(numbered, self.ahead + 1 - len(ahead)):
                    ahead.append((index, pool.submit(self._inputs, index, image)))
                if not ahead:
                    return
                index, future = ahead.popleft()
                yield index, future.result
        finally:
            pool.shutdown(cancel_futures=True)

    def _inputs(self, index: int, image: ImageLike) -> list[Input] | LargeImage:
        if self.is_large is not None and self.is_large(image):
            return LargeImage(index, image)
        pixels = to_pixels(image, self.pixel_range)
        path = path_of(image)
        shown = pixels if self.keep_pixels else None
        inputs = []
        for number, view in enumerate(self.views):
            viewed = np.ascontiguousarray(pixels[:, ::-1]) if view.flipped else pixels
            sample = Sample(viewed, Target.empty(), describe(image, index))
            if view.size is not None:
                _check_fits(sample, view.preparation, view.size)
            prepared, placement = view.preparation(sample, size=view.size)
            origin = Origin(placement, mirrored=view.flipped, path=path)
            inputs.append(Input(index, number, prepared, origin, shown))
        return inputs


def _check_fits(sample: Sample, preparation: Preparation, size: tuple[int, int]) -> None:
    """See whether an image's input is within the only size that the network takes.

    Raises:
        ImageError: it is not.
    """
    height, width = sample.image.shape[:2]
    placement = preparation.placement_for(width, height)
    wanted = (round(height * placement.scale_y), round(width * placement.scale_x))
    if wanted[0] > size[0] or wanted[1] > size[1]:
        raise ImageError(
            f"{sample.name}: {width} x {height} pixels become {wanted[1]} x {wanted[0]} for the "
            f"network, and this model was exported for {size[1]} x {size[0]} only. Export it "
            f"without --size, or with --size {-(-wanted[0] // 32) * 32}x"
            f"{-(-wanted[1] // 32) * 32}; or give a smaller part of the image."
        )
