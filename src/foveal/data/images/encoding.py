"""From pixels to an image file, which is there whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from foveal.data.images import tiff
from foveal.data.images.reading import read_values
from foveal.files import MAKE_ROOM, write_file, writing

if TYPE_CHECKING:
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


def write_page(image: Path, path: Path) -> None:
    """Write a page of a stack, or a frame of an animation, as a file of its own.

    Args:
        image: the page, as `foveal.data.images.pages` names it.
        path: the file; TIFF keeps the values as they are stored.

    Raises:
        ImageError: the page can't be read.
        MissingExtraError: it has many bands or values of more than 16 bits, and tifffile is not
            installed.
        FovealError: the file can't be written.
    """
    values = read_values(image)
    encoded = BytesIO()
    bands = values.shape[2]
    if (bands, values.dtype.name) in ((1, "uint8"), (3, "uint8"), (1, "uint16")):
        kind = Image.registered_extensions()[path.suffix.lower()]
        Image.fromarray(values[:, :, 0] if bands == 1 else values).save(encoded, format=kind)
    else:
        tiff.write_tiff(encoded, values)
    write_file(path, encoded.getvalue(), sync=False)
