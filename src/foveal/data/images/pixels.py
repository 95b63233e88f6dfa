"""From stored values to a network's pixels: the number of bands, and 8 bits a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.structures import PixelRange


def convert_bands(values: NDArray[Any], bands: int, *, alpha: bool) -> NDArray[Any] | None:
    """Values with another number of bands; None where nothing says how.

    Gray is repeated into three bands, and RGB bytes become gray.

    Args:
        values: [H, W, C] of any type.
        bands: how many are wanted.
        alpha: whether a second or fourth band is alpha, which is dropped. Of an array nobody says
            what it is, and alpha is what it usually is. A reader of files has dropped alpha
            already where the header names it; what is left is a band like the others.

    Returns:
        [H, W, bands], a view where that will do.
    """
    if values.shape[2] != bands and alpha and (values.shape[2], bands) in ((2, 3), (4, 3), (4, 1)):
        values = values[:, :, :-1]
    given = values.shape[2]
    if given == bands:
        return values
    if (given, bands) == (1, 3):
        return values.repeat(3, axis=2)
    if (given, bands) == (3, 1) and values.dtype == np.uint8:
        gray = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2GRAY)
        return np.asarray(gray)[:, :, None]
    return None


def scale_to_bytes(values: NDArray[Any], pixel_range: PixelRange) -> NDArray[np.uint8] | None:
    """Values in 0..255, bytes as they are; None where nothing says what the values' range is.

    Args:
        values: [H, W, C] of any type.
        pixel_range: what becomes 0 and 255; where it says nothing, 16 bits keep their upper half.

    Returns:
        [H, W, C].
    """
    if pixel_range.low:
        low = np.asarray(pixel_range.low, np.float32)
        span = np.maximum(np.asarray(pixel_range.high, np.float32) - low, 1e-6)
        scaled = (values.astype(np.float32) - low) * (255 / span)
        return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0, 255)), np.uint8)
    if values.dtype == np.uint8:
        return values
    return np.asarray(values >> 8, np.uint8) if values.dtype == np.uint16 else None
