"""Pictures in files: of detections, and of any pixels; each is there whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from foveal.files import MAKE_ROOM, write_file, writing
from foveal.visualization.boxes import draw_detections

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from foveal.structures import Detections

_QUALITY = 92
"""Of JPEGs: no blocks show, and a file takes a third of one of quality 100."""


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
    drawn = draw_detections(image, detections, min_side=min_side)
    write_image(path, drawn, advice=advice)


def write_image(path: Path, image: NDArray[np.uint8], *, advice: str = MAKE_ROOM) -> None:
    """Write pixels as a picture.

    Args:
        path: the file; its ending says the format.
        image: [H, W, 3] uint8 RGB.
        advice: what to do where the file can't be written.

    Raises:
        FovealError: the file can't be written, or its format takes no picture of this size.
    """
    encoded = BytesIO()
    kind = Image.registered_extensions()[path.suffix.lower()]
    with writing(path, advice=advice):
        Image.fromarray(image).save(encoded, format=kind, quality=_QUALITY)
    # There may be thousands: nobody waits for the disk after each.
    write_file(path, encoded.getvalue(), advice=advice, sync=False)
