"""From images to detections: read, prepare, run the network, decode, go back to original pixels.

What computes the network is a `Runtime`, so that PyTorch, OpenVINO and ONNX Runtime give detections
by the same code; nothing here loads PyTorch. An image's detections do not depend on what it is
predicted with: each image has its own input size, whatever its neighbors, and a batch holds images
of one input size only. (An accelerator may round differently for another number of images.)

An image that would be shrunk too far is looked at in windows, see `Predictor.tiling_for`.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foveal.data.images.inputs import path_of, to_pixels
from foveal.data.images.pages import file_of
from foveal.data.images.rasters import georeference_of, raster_of
from foveal.data.images.reading import image_size
from foveal.data.loading.prefetch import Input, LargeImage, Reader, View
from foveal.detection.postprocessing import postprocess
from foveal.detection.soft_nms import SIGMA
from foveal.errors import ImageError, MissingExtraError, SettingsError
from foveal.inference.test_time_augmentation import SEEN_IN_A_VIEW, merge
from foveal.inference.tiling import LARGEST_SIDE, Tiling, choose_tiling, margin
from foveal.structures import RGB, Detections, ModelCard, PixelRange, RawOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from foveal.data.images.inputs import ImageLike
    from foveal.data.images.rasters import Raster
    from foveal.data.transforms.preparation import Preparation
    from foveal.detection.anchors import AnchorGrid
    from foveal.detection.soft_nms import NmsMethod
    from foveal.geometry.georeference import Georeference
    from foveal.inference.scenes import SceneSummary
    from foveal.inference.test_time_augmentation import Merge
    from foveal.runtimes.base import Runtime

    Observer = Callable[[RawOutput[Any], list[Input], tuple[int, int]], None]

_BATCHES_WAITING = 8
"""So many batches' worth of images may wait for others of their input size."""
_BYTES_WAITING = 2**29
"""So many bytes of pixels may wait with them, where they are kept."""
PIXELS_KEPT = 2**26
"""Pixels of the largest image that is kept whole where pixels are to be kept."""
_TOO_SMALL = 0.5
"""An image that is shrunk to less than this fraction of the training's scale has lost too much."""
_TOO_LARGE = 4
"""So many times the longer input side is too much where the training's scale is not known."""
_SAME_SCALE = 0.05
"""Scales that differ by less are one."""

_VIRTUAL = ".vrt"
_OBJECT_SIZE = "object size"
"""A kind of what is told once."""
_WITHOUT = (
    "--tile is an option of foveal predict, whose detections.json foveal evaluate and compare take "
    "(in Python dataclasses.replace(detector.predictor(), tile='off'))."
)
"""Where windows are turned off, by whoever reads of them elsewhere."""

log = logging.getLogger(__name__)

Tile = int | Literal["auto", "off"]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What was found in one of many images.

    Attributes:
        index: the image's position among the images.
        detections: in original pixels.
        pixels: [H, W, C] uint8, the image as it was read; None unless they were to be kept, and
            of scenes of more than `PIXELS_KEPT` pixels.
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
        nms_method: 'hard' removes, the others are `foveal.detection.soft_nms`. Where tiles of a
            scene meet, boxes are the same object seen twice: there NMS is hard.
        nms_sigma: of soft-NMS.
        merge: how several looks at an image are put together, see
            `foveal.inference.test_time_augmentation.merge`.
        flip: look at each image mirrored too, and merge what is found.
        scales: look at each image at these scales and merge, relative to the preparation's.
        batch: images in one pass through the network.
        observe: is given each pass's raw output, its inputs and their height and width in pixels,
            as validation needs them for the loss.
        workers: threads that read and prepare images while the network runs.
        tile: 'auto' looks at images in windows where `tiling_for` says so, 'off' never does; a
            number is the side of the windows, input pixels, for all larger images.
        overlap: input pixels that windows share at least; None: as large as the largest objects.
        tile_scale: input pixels that a pixel becomes in windows; None: the training's.
        whole: look at images that are looked at in windows once more as a whole, shrunk, for
            objects that no window shows whole.

    Examples:
        >>> predictor = foveal.load("run").predictor()
        >>> [len(found.classes) for found in predictor.detect_many(["smear.jpg"])]
        [3]
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
    nms_method: NmsMethod = "hard"
    nms_sigma: float = SIGMA
    merge: Merge = "nms"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    batch: int = 8
    observe: Observer | None = None
    workers: int = min(4, os.cpu_count() or 1)
    tile: Tile = "auto"
    overlap: int | None = None
    tile_scale: float | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.scales or min(self.scales) <= 0:
            raise ValueError(f"batch {self.batch} and scales {self.scales} must be positive")
        if isinstance(self.tile, str) and self.tile not in ("auto", "off"):
            raise SettingsError(
                f"--tile {self.tile} (in Python tile=): expected auto, off, or a number of pixels."
            )
        if self.tile_scale is not None and not 0 < self.tile_scale < math.inf:
            raise SettingsError(
                f"--scale {self.tile_scale:g} (in Python scale=): expected a positive number."
            )

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

    def detect_many(
        self, images: Iterable[ImageLike], *, told: set[str] | None = None
    ) -> list[Detections]:
        """Find objects in many images, of any sizes: one Detections for each, in their order.

        Args:
            images: as for `detect`.
            told: as for `stream`.

        Raises:
            ImageError: an image can't be read.
        """
        detections = {each.index: each.detections for each in self.stream(images, told=told)}
        return [detections[index] for index in range(len(detections))]

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        keep_pixels: bool = False,
        on_error: Callable[[int, ImageError | MissingExtraError], None] | None = None,
        told: set[str] | None = None,
    ) -> Iterator[Prediction]:
        """Yield what was found in each image as soon as it is known.

        The order is that in which batches of one input size fill up. Only as many images are held
        in memory as make a few batches.

        Args:
            images: as for `detect`.
            keep_pixels: give the pixels too, so that nobody need read the image again.
            on_error: is called with each image that can't be read, which is then left out.
            told: what was logged of images before, and will have been: at which size of objects
                windows are looked at is logged once; None logs nothing of it.

        Raises:
            ImageError: an image can't be read, and there is no `on_error`.
            MissingExtraError: what reads it is not installed, and there is no `on_error`.
        """
        views, reader = self.views, self._reader(keep_pixels=keep_pixels)
        parts: dict[tuple[int, int], dict[int, Detections]] = {}
        summaries: list[SceneSummary] = []
        for made in self._batches(reader.read(images, on_error), views=len(views)):
            if isinstance(made, list):
                for item, detections in self._completed(made, parts, views=len(views)):
                    yield Prediction(item.index, detections, item.pixels)
                continue
            try:
                prediction, summary = self._detect_large(made, told, keep_pixels=keep_pixels)
            except (ImageError, MissingExtraError) as error:
                if on_error is None:
                    raise
                on_error(made.index, error)
            else:
                summaries.append(summary)
                yield prediction
        if summaries:
            from foveal.inference.scenes import describe_summaries

            for line in describe_summaries(summaries):
                log.warning("%s", line)

    def look(self, inputs: Iterator[list[Input]]) -> Iterator[tuple[Input, Detections]]:
        """Find objects in inputs that somebody else has made.

        Args:
            inputs: of one window or image after another, each with one for each of `views`; they
                are told apart by `index` and `tile`.

        Yields:
            The last input of each and what was found in all its views, as soon as it is known.
        """
        parts: dict[tuple[int, int], dict[int, Detections]] = {}
        for batch in self._batches(inputs, views=len(self.views)):
            if isinstance(batch, list):
                yield from self._completed(batch, parts, views=len(self.views))

    def prepare(self, image: ImageLike, *, keep_pixels: bool = False) -> list[Input] | LargeImage:
        """What `look` takes of one image, read in this thread.

        Args:
            image: as for `detect`.
            keep_pixels: give the pixels too, so that nobody need read the image again.

        Returns:
            An input for each of `views`; or that the image is to be looked at in windows.

        Raises:
            ImageError: the image can't be read.
            MissingExtraError: what reads it is not installed.
        """
        return next(iter(self._reader(keep_pixels=keep_pixels).read([image], None)))

    @property
    def views(self) -> tuple[tuple[float, bool], ...]:
        """The ways to look at each image: scale, relative to the preparation's, and mirrored."""
        flips = (False, True) if self.flip else (False,)
        return tuple((scale, flipped) for scale in self.scales for flipped in flips)

    def tiling_for(
        self, width: int, height: int, georeference: Georeference | None = None
    ) -> Tiling | None:
        """How an image is looked at in windows; None: it is looked at as a whole.

        Windows are due, unless `tile` says otherwise,

        - with preparation "windows": where the image at its scale exceeds the window;
        - else where the preparation would shrink it to less than half of the scale that training
          had, as the card says;
        - where the card says nothing: where it exceeds four times the longer input side;
        - always where `tile_scale` says at which scale to look.

        The scale in windows is `tile_scale`; else, where the card and the image both know it, that
        of the training's ground resolution; else the training's scale; else 1.

        Args:
            width, height: of the image, pixels.
            georeference: its place on the map.

        Raises:
            SettingsError: a tile or overlap that can't be.
        """
        if self.tile == "off":
            return None
        scale, why = self._scene_scale(width, height, georeference)
        if not self._needs_windows(width, height, scale):
            return None
        return self._tiling(width, height, scale, why)

    def describe_object_size(self, scale: float, georeference: Georeference | None) -> str:
        """How large objects should be in a scene that is looked at in windows, in words.

        A network that learned from whole images expects objects of their size, and a scene may show
        them larger just as well as more of them.

        Args:
            scale: input pixels that a pixel of the scene becomes.
            georeference: its place on the map.

        Returns:
            Nothing where that was asked for, is not known, or where the map says how large objects
            are.
        """
        largest = self.card.largest_object
        if largest is None or self.tile_scale is not None or self.preparation.mode == "windows":
            return ""
        if georeference is not None and self.card.ground_resolution:
            return ""
        return (
            f"In training, on whole images, 99 of 100 objects were shorter than {largest:.0f} "
            f"pixels of the network's input, which are {largest / scale:.0f} of this image: at "
            "that size they are found in windows. Where objects are larger here, since the image "
            "shows the same as training's in more pixels, parts of them are counted, and --tile "
            "off (in Python tile='off') is right."
        )

    def _tiling(self, width: int, height: int, scale: float, why: str) -> Tiling:
        taken, largest_view = self.runtime.sizes, max(1.0, *self.scales)
        multiple = math.lcm(taken.multiple, self.preparation.multiple)
        size: tuple[int, int] | int | None = None
        if taken.height and taken.width:
            # The largest view of a tile must fit into the only input.
            high, wide = (
                int(side / largest_view) // multiple * multiple
                for side in (taken.height, taken.width)
            )
            size = high, wide
            if isinstance(self.tile, int) and size != (self.tile, self.tile):
                raise SettingsError(
                    f"--tile {self.tile} (in Python tile=): this model was exported for inputs of "
                    f"{taken.width} x {taken.height} pixels. Leave --tile out, or export the model "
                    "without --size."
                )
        elif isinstance(self.tile, int):
            size = self.tile
        overlap, reason = self._overlap(size)
        return choose_tiling(
            width,
            height,
            scale=scale,
            overlap=overlap,
            stride=math.lcm(max(self.grid.strides), multiple),
            size=size,
            multiple=multiple,
            why=" ".join(part for part in (f"{why}.", reason) if part),
        )

    def _scene_scale(
        self, width: int, height: int, georeference: Georeference | None
    ) -> tuple[float, str]:
        """Input pixels that a pixel of an image becomes in windows, and why."""
        card = self.card
        if self.tile_scale is not None:
            return self.tile_scale, f"at the scale {self.tile_scale:.4g} that was asked for"
        if card.ground_resolution and georeference is not None:
            from foveal.data.images.georeferencing import ground_resolution

            ground = ground_resolution(georeference, width, height)
            if ground:
                scale = ground / card.ground_resolution
                return scale, (
                    f"at the scale {scale:.4g}, at which a pixel shows "
                    f"{card.ground_resolution:.3g} m as in training"
                )
        if self.preparation.mode == "windows":
            return self.preparation.scale, f"at the training's scale {self.preparation.scale:.4g}"
        if card.scale:
            return card.scale, f"at the training's scale {card.scale:.4g}"
        return 1.0, "at the scale 1, since the model does not say its training's (see --scale)"

    def _needs_windows(self, width: int, height: int, scale: float) -> bool:
        preparation = self.preparation
        longest = max(width, height) * scale
        window = preparation.longer if preparation.mode == "keep" else preparation.shorter
        if self.tile_scale is not None:
            return True
        if isinstance(self.tile, int):
            return longest > self.tile
        if preparation.mode == "windows":
            other = abs(scale / preparation.scale - 1) > _SAME_SCALE
            return other or round(longest) > preparation.shorter
        if self.card.scale or scale != 1:
            return preparation.placement_for(width, height).scale_x < _TOO_SMALL * scale
        return max(width, height) > _TOO_LARGE * window

    def _overlap(self, size: tuple[int, int] | int | None) -> tuple[int, str]:
        """Input pixels that windows share at least, and why where that is to be told."""
        if self.overlap is not None:
            return self.overlap, ""
        smallest = None if size is None else min(size) if isinstance(size, tuple) else size
        largest = self.card.largest_object
        if largest is not None:
            wanted, most = math.ceil(largest) + margin(), (smallest or 2**31) // 2
            if wanted <= most:
                return wanted, ""
            return most, (
                f"The overlap is {most:,} input pixels, half a window, though training had objects "
                f"of {largest:,.0f}: see --tile."
            )
        anchor = float(self.grid.sides().max())
        most = (smallest or LARGEST_SIDE) // 4
        wanted = min(math.ceil(anchor) + margin(), most)
        return wanted, (
            f"The overlap is at least {wanted:,} input pixels, since the model does not say how "
            "large its objects are (see --overlap)."
        )

    def _is_large(self, image: ImageLike) -> bool:
        """Whether an image is to be looked at in windows, by no more than its header."""
        path = path_of(image)
        if path is None:
            if isinstance(image, np.ndarray) and image.ndim in (2, 3) and image.size:
                height, width = image.shape[:2]  # without the pixels, which are made later
            else:
                height, width = to_pixels(image, self.pixel_range).shape[:2]
            return self.tiling_for(width, height) is not None
        if file_of(path).suffix.lower() == _VIRTUAL:
            return True  # only a raster reads it
        width, height = image_size(path)
        place = georeference_of(path) if self.card.ground_resolution else None
        return self.tiling_for(width, height, place) is not None

    def _detect_large(
        self, large: LargeImage, told: set[str] | None, *, keep_pixels: bool
    ) -> tuple[Prediction, SceneSummary]:
        """Look at an image in windows."""
        from foveal.inference.scenes import SceneDetector

        with raster_of(large.image, self.pixel_range) as raster:
            tiling = self.scene_tiling(raster)
            if told is not None and _OBJECT_SIZE not in told:
                sized = self.describe_object_size(tiling.scale, raster.georeference)
                if sized:
                    told.add(_OBJECT_SIZE)
                    log.warning("%s: is looked at in windows. %s %s", raster.name, sized, _WITHOUT)
            detector = SceneDetector(self, tiling, self.whole, large.index)
            detections, summary = detector.look(raster)
            pixels = None
            if keep_pixels and raster.width * raster.height <= PIXELS_KEPT:
                pixels = raster.read(0, 0, raster.width, raster.height).pixels
        return Prediction(large.index, detections, pixels), summary

    def scene_tiling(self, raster: Raster) -> Tiling:
        """The windows in which a scene is looked at, one of them where `tiling_for` says none.

        Args:
            raster: the scene; nothing is read.

        Raises:
            SettingsError: a tile or overlap that can't be.
        """
        width, height = raster.width, raster.height
        tiling = self.tiling_for(width, height, raster.georeference)
        if tiling is not None:
            return tiling
        if isinstance(self.tile, int):
            return self._tiling(
                width, height, *self._scene_scale(width, height, raster.georeference)
            )
        taken = self.runtime.sizes
        size = (taken.height, taken.width) if taken.height and taken.width else None
        size = size or self.preparation.size_for(width, height)
        # No rounding of the scale may make a second tile.
        scale = min(size[0] / height, size[1] / width)
        scale = min(scale, self.preparation.placement_for(width, height).scale_x)
        return Tiling(size, 0, scale, why="shrunk as a whole." if scale < 1 else "")

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

    def _reader(self, *, keep_pixels: bool) -> Reader:
        return Reader(
            self._views(),
            self.pixel_range,
            workers=self.workers,
            ahead=self._batch,
            keep_pixels=keep_pixels,
            is_large=None if self.tile == "off" else self._is_large,
        )

    @property
    def _batch(self) -> int:
        """Images in one pass: the runtime's number where it takes one only."""
        return self.runtime.sizes.batch or self.batch

    def _batches(
        self, images: Iterator[list[Input] | LargeImage] | Iterator[list[Input]], *, views: int
    ) -> Iterator[list[Input] | LargeImage]:
        """Put inputs of one size together, as many as one pass takes; large images pass."""
        waiting: dict[tuple[int, ...], list[Input]] = {}
        for inputs in images:
            if isinstance(inputs, LargeImage):
                yield inputs
                continue
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

    def _completed(
        self,
        batch: list[Input],
        parts: dict[tuple[int, int], dict[int, Detections]],
        *,
        views: int,
    ) -> Iterator[tuple[Input, Detections]]:
        """Run a batch; yield the images of which all views are known, and remember the others."""
        for item, detections in zip(batch, self._run(batch), strict=True):
            key = item.index, item.tile
            known = parts.setdefault(key, {})
            known[item.view] = detections
            if len(known) == views:
                yield item, self._merged(parts.pop(key))

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
            score_threshold=self._view_threshold,
            top_per_level=self.top_per_level,
            nms_iou=self.nms_iou,
            max_detections=self.max_detections,
            class_agnostic=self.class_agnostic,
            nms_method=self.nms_method,
            nms_sigma=self.nms_sigma,
        )

    @property
    def _view_threshold(self) -> float:
        """The least score of a detection in one of the looks at an image."""
        is_fused = self.merge == "fusion" and len(self.views) > 1
        return self.score_threshold * (SEEN_IN_A_VIEW if is_fused else 1)

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
            nms_method=self.nms_method,
            nms_sigma=self.nms_sigma,
            method=self.merge,
            score_threshold=self.score_threshold,
        )
