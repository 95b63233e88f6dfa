"""What the images of a run are stored as, looked at before it: one range of values for all."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.depth import extent_of, join
from foveal.data.images.inputs import path_of
from foveal.data.images.rasters import is_virtual_raster, open_raster
from foveal.data.images.reading import image_info, is_jpeg, percentile_range
from foveal.errors import FovealError, ImageError
from foveal.structures import PixelRange
from foveal.text import counted
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from foveal.data.images.depth import Extent
    from foveal.data.images.inputs import ImageLike

log = logging.getLogger(__name__)

_DEPTH = "depth"
"""A kind of what is told once."""


def settle_depth(paths: Sequence[Path | str], pixel_range: PixelRange) -> tuple[PixelRange, str]:
    """Choose which values of images deeper than 8 bits become black and white, one for all.

    Looked at one by one, a dark image would be brightened where its neighbor is not. Files that
    can't be read are left out here; reading says why.

    Args:
        paths: the images of a run.
        pixel_range: what the network takes; where it states a range, that stays.

    Returns:
        The range, and what was chosen or does not fit, in one sentence; nothing where all images
        hold bytes and the network takes them.
    """
    if pixel_range.low:
        return pixel_range, _describe_shallow(paths, pixel_range)
    if pixel_range.deep:
        return pixel_range, ""
    deep = [extent for extent in map_in_threads(_extent, paths) if extent is not None]
    if not deep:
        return pixel_range, ""
    extent = join(deep)
    limits = extent.limits()
    hold = "holds" if len(deep) == 1 else "hold"
    what = f"{counted(len(deep), 'image')} {hold} more than 8 bits, {extent.describe()}"
    other = "--band-range LOW,HIGH takes others (in Python PixelRange)."
    if limits is None:
        return pixel_range, f"{what}: each is scaled by its own where that says enough. {other}"
    low, high = limits
    chosen = f"{low:,.6g} to {high:,.6g} become 0 to 255"
    return replace(pixel_range, deep=limits), f"{what}: {chosen}. {other}"


def telling_depth(
    images: Iterable[ImageLike], pixel_range: PixelRange, told: set[str] | None = None
) -> Iterator[ImageLike]:
    """Give the images on, and log of the first of more than 8 bits which values become 0 and 255.

    Args:
        images: each is scaled by its own values, where nothing is stated.
        pixel_range: what the network takes; where it states a range there is nothing to tell.
        told: what was told of images before, and will have been; None remembers nothing.
    """
    told = set() if told is None else told
    nothing_to_tell = bool(pixel_range.low or pixel_range.deep)
    for image in images:
        extent = None if nothing_to_tell or _DEPTH in told else _extent_of_any(image)
        limits = None if extent is None else extent.limits()
        if extent is not None and limits:
            told.add(_DEPTH)
            log.warning(
                "An image holds more than 8 bits, %s: %.6g to %.6g become 0 to 255. Each such "
                "image is scaled by its own; --band-range LOW,HIGH states one range (in Python "
                "PixelRange(deep=(LOW, HIGH))).",
                extent.describe(), *limits,
            )  # fmt: skip
        yield image


def _extent_of_any(image: ImageLike) -> Extent | None:
    if isinstance(image, np.ndarray):
        return extent_of(image) if image.dtype == np.uint16 else None
    path = path_of(image)
    return None if path is None else _extent(path)


def _describe_shallow(paths: Sequence[Path | str], pixel_range: PixelRange) -> str:
    """Images of 8 bits for a network whose range goes far beyond them."""
    if max(pixel_range.high) <= 255:
        return ""
    shallow = sum(map_in_threads(_holds_bytes, paths))
    if not shallow:
        return ""
    hold = "holds" if shallow == 1 else "hold"
    return (
        f"{counted(shallow, 'image')} {hold} 8 bits, and the model takes values from "
        f"{min(pixel_range.low):,.6g} to {max(pixel_range.high):,.6g}: they come out dark. "
        "--band-range 0,255 is for a run on such images alone (in Python PixelRange)."
    )


def image_extent(path: Path | str) -> Extent | None:
    """Between which values an image's lie; None where they are bytes, of which it is known.

    Of a large one, windows spread evenly over it tell; what stands for no data does not count.

    Raises:
        ImageError: the image can't be read.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = Path(path)
    if is_jpeg(path):  # most images are, and opening one fully takes far longer
        return None
    if is_virtual_raster(path):
        with open_raster(path) as raster:
            return raster.extent() if raster.is_deep else None
    info = image_info(path)
    if info.bits <= 8:
        return None
    with open_raster(path, PixelRange(info.bands)) as raster:
        return raster.extent()


def band_percentiles(
    paths: Sequence[Path | str],
    *,
    bands: int,
    low: float = 2.0,
    high: float = 98.0,
    max_values: int = 100_000,
) -> PixelRange:
    """The values between which most of a data set's pixels lie.

    Args:
        paths: the images, each with `bands` bands (1 or 3 for what Pillow reads).
        bands: values a pixel.
        low, high: percentiles, 0..100.
        max_values: of each image, at most about so many evenly spread pixels are looked at.

    Returns:
        One limit for each band, low and high; high is above low.

    Raises:
        ImageError: an image can't be read, none holds data, or there is none.
    """
    picked = []
    for path in paths:
        with open_raster(path, PixelRange(bands)) as raster:
            picked.append(raster.some_values(max_values))
    if not any(map(len, picked)):
        raise ImageError(
            "No images with data to take percentiles of. Expected at least one: state the range, "
            "--set preparation.band_low=[LOW] --set preparation.band_high=[HIGH]."
        )
    return percentile_range(picked, low, high)


def _extent(path: Path | str) -> Extent | None:
    try:
        return image_extent(path)
    except FovealError:
        return None


def _holds_bytes(path: Path | str) -> bool:
    try:
        return image_info(path).bits <= 8
    except FovealError:
        return False
