"""From images to detections: read, prepare, run the network, decode, go back to original pixels.

What computes the network is a `Runtime`, so that PyTorch, OpenVINO and ONNX Runtime give detections
by the same code; nothing here loads PyTorch. An image's detections do not depend on what it is
predicted with: each image has its own input size, whatever its neighbors, and a batch holds images
of one input size only. (An accelerator may round differently for another number of images.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.loading.prefetch import Input, Reader, View
from foveal.detection.postprocessing import postprocess
from foveal.inference.test_time_augmentation import merge
from foveal.structures import RGB, Detections, ModelCard, PixelRange, RawOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from foveal.data.images.inputs import ImageLike
    from foveal.data.transforms.preparation import Preparation
    from foveal.detection.anchors import AnchorGrid
    from foveal.errors import ImageError, MissingExtraError
    from foveal.runtimes.base import Runtime

    Observer = Callable[[RawOutput[Any], list[Input], tuple[int, int]], None]

_BATCHES_WAITING = 8
"""So many batches' worth of images may wait for others of their input size."""
_BYTES_WAITING = 2**29
"""So many bytes of pixels may wait with them, where they are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What was found in one of many images.

    Attributes:
        index: the image's position among the images.
        detections: in original pixels.
        pixels: [H, W, C] uint8, the image as it was read; None unless they were to be kept.
    """

    index: int
    detections: Detections
    pixels: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A network in a runtime with all that it takes to find objects in images.

    Attributes:
        runtime: computes the network.
        grid: the network's anchors.
        card: class names; from which file or training the network is.
        preparation: how an image becomes an input; each image has its own input size.
        pixel_range: the bands that the network takes, and which values become 0 and 255.
        score_threshold: the least score of a detection, as in evaluation.
        top_per_level: most candidates of a pyramid level.
        nms_iou: a detection that overlaps a better one of its class by more goes.
        max_detections: most detections of an image.
        class_agnostic: NMS over all classes together.
        flip: look at each image mirrored too, and merge what is found.
        scales: look at each image at these scales and merge, relative to the preparation's.
        batch: images in one pass through the network.
        observe: is given each pass's raw output, its inputs and their height and width in pixels,
            as validation needs them for the loss.
        workers: threads that read and prepare images while the network runs.
    """

    runtime: Runtime
    grid: AnchorGrid
    card: ModelCard
    preparation: Preparation
    pixel_range: PixelRange = RGB
    score_threshold: float = 0.05
    top_per_level: int = 1000
    nms_iou: float = 0.5
    max_detections: int = 100
    class_agnostic: bool = False
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    batch: int = 8
    observe: Observer | None = None
    workers: int = min(4, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.scales or min(self.scales) <= 0:
            raise ValueError(f"batch {self.batch} and scales {self.scales} must be positive")

    @property
    def classes(self) -> tuple[str, ...]:
        """The K class names."""
        return self.card.classes

    def detect(self, image: ImageLike) -> Detections:
        """Find objects in one image.

        Args:
            image: a path, a PIL image, an array [H, W, C], a tensor [C, H, W] or a record of a
                data set; see `foveal.data.images.inputs.to_pixels`.

        Returns:
            Boxes in original pixels, inside the image, best first.

        Raises:
            ImageError: the image can't be read.
        """
        return self.detect_many([image])[0]

    def detect_many(self, images: Iterable[ImageLike]) -> list[Detections]:
        """Find objects in many images, of any sizes: one Detections for each, in their order.

        Raises:
            ImageError: an image can't be read.
        """
        detections = {each.index: each.detections for each in self.stream(images)}
        return [detections[index] for index in range(len(detections))]

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        keep_pixels: bool = False,
        on_error: Callable[[int, ImageError | MissingExtraError], None] | None = None,
    ) -> Iterator[Prediction]:
        """Yield what was found in each image as soon as it is known.

        The order is that in which batches of one input size fill up. Only as many images are held
        in memory as make a few batches.

        Args:
            images: as for `detect`.
            keep_pixels: give the pixels too, so that nobody need read the image again.
            on_error: is called with each image that can't be read, which is then left out.

        Raises:
            ImageError: an image can't be read, and there is no `on_error`.
            MissingExtraError: what reads it is not installed, and there is no `on_error`.
        """
        views = self._views()
        reader = Reader(
            views,
            self.pixel_range,
            workers=self.workers,
            ahead=self._batch,
            keep_pixels=keep_pixels,
        )
        parts: dict[int, dict[int, Detections]] = {}
        for batch in self._batches(reader.read(images, on_error), views=len(views)):
            for item, detections in zip(batch, self._run(batch), strict=True):
                known = parts.setdefault(item.index, {})
                known[item.view] = detections
                if len(known) == len(views):
                    yield Prediction(item.index, self._merged(parts.pop(item.index)), item.pixels)

    def _views(self) -> list[View]:
        sides = [max(1, round(self.preparation.shorter * scale)) for scale in self.scales]
        taken = self.runtime.sizes
        size = (taken.height, taken.width) if taken.height and taken.width else None
        return [
            View(
                self.preparation
                if side == self.preparation.shorter
                else self.preparation.with_shorter(side),
                flipped,
                size,
            )
            for side in sides
            for flipped in ((False, True) if self.flip else (False,))
        ]

    @property
    def _batch(self) -> int:
        """Images in one pass: the runtime's number where it takes one only."""
        return self.runtime.sizes.batch or self.batch

    def _batches(self, images: Iterator[list[Input]], *, views: int) -> Iterator[list[Input]]:
        """Put inputs of one size together, as many as one pass takes."""
        waiting: dict[tuple[int, ...], list[Input]] = {}
        for inputs in images:
            for item in inputs:
                shape = item.sample.image.shape
                waiting.setdefault(shape, []).append(item)
                if len(waiting[shape]) == self._batch:
                    yield waiting.pop(shape)
            if self._too_many(waiting, views=views):
                yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
        yield from waiting.values()

    def _too_many(self, waiting: dict[tuple[int, ...], list[Input]], *, views: int) -> bool:
        items = [item for inputs in waiting.values() for item in inputs]
        pixel_bytes = sum(item.pixels.nbytes for item in items if item.pixels is not None)
        return len(items) > _BATCHES_WAITING * self._batch * views or pixel_bytes > _BYTES_WAITING

    def _run(self, inputs: list[Input]) -> list[Detections]:
        """One pass through the network, for inputs of one size."""
        images = np.stack([item.sample.image for item in inputs])
        missing = self._computed(len(inputs)) - len(inputs)
        if missing > 0:
            images = np.concatenate([images, images[-1:].repeat(missing, axis=0)])
        raw = self.runtime(images.transpose(0, 3, 1, 2))
        if self.observe is not None and isinstance(raw, RawOutput):
            self.observe(raw, inputs, (images.shape[1], images.shape[2]))
        return postprocess(
            raw,
            self.grid,
            [item.origin for item in inputs],
            size=images.shape[1:3],
            classes=self.classes,
            score_threshold=self.score_threshold,
            top_per_level=self.top_per_level,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic,
        )

    def _computed(self, images: int) -> int:
        """How many images to compute at once: on an accelerator few different numbers."""
        if self.runtime.sizes.batch:
            return self.runtime.sizes.batch
        if self.runtime.device == "cpu":
            return images
        return min(self._batch, 1 << (images - 1).bit_length())

    def _merged(self, parts: dict[int, Detections]) -> Detections:
        return merge(
            [parts[view] for view in sorted(parts)],
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic,
        )
