"""Detections as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from foveal.data.images.inputs import path_of, to_pixels
from foveal.data.images.reading import read_for_display
from foveal.errors import ImageError
from foveal.visualization.boxes import draw_detections

if TYPE_CHECKING:
    from foveal.data.images.inputs import ImageLike
    from foveal.structures import Detections


def draw(
    detections: Detections,
    image: ImageLike | None = None,
    *,
    labels: bool = True,
    legend: bool = True,
    min_side: int = 480,
) -> Image.Image:
    """Draw what was found: one color a class, names and scores, the counts in a corner.

    Args:
        detections: boxes in the image's pixels.
        image: the same image as was given to detect; None takes the file it came from.
        labels, legend: write names and scores beside the boxes; write the counts.
        min_side: enlarge a picture whose shorter side is below this by a whole factor, so that
            words fit into it; 0 keeps the size.

    Returns:
        An RGB picture, which a notebook shows and `.save(path)` writes.

    Raises:
        ImageError: the image can't be read, is not the one, or is needed and not given.
    """
    source = detections.path if image is None else image
    if source is None:
        raise ImageError(
            "These detections came from no file. Pass the image that they were found in: "
            "foveal.draw(detections, image)."
        )
    path = path_of(source)
    pixels = to_pixels(source) if path is None else read_for_display(path)
    height, width = pixels.shape[:2]
    if detections.width and (width, height) != (detections.width, detections.height):
        raise ImageError(
            f"The image is {width} x {height} pixels, but the objects were found in one of "
            f"{detections.width} x {detections.height}. Pass that one."
        )
    drawn = draw_detections(pixels, detections, labels=labels, legend=legend, min_side=min_side)
    return Image.fromarray(drawn)
