"""From images that came in to detections: read in threads, looked at in batches, in any number."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.data.images.rasters import place_of, raster_of
from foveal.data.images.survey import settle_depth
from foveal.data.loading.prefetch import LargeImage
from foveal.errors import FovealError, ImageError, MissingExtraError
from foveal.inference.scenes import SceneDetector, describe_summaries
from foveal.serving.problems import Problem, as_problem
from foveal.serving.uploads import check_upload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.data.loading.prefetch import Input
    from foveal.geometry.georeference import Georeference
    from foveal.inference.predictor import Predictor
    from foveal.serving.limits import Limits
    from foveal.serving.models import ModelSet, Options, ServedModel
    from foveal.serving.observing import Observer
    from foveal.serving.uploads import Upload
    from foveal.structures import Detections

_DEEP = 8
"""Bits of a value, above which its range is to be found."""

log = logging.getLogger(__name__)


class Canceled(Exception):  # noqa: N818
    """Nobody waits for a scene's detections any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found in an image of a request.

    Attributes:
        name: what the client calls the image.
        number: its position in the request.
        detections: in original pixels, with the image's place on the map where it has one.
        notes: what is to be told of them, a sentence each.
        picture: [h, w, 3] uint8 RGB with what was found, where that was asked for.
        seconds: what each stage took.
    """

    name: str
    number: int
    detections: Detections
    notes: tuple[str, ...] = ()
    picture: NDArray[np.uint8] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """An image that is ready to be looked at."""

    predictor: Predictor
    inputs: list[Input] | LargeImage
    georeference: Georeference | None
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Reception:
    """Where a request's body comes in.

    Attributes:
        folder: of the request alone; it goes when the request is answered.
        hold: is told of bytes that came, and raises a Problem where all requests hold too many.
    """

    folder: Path
    hold: Callable[[int], None]


class Service:
    """Looks at images for whoever asks.

    Args:
        models: that are asked.
        limits: what is taken at most.
        observer: is told of what happens.
        readers: threads that read images.
    """

    def __init__(
        self, models: ModelSet, *, limits: Limits, observer: Observer, readers: int
    ) -> None:
        self.models, self.limits, self.observer = models, limits, observer
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="foveal-reads")
        # One scene at a time: each holds windows, and they would only wait for the network.
        self._scenes = ThreadPoolExecutor(1, thread_name_prefix="foveal-scenes")
        self._folder = tempfile.TemporaryDirectory(
            prefix="foveal-images-", ignore_cleanup_errors=True
        )
        self._taken = 0
        self._bodies = 0
        self._bytes = 0

    @property
    def taken(self) -> int:
        """Images that are being looked at, or wait for it."""
        return self._taken

    @contextmanager
    def receiving(self, model: ServedModel) -> Iterator[Reception]:
        """While this is entered, a request's body comes in, into a folder of its own.

        Args:
            model: that is asked; it stays open.

        Raises:
            Problem: there is no room for its images, or too many bodies are on their way.
        """
        if self._taken >= self.limits.queue or self._bodies >= self.limits.bodies:
            raise self._full()
        held = 0

        def hold(count: int) -> None:
            nonlocal held
            if self._bytes + count > self.limits.bytes_at_once:
                raise self._full()
            self._bytes += count
            held += count

        self._bodies += 1
        try:
            with (
                model.used(),
                tempfile.TemporaryDirectory(
                    dir=self._folder.name, ignore_cleanup_errors=True
                ) as folder,
            ):
                yield Reception(Path(folder), hold)
        finally:
            self._bodies -= 1
            self._bytes -= held

    async def detect(
        self,
        model: ServedModel,
        uploads: Sequence[Upload],
        options: Options,
        *,
        classes: tuple[str, ...] = (),
        draw: bool = False,
    ) -> list[Found | Problem]:
        """Find objects in images; one that can't be read harms only itself.

        Args:
            model: looks at them.
            uploads: the images, in files.
            options: of the request.
            classes: names of the only ones that are answered; none stands for all.
            draw: give pictures with what was found.

        Returns:
            For each image what was found, or why it was not looked at.

        Raises:
            Problem: no room is left for so many images; or the options can't be had.
        """
        if self._taken + len(uploads) > self.limits.queue:
            raise self._full()
        self._taken += len(uploads)
        self.observer.queued(self._taken)
        try:
            predictor = model.predictor_with(options)
            # All of them end before the files go, also when the request ends early.
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        self._look(model, predictor, each, options, classes, draw=draw)
                    )
                    for each in uploads
                ]
            return [task.result() for task in tasks]
        finally:
            self._taken -= len(uploads)
            self.observer.queued(self._taken)

    def close(self) -> None:
        """Let go of threads and files; what was taken is finished before."""
        self._readers.shutdown()
        self._scenes.shutdown()
        self._folder.cleanup()

    def _full(self) -> Problem:
        return Problem(
            503,
            f"The server is busy: {self._taken:,} images wait or are being looked at. Ask again "
            "in a second.",
            {"Retry-After": "1"},
        )

    async def _look(
        self,
        model: ServedModel,
        predictor: Predictor,
        upload: Upload,
        options: Options,
        classes: tuple[str, ...],
        *,
        draw: bool,
    ) -> Found | Problem:
        named = {upload.image: upload.name} if isinstance(upload.image, Path) else {}
        if model.opened.path is not None:
            named[model.opened.path] = model.name
        try:
            return await self._found(model, predictor, upload, options, classes, draw=draw)
        except FovealError as error:
            return as_problem(error, named)
        except MemoryError:
            return Problem(413, f"{upload.name}: does not fit into the server's memory.")
        except Exception:
            log.exception("An image can't be looked at.")
            return Problem(500, f"{upload.name}: can't be looked at, which is the server's fault.")

    async def _found(
        self,
        model: ServedModel,
        predictor: Predictor,
        upload: Upload,
        options: Options,
        classes: tuple[str, ...],
        *,
        draw: bool,
    ) -> Found:
        loop = asyncio.get_running_loop()
        read = await loop.run_in_executor(self._readers, self._read, predictor, upload, draw)
        self.observer.took("decode", read.seconds)
        if isinstance(read.inputs, LargeImage):
            return await self._look_at_scene(model, read, upload, classes, draw=draw)
        begin = time.monotonic()
        (item,) = read.inputs
        batched = await asyncio.wrap_future(model.submit(item, options))
        waited = batched.waited - begin
        self.observer.took("wait", waited)
        self.observer.took("model", batched.seconds)
        detections = replace(batched.detections, path=None, georeference=read.georeference)
        self.observer.detected(model, detections, score_threshold=predictor.score_threshold)
        detections = detections.filter(*classes)
        picture = None
        if draw and item.pixels is not None:
            picture = await loop.run_in_executor(self._readers, _draw, item.pixels, detections)
        seconds = {"decode": read.seconds, "wait": max(0.0, waited), "model": batched.seconds}
        return Found(upload.name, upload.number, detections, read.notes, picture, seconds)

    def _read(self, predictor: Predictor, upload: Upload, draw: bool) -> _Read:
        begin = time.monotonic()
        checked = check_upload(upload, max_pixels=self.limits.pixels)
        notes: list[str] = []
        georeference = None
        if isinstance(upload.image, Path) and checked.bits > _DEEP:
            pixel_range, said = settle_depth([upload.image], predictor.pixel_range)
            predictor = replace(predictor, pixel_range=pixel_range)
            notes += [said] if said else []
        if isinstance(upload.image, Path) and checked.kind == "TIFF":
            try:
                georeference, note = place_of(upload.image)
                notes += [f"{upload.name} {note}."] if note else []
            except MissingExtraError as error:
                notes.append(f"It may have a place on the map, which is left out. {error.line}")
            except ImageError as error:
                said = str(error).replace(str(upload.image), upload.name)
                notes.append(f"{said} Its boxes stay in pixels.")
        inputs = predictor.prepare(upload.image, keep_pixels=draw)
        return _Read(predictor, inputs, georeference, tuple(notes), time.monotonic() - begin)

    async def _look_at_scene(
        self,
        model: ServedModel,
        read: _Read,
        upload: Upload,
        classes: tuple[str, ...],
        *,
        draw: bool,
    ) -> Found:
        gone = threading.Event()
        job = self._scenes.submit(self._scene, model, read, upload, classes, draw, gone)
        waiting = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            gone.set()
            if not job.cancel():
                # Its file is being read: it stays until the windows on their way are done.
                await asyncio.wait([waiting])
                waiting.exception()
            raise

    def _scene(
        self,
        model: ServedModel,
        read: _Read,
        upload: Upload,
        classes: tuple[str, ...],
        draw: bool,
        gone: threading.Event,
    ) -> Found:
        begin = time.monotonic()

        def check(_done: int, _total: int) -> None:
            if gone.is_set():
                raise Canceled

        if gone.is_set():
            raise Canceled
        predictor = read.predictor
        with raster_of(upload.image, predictor.pixel_range) as raster:
            tiling = predictor.scene_tiling(raster)
            detector = SceneDetector(predictor, tiling, predictor.whole)
            detections, summary = detector.look(raster, check)
            threshold = predictor.score_threshold
            self.observer.detected(model, detections, score_threshold=threshold)
            detections = detections.filter(*classes)
            seconds = time.monotonic() - begin
            self.observer.took("scene", seconds)
            picture = None
            if draw:
                from foveal.outputs.scene_pictures import draw_scene

                picture = draw_scene(raster, detections)
        said = describe_summaries([replace(summary, name=upload.name)])
        size = tiling.describe(detections.width, detections.height)
        return Found(
            upload.name,
            upload.number,
            replace(detections, path=None),
            (*read.notes, f"{upload.name}: {size}", *said),
            picture,
            {"decode": read.seconds, "scene": seconds},
        )


def _draw(pixels: NDArray[np.uint8], detections: Detections) -> Any:
    from foveal.visualization.boxes import draw_detections

    return draw_detections(pixels, detections, min_side=480)
