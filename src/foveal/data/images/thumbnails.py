"""Small gray squares of images, to compare many of them: JPEGs are decoded at a fraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from foveal.data.images import tiff
from foveal.data.images.headers import Header, read_header
from foveal.data.images.pages import split_page
from foveal.data.images.rasters import SMALL, open_raster
from foveal.data.images.reading import image_info, opened_file, read_for_display
from foveal.errors import FovealError
from foveal.structures import PixelRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

_JPEG = b"\xff\xd8\xff"
_REDUCED = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: cv2.IMREAD_GRAYSCALE,
}
"""How a JPEG is decoded at one in so many pixels of each side."""
_SPARE = 1.5
"""So many pixels of what was decoded stand behind one of the square, at least."""


def read_thumbnail(path: Path | str, side: int) -> NDArray[np.uint8] | None:
    """An image as a small gray square, whatever its shape; its orientation is applied.

    Each value is the mean of the pixels that it stands for. Values of more than 8 bits are spread
    over the grays as for display.

    Args:
        path: the file, or a page of it.
        side: of the square, pixels.

    Returns:
        [side, side] uint8, or None where the image can't be read.
    """
    path = Path(path)
    try:
        header = read_header(str(path))
        if header.fault or header.needs:
            return None
        gray = _of_jpeg(path, header, side)
        if gray is None:
            gray = _of_any(path, header, side)
    except FovealError:
        return None
    shrunk = cv2.resize(gray, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8)


def _of_jpeg(path: Path, header: Header, side: int) -> NDArray[np.uint8] | None:
    """A JPEG decoded at a fraction of its size; None where it is none, or must be looked at whole.

    The decoder leaves out what it does not need, which takes a third of the time.
    """
    if split_page(path)[1] is not None:
        return None
    with opened_file(path, path) as file:
        if file.read(3) != _JPEG:
            return None
        file.seek(0)
        content = file.read()
    shorter = min(header.width, header.height)
    reduction = next(n for n in _REDUCED if n == 1 or shorter >= n * side * _SPARE)
    how = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    gray = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    return None if gray is None else np.asarray(tiff.orient(gray, header.orientation), np.uint8)


def _of_any(path: Path, header: Header, side: int) -> NDArray[np.uint8]:
    """[H, W]: an image by its reader; large ones are shrunk while they are read."""
    if header.width * header.height <= SMALL:
        return _gray(read_for_display(path))
    with (
        open_raster(path, PixelRange(image_info(path).bands)) as raster,
        raster.for_display() as shown,
    ):
        return _gray(shown.overview(8 * side).pixels)


def _gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W] of [H, W, C]: as JPEG weighs red, green and blue; of other bands the mean."""
    if pixels.shape[2] == 3:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.asarray(pixels.mean(axis=2).round(), np.uint8)
