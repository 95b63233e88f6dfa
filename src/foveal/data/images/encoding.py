"""From pixels to an image file, which is there whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from foveal.files import MAKE_ROOM, write_file, writing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUALITY = 92
"""Of JPEGs: no blocks show, and a file takes a third of one of quality 100."""


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
