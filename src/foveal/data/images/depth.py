"""Which stored values become black and white where nobody states it: a file's own range.

A network of 8 bits takes files of more. 16 bits are often 10, 12 or 14 from a camera in a larger
box: the upper half of such a value would be nearly black. So what counts are the bits that the
header states or, where it states those of the box only, the fewest of 8, 10, 12, 14 and 16 that
hold the largest value. Floating point covers 0 to 1 where that holds all values, 0 to 255 where
that does and more than its half is reached; of other fractions nothing says what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_CAMERAS = (8, 10, 12, 14, 16)
"""Bits that cameras and programs write into 16."""

_HALF_OF_BYTES = 128
"""Fractions below it may be anything: meters, degrees, shares of reflection."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Between which values the values of images lie.

    Attributes:
        low, high: the smallest and the largest finite one; low is above high where there is none.
        whole: whether all are whole numbers.
        floating: whether any is stored as a floating point number.
        bits: what a header states of one value, where it is less than the type holds; else 0.
        sampled: whether not all pixels were looked at.
    """

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    floating: bool = False
    bits: int = 0
    sampled: bool = False

    def joined(self, other: Extent) -> Extent:
        """The extent of both."""
        return Extent(
            min(self.low, other.low),
            max(self.high, other.high),
            self.whole and other.whole,
            self.floating or other.floating,
            max(self.bits, other.bits),
            self.sampled or other.sampled,
        )

    def limits(self) -> tuple[float, float] | None:
        """Which values become black and white; None where nothing says it."""
        if self.low > self.high:
            return None if self.floating else (0.0, 255.0)
        if self.low < 0:
            return None
        if self.floating and self.high <= 1:
            return 0.0, 1.0
        if self.floating and not self.whole:
            return (0.0, 255.0) if _HALF_OF_BYTES <= self.high <= 255 else None
        for bits in _CAMERAS:
            if bits >= self.bits and self.high < 2**bits:
                return 0.0, float(2**bits - 1)
        return None

    def describe(self) -> str:
        """The values in words: values from 3 to 4,021 in a sample of windows."""
        if self.low > self.high:
            return "no number at all"
        where = " in a sample of windows" if self.sampled else ""
        return f"values from {self.low:,.6g} to {self.high:,.6g}{where}"


def extent_of(values: NDArray[Any], bits: int = 0) -> Extent:
    """Between which values an image's lie; what is not finite is left out.

    Args:
        values: of any shape and type.
        bits: what the file's header states of one value, 0 where it states that of the type.
    """
    floating = bool(np.issubdtype(values.dtype, np.floating))
    if not floating:
        if not values.size:
            return Extent(bits=bits)
        return Extent(float(values.min()), float(values.max()), bits=bits)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Extent(floating=True)
    low, high = float(finite.min()), float(finite.max())
    whole = high > 1 and bool((finite == np.rint(finite)).all())
    return Extent(low, high, whole, floating=True)


def join(extents: Iterable[Extent]) -> Extent:
    """The extent of all of them."""
    joined = Extent()
    for extent in extents:
        joined = joined.joined(extent)
    return joined


def unknown_range(what: str, values: NDArray[Any], extent: Extent) -> ImageError:
    """The error for values of which nothing says what becomes black and white.

    Args:
        what: the image.
        values: [H, W, C] as they are stored.
        extent: between which values they lie.
    """
    example = f"{extent.low:.6g},{extent.high:.6g}" if extent.low < extent.high else "0,1"
    return ImageError(
        f"{what}: holds {values.dtype} values, {extent.describe()}, and nothing says which become "
        f"black and white. Say it: --band-range={example} in predict and evaluate, --set "
        "preparation.band_low=[LOW] --set preparation.band_high=[HIGH] in train (in Python "
        "PixelRange(bands, low, high))."
    )
