"""From an image file to uint8 pixels, by one policy for every format, with every failure named.

The policy: EXIF orientation is applied. Alpha is dropped, the color stored beneath it stays. Gray
is repeated into three bands; palettes, CMYK and other color spaces are converted as Pillow does.
Of 16-bit values the high byte is kept (value // 256, what Pillow does with 16-bit color), unless
`band_low` and `band_high` state which values become 0 and 255. An animation is no image.
Loads no torch.
"""

from __future__ import annotations

import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from foveal.data.images import pillow as pictures
from foveal.data.images import tiff
from foveal.errors import FovealError, ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MOST_PIXELS = 500_000_000
"""Larger images are refused before they are decoded; a decoded image takes 3 or 4 bytes a pixel."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image's header says.

    Attributes:
        width, height: pixels, EXIF orientation applied.
        bands: values a pixel as stored, alpha left out.
        bits: of one value; above 8, `band_low` and `band_high` are worth stating.
        format: the format's name, such as "JPEG".
    """

    width: int
    height: int
    bands: int
    bits: int
    format: str


def read_image(
    path: Path | str,
    *,
    bands: int = 3,
    band_low: Sequence[float] = (),
    band_high: Sequence[float] = (),
    most_pixels: int = MOST_PIXELS,
) -> NDArray[np.uint8]:
    """Decode an image.

    Args:
        path: a JPEG, PNG, TIFF, WebP, BMP, GIF, PPM, TGA, JPEG 2000 or AVIF file.
        bands: 3 gives RGB, 1 gray; any other number must be the file's own.
        band_low: the stored value that becomes 0, one for all bands or one for each.
        band_high: the stored value that becomes 255; values are scaled linearly and clipped.
        most_pixels: larger images are refused.

    Returns:
        [H, W, bands] uint8, contiguous, writable.

    Raises:
        ImageError: the file is missing, empty, broken, too large or of a kind that can't be read.
        MissingExtraError: a multi-band TIFF, and tifffile is not installed.
    """
    path = Path(path)
    if len(band_low) != len(band_high) or len(band_low) not in (0, 1, bands):
        raise ImageError(
            f"{path}: band_low has {len(band_low)} values and band_high {len(band_high)}. "
            f"Expected none, one, or one for each of {bands} bands, in both."
        )
    with _opened(path) as file, _explained(path):
        if tiff.is_tiff(file) and (
            bands not in (1, 3) or band_low or not pictures.reads_tiff(file)
        ):
            values = tiff.read_tiff(file, path=path, most_pixels=most_pixels)
        else:
            values = pictures.read_picture(
                file, path=path, bands=bands, deep=bool(band_low), most_pixels=most_pixels
            )
        values = _with_bands(values, bands, path)
        return _to_bytes(values, band_low, band_high, path)


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels from the header alone, EXIF orientation applied.

    Raises:
        ImageError: the file is missing, empty or no image.
        MissingExtraError: a multi-band TIFF, and tifffile is not installed.
    """
    info = image_info(path)
    return info.width, info.height


def image_info(path: Path | str) -> ImageInfo:
    """What the header says, without decoding the image.

    Raises:
        ImageError: the file is missing, empty or no image.
        MissingExtraError: a multi-band TIFF, and tifffile is not installed.
    """
    path = Path(path)
    with _opened(path) as file, _explained(path):
        if tiff.is_tiff(file) and not pictures.reads_tiff(file):
            height, width, bands, bits = tiff.read_shape(file, path=path)
            return ImageInfo(width, height, bands, bits, "TIFF")
        picture, orientation = pictures.open_picture(file, path=path)
        width, height = picture.size
        if orientation in tiff.SWAPPED:
            width, height = height, width
        bands, bits = pictures.stored_values(picture)
        return ImageInfo(width, height, bands, bits, str(picture.format))


def band_percentiles(
    paths: Sequence[Path | str],
    *,
    bands: int,
    low: float = 2.0,
    high: float = 98.0,
    most_values: int = 100_000,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The values between which most of a data set's pixels lie: `band_low` and `band_high`.

    Args:
        paths: the images, each with `bands` bands (1 or 3 for what Pillow reads).
        bands: values a pixel.
        low, high: percentiles, 0..100.
        most_values: of each image, so many evenly spread pixels are looked at.

    Returns:
        One value for each band, low and high; high is above low.

    Raises:
        ImageError: an image can't be read, or there is none.
    """
    picked = []
    for path in map(Path, paths):
        with _opened(path) as file, _explained(path):
            if tiff.is_tiff(file):
                values = tiff.read_tiff(file, path=path, most_pixels=MOST_PIXELS)
            else:
                values = pictures.read_picture(
                    file, path=path, bands=bands, deep=True, most_pixels=MOST_PIXELS
                )
            pixels = _with_bands(values, bands, path).reshape(-1, bands)
        step = max(1, len(pixels) // most_values)
        picked.append(pixels[::step].astype(np.float32))
    if not picked:
        raise ImageError("No images to take percentiles of. Expected at least one.")
    lows, highs = np.nanpercentile(np.concatenate(picked), (low, high), axis=0)
    highs = np.maximum(highs, lows + 1)
    return tuple(float(value) for value in lows), tuple(float(value) for value in highs)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file that holds something; a pipe or a device would never end."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path}: is a folder. Expected an image file.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: is no regular file. Expected an image file.")
        if status.st_size == 0:
            raise ImageError(f"{path}: is empty (0 bytes). Fetch it again or remove it.")
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: does not exist. Correct the path or remove the image.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: can't be opened ({reason}).") from None
    with file:
        yield file


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an error that names the file."""
    try:
        yield
    except FovealError:
        raise
    except UnidentifiedImageError:
        raise ImageError(
            f"{path}: is no image that can be read, whatever its name says. "
            "Expected JPEG, PNG, TIFF, WebP or BMP. Convert or remove it."
        ) from None
    except MemoryError:
        raise ImageError(f"{path}: does not fit into memory.") from None
    except Image.DecompressionBombError as error:  # of formats that look while they decode
        raise ImageError(
            f"{path}: is too large for Pillow ({error}). Cut it into tiles, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS in your program."
        ) from None
    except Exception as error:  # decoders raise OSError, ValueError, SyntaxError, struct.error ...
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"{path}: is broken or cut short ({reason}). Fetch it again or remove it."
        ) from error


def scale_to_bytes(
    values: NDArray[Any], low: Sequence[float], high: Sequence[float]
) -> NDArray[np.uint8] | None:
    """Values in 0..255, bytes as they are; None where nothing says what the values' range is.

    Args:
        values: [H, W, C] of any type.
        low, high: what becomes 0 and 255, one for all bands or one for each; without them 16 bits
            keep their upper half.
    """
    if low:
        bottom = np.asarray(low, np.float32)
        span = np.maximum(np.asarray(high, np.float32) - bottom, 1e-6)
        scaled = (values.astype(np.float32) - bottom) * (255 / span)
        return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0, 255)), np.uint8)
    if values.dtype == np.uint8:
        return values
    return np.asarray(values >> 8, np.uint8) if values.dtype == np.uint16 else None


def _with_bands(values: NDArray[Any], bands: int, path: Path) -> NDArray[Any]:
    found = values.shape[2]
    if found == bands:
        return values
    if found == 1 and bands == 3:
        return values.repeat(3, axis=2)
    if found == 3 and bands == 1 and values.dtype == np.uint8:
        return np.ascontiguousarray(cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2GRAY))[
            :, :, None
        ]
    raise ImageError(
        f"{path}: has {found} bands, expected {bands}. Set model.bands={found} if that is meant."
    )


def _to_bytes(
    values: NDArray[Any], low: Sequence[float], high: Sequence[float], path: Path
) -> NDArray[np.uint8]:
    scaled = scale_to_bytes(values, low, high)
    if scaled is not None:
        return np.require(scaled, np.uint8, ["C", "W"])
    raise ImageError(
        f"{path}: holds {values.dtype} values, whose range is unknown. "
        "State it with preparation.band_low and preparation.band_high."
    )
