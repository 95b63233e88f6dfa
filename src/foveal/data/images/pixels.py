"""From stored values to a network's pixels: the number of bands, and 8 bits a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from foveal.data.images.depth import extent_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.structures import PixelRange

_WHOLE_BITS = {float(2**bits - 1): bits for bits in range(8, 17)}
"""The largest value of so many bits."""


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


def scale_to_bytes(
    values: NDArray[Any], pixel_range: PixelRange, *, bits: int = 0
) -> NDArray[np.uint8] | None:
    """Values in 0..255, bytes as they are; None where nothing says what the values' range is.

    Of whole numbers whose range is a number of bits the upper 8 are kept; all others are scaled
    linearly. What is no number becomes 0.

    Args:
        values: [H, W, C] of any type.
        pixel_range: what becomes 0 and 255; where it says nothing, the values themselves do.
        bits: what the file's header states of one value, where it is less than the type holds.

    Returns:
        [H, W, C].
    """
    if pixel_range.low:
        return _scaled(values, pixel_range.low, pixel_range.high)
    if values.dtype == np.uint8:
        return values
    limits = pixel_range.deep or extent_of(values, bits).limits()
    if not limits:
        return None
    low, high = limits
    if low == 0 and high in _WHOLE_BITS and np.issubdtype(values.dtype, np.integer):
        kept = values if values.dtype == np.uint16 else np.maximum(values, 0)
        kept = np.minimum(kept, int(high)) if high < 65535 or values.dtype != np.uint16 else kept
        return np.asarray(kept >> (_WHOLE_BITS[high] - 8), np.uint8)
    return _scaled(values, (low,), (high,))


def _scaled(
    values: NDArray[Any], low: tuple[float, ...], high: tuple[float, ...]
) -> NDArray[np.uint8]:
    lows = np.asarray(low, np.float32)
    span = np.maximum(np.asarray(high, np.float32) - lows, 1e-6)
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number, or larger than any
        scaled = (values.astype(np.float32) - lows) * (255 / span)
    return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0, 255)), np.uint8)
