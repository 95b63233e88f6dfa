"""From images to detections: read, prepare, run the network, decode, go back to original pixels.

An image's detections do not depend on what it is predicted with. Each image has its own input
size, whatever its neighbours; a batch holds images of one input size only; and on a GPU, where
another number of images means other kernels and other rounding, every batch is filled up to the
same number. On a CPU the number changes nothing that matters, and no image is computed in vain.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.data.batching import make_batch
from foveal.detection.decoding import decode
from foveal.errors import SettingsError
from foveal.inference.merging import merge
from foveal.inference.reading import Input, Reader, View
from foveal.models.memory import keep_freed_memory
from foveal.models.precision import autocast
from foveal.models.quantisation import PredictionPrecision, prediction_precision
from foveal.structures import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from foveal.data.preparation import Preparation
    from foveal.errors import ImageError
    from foveal.geometry.placement import Placement
    from foveal.inference.pictures import ImageLike
    from foveal.models.retinanet import RetinaNet
    from foveal.structures import PaddedDetections

_JUST_BELOW = 1 - 1e-5
"""Decoding looks at logits: whether a score reaches the threshold is decided on the scores."""
_NO_SIDE = 0.05
"""Original pixels: what is left of a box beyond the image's edge is no object."""
_BATCHES_WAITING = 8
"""So many batches' worth of images may wait for others of their input size."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """A network with all that it takes to find objects in images.

    Attributes:
        model: the network; it is moved to the device, and its mode is left as it was.
        classes: the K class names.
        preparation: how an image becomes an input; each image has its own input size.
        bands, band_low, band_high: how an image is read, as for `foveal.data.images.read_image`.
        threshold: scores must reach it, as they must in evaluation.
        top_per_level: most candidates of a pyramid level.
        nms_iou: a detection that overlaps a better one of its class by more goes.
        most: most detections of an image.
        class_agnostic: suppress over all classes together.
        flip: look at each image mirrored too, and merge what is found.
        scales: look at each image at these scales and merge, relative to the preparation's.
        batch: images in one pass through the network.
        device: 'auto' takes a GPU where there is one; None leaves the model where it is.
        precision: 'auto' takes 8-bit integers where the model has ranges for them and the CPU is
            fast at it, and bfloat16 where the hardware has it.
        workers: threads that read and prepare images while the network runs.
    """

    model: RetinaNet
    classes: tuple[str, ...]
    preparation: Preparation
    bands: int = 3
    band_low: tuple[float, ...] = ()
    band_high: tuple[float, ...] = ()
    threshold: float = 0.05
    top_per_level: int = 1000
    nms_iou: float = 0.5
    most: int = 100
    class_agnostic: bool = False
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    batch: int = 8
    device: str | None = "auto"
    precision: PredictionPrecision = "auto"
    workers: int = min(4, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.scales or min(self.scales) <= 0:
            raise ValueError(f"batch {self.batch} and scales {self.scales} must be positive")
        if self.device is not None:
            self.model.to(choose_device(self.device))
        keep_freed_memory(self.model.mean.device)

    def detect(self, image: ImageLike) -> Detections:
        """Find objects in one image.

        Args:
            image: a path, a PIL image, an array [H, W, C] or a tensor [C, H, W]; see
                `foveal.inference.pictures.to_pixels`.

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
        found = dict(self.stream(images))
        return [found[index] for index in range(len(found))]

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        on_error: Callable[[int, ImageError], None] | None = None,
    ) -> Iterator[tuple[int, Detections]]:
        """Yield (place of the image, what was found) as soon as it is known.

        The order is that in which batches of one input size fill up. Only as many images are held
        in memory as make a few batches.

        Args:
            images: as for `detect`.
            on_error: is told of each image that can't be read, which is then left out.

        Raises:
            ImageError: an image can't be read, and there is no `on_error`.
        """
        views = self._views()
        reader = Reader(
            views,
            bands=self.bands,
            band_low=self.band_low,
            band_high=self.band_high,
            workers=self.workers,
            ahead=self.batch,
        )
        parts: dict[int, dict[int, Detections]] = {}
        for batch in self._batches(reader.read(images, on_error), views=len(views)):
            for item, found in zip(batch, self._run(batch), strict=True):
                known = parts.setdefault(item.index, {})
                known[item.view] = found
                if len(known) == len(views):
                    yield item.index, self._merged(parts.pop(item.index))

    def _views(self) -> list[View]:
        sides = [max(1, round(self.preparation.shorter * scale)) for scale in self.scales]
        return [
            View(
                self.preparation
                if side == self.preparation.shorter
                else self.preparation.with_shorter(side),
                flipped,
            )
            for side in sides
            for flipped in ((False, True) if self.flip else (False,))
        ]

    def _batches(self, images: Iterator[list[Input]], *, views: int) -> Iterator[list[Input]]:
        """Put inputs of one size together, at most `batch` of them."""
        waiting: dict[tuple[int, ...], list[Input]] = {}
        for inputs in images:
            for item in inputs:
                shape = item.sample.image.shape
                waiting.setdefault(shape, []).append(item)
                if len(waiting[shape]) == self.batch:
                    yield waiting.pop(shape)
            if sum(map(len, waiting.values())) > _BATCHES_WAITING * self.batch * views:
                yield waiting.pop(max(waiting, key=lambda shape: len(waiting[shape])))
        yield from waiting.values()

    def _run(self, inputs: list[Input]) -> list[Detections]:
        """One pass through the network, for inputs of one size."""
        batch = make_batch([(item.sample, item.placement) for item in inputs])
        device = self.model.mean.device
        extents = torch.from_numpy(np.stack([_extent(item.placement) for item in inputs]))
        images = batch.images
        if device.type != "cpu":
            images, extents = _filled(images, self.batch), _filled(extents, self.batch)
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        height, width = images.shape[-2:]
        precision = prediction_precision(self.precision, device, self.model.quantisation)
        with _evaluating(self.model), torch.inference_mode():
            with autocast(device, precision):
                raw = self.model(images)
            padded = decode(
                raw,
                self.model.anchors(height, width),
                extents=extents.to(device),
                threshold=self.threshold * _JUST_BELOW,
                top_per_level=self.top_per_level,
                nms_iou=self.nms_iou,
                most=self.most,
                class_agnostic=self.class_agnostic,
            )
        return self._to_host(padded, inputs)

    def _to_host(self, padded: PaddedDetections, inputs: list[Input]) -> list[Detections]:
        boxes, scores, labels, counts = (tensor.cpu().numpy() for tensor in padded)
        found = []
        for row, item in enumerate(inputs):
            real = slice(int(counts[row]))
            original = _to_original(boxes[row, real], item)
            sides = original[:, 2:] - original[:, :2]
            keep = (scores[row, real] >= np.float32(self.threshold)) & (sides > _NO_SIDE).all(1)
            found.append(
                Detections(
                    original[keep],
                    scores[row, real][keep],
                    labels[row, real][keep],
                    classes=self.classes,
                    width=item.placement.width,
                    height=item.placement.height,
                    path=item.path,
                )
            )
        return found

    def _merged(self, parts: dict[int, Detections]) -> Detections:
        return merge(
            [parts[view] for view in sorted(parts)],
            nms_iou=self.nms_iou,
            most=self.most,
            class_agnostic=self.class_agnostic,
        )


def choose_device(wanted: str) -> torch.device:
    """The device that is wanted; for 'auto' a GPU where there is one, else the CPU.

    Raises:
        SettingsError: there is no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(
            f"device {wanted!r} can't be used here ({reason}). Expected auto, cpu or cuda."
        ) from None
    return device


def _extent(placement: Placement) -> NDArray[np.float32]:
    """[4] xyxy: where the image lies in its input, input pixels."""
    return placement.to_input(np.array([0, 0, placement.width, placement.height], np.float32))


def _filled(values: Tensor, count: int) -> Tensor:
    """The values [b, ...], the last repeated until there are `count`."""
    missing = count - len(values)
    return torch.cat([values, values[-1:].expand(missing, *values.shape[1:])])


def _to_original(boxes: NDArray[np.float32], item: Input) -> NDArray[np.float32]:
    """Boxes [N, 4] xyxy from input to original pixels, inside the image."""
    width, height = item.placement.width, item.placement.height
    original = item.placement.to_original(boxes)
    if item.flipped:
        original[:, [0, 2]] = width - original[:, [2, 0]]
    return np.clip(original, 0, np.array([width, height, width, height], np.float32))


@contextmanager
def _evaluating(model: RetinaNet) -> Iterator[None]:
    """The model in evaluation mode, and afterwards each part in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
