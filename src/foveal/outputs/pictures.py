"""Detections as pictures in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.images.encoding import write_image
from foveal.files import MAKE_ROOM
from foveal.visualization.boxes import draw_detections

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.structures import Detections


def write_picture(
    path: Path,
    image: NDArray[np.uint8],
    detections: Detections,
    *,
    min_side: int = 480,
    advice: str = MAKE_ROOM,
) -> None:
    """Write what was found in an image as a picture, as `foveal.draw` draws it.

    Args:
        path: the file; its ending says the format.
        image: [H, W, C] uint8.
        detections: boxes in the image's pixels.
        min_side: enlarge a picture whose shorter side is below this by a whole factor, so that
            words fit into it; 0 keeps the size.
        advice: what to do where the file can't be written.

    Raises:
        FovealError: the file can't be written.
    """
    write_image(path, draw_detections(image, detections, min_side=min_side), advice=advice)
