"""Detections as a picture."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from foveal.data.images.inputs import path_of, to_pixels
from foveal.data.images.rasters import open_for_display
from foveal.data.images.reading import read_for_display
from foveal.errors import FovealError, ImageError
from foveal.structures import Detections
from foveal.visualization.boxes import draw_detections
from foveal.visualization.overviews import draw_overview

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.images.inputs import ImageLike


log = logging.getLogger(__name__)


def draw(
    detections: Detections,
    image: ImageLike | None = None,
    *,
    labels: bool = True,
    legend: bool = True,
    min_side: int = 480,
    max_side: int = 4096,
) -> Image.Image:
    """Draw what was found: one color a class, names and scores, the counts in a corner.

    A scene is drawn shrunk, which its legend says; it is read in parts, and never whole. Objects
    that become too small for boxes are dots there. `foveal.outputs.scene_pictures` writes all of a
    scene's pixels.

    Args:
        detections: boxes in the image's pixels.
        image: the same image as was given to detect; None takes the file it came from.
        labels, legend: write names and scores beside the boxes; write the counts.
        min_side: enlarge a picture whose shorter side is below this by a whole factor, so that
            words fit into it; 0 keeps the size.
        max_side: shrink a picture whose longer side is above this; 0 keeps the size.

    Returns:
        An RGB picture, which a notebook shows and `.save(path)` writes.

    Raises:
        ImageError: the image can't be read, is not the one, or is needed and not given.

    Examples:
        >>> found = foveal.load("run").detect("smear.jpg")
        >>> foveal.draw(found, labels=False).save("found.png")
    """
    if not isinstance(detections, Detections):
        raise FovealError(
            f"The first argument of draw is {type(detections).__name__}. Expected Detections, and "
            "after them the image: foveal.draw(detections, image)."
        )
    source = detections.path if image is None else image
    if source is None:
        raise ImageError(
            "These detections came from no file. Pass the image that they were found in: "
            "foveal.draw(detections, image)."
        )
    path = path_of(source)
    if path is None:
        pixels = to_pixels(source)
        size = _size(pixels)
        pixels = _shrink(pixels, max_side)
    else:
        pixels, size = _read(path, detections, max_side)
    if detections.width and size != (detections.width, detections.height):
        raise ImageError(
            f"The image is {size[0]} x {size[1]} pixels, but the objects were found in one of "
            f"{detections.width} x {detections.height}. Pass that one."
        )
    if _size(pixels) == size:
        drawn = draw_detections(pixels, detections, labels=labels, legend=legend, min_side=min_side)
        return Image.fromarray(drawn)
    log.info(
        "%s is drawn shrunk from %d x %d pixels; max_side=0 draws all of them.",
        path or "The image",
        *size,
    )
    return Image.fromarray(
        draw_overview(pixels, _of_size(detections, size), labels=labels, legend=legend)
    )


def _read(
    path: Path, detections: Detections, max_side: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A file's pixels, shrunk where they are many, and its width and height."""
    large = max_side and max(detections.width, detections.height) > max_side
    if not large and detections.georeference is None:
        pixels = read_for_display(path)
        return _shrink(pixels, max_side), _size(pixels)
    with open_for_display(path) as raster:
        size = (raster.width, raster.height)
        return raster.overview(max_side or max(size)).pixels, size


def _shrink(pixels: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    width, height = _size(pixels)
    scale = max_side / max(width, height)
    if not max_side or scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrunk = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return shrunk.reshape(size[1], size[0], -1)


def _size(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def _of_size(detections: Detections, size: tuple[int, int]) -> Detections:
    return replace(detections, width=size[0], height=size[1])
