"""From an image file to uint8 pixels, by one policy for every format, with every failure named.

The policy: EXIF orientation is applied. Alpha is dropped, the color stored beneath it stays. Gray
is repeated into three bands; palettes, CMYK and other color spaces are converted as Pillow does.
Of values of more than 8 bits the upper 8 are kept, of as many bits as the image uses
(`foveal.data.images.depth`), unless a `PixelRange` states which values become 0 and 255. Of a
stack of TIFF pages the first is read, of `stack.tif[3]` the third (see `foveal.data.images.pages`);
of an animation no frame but one that is named, `moving.gif[3]`.
Loads no torch.
"""

from __future__ import annotations

import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from foveal.data.images import jpegxl, tiff
from foveal.data.images import pillow as pictures
from foveal.data.images.depth import extent_of, unknown_range
from foveal.data.images.kinds import is_video
from foveal.data.images.pages import Pages, file_of, missing_page, split_page
from foveal.data.images.pixels import convert_bands, scale_to_bytes
from foveal.data.images.tiff_pages import at_page, find_pages
from foveal.errors import FovealError, ImageError, MissingExtraError
from foveal.structures import RGB, PixelRange
from foveal.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_JPEG = b"\xff\xd8\xff"
"""How its content begins; a JPEG holds 8 bits and a single image."""

_LONGEST_REASON = 200
"""Letters of what a decoder says is wrong; some say it in several lines."""

MAX_PIXELS = 500_000_000
"""Larger images are refused before they are decoded; a decoded image takes 3 or 4 bytes a pixel."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image's header says.

    Attributes:
        width, height: pixels, EXIF orientation applied.
        bands: values a pixel as stored, alpha left out.
        bits: of one value; above 8, a `PixelRange` with limits is worth stating.
        format: the format's name, such as "JPEG".
        orientation: 1..8 as EXIF and TIFF number them; 1 is as stored.
    """

    width: int
    height: int
    bands: int
    bits: int
    format: str
    orientation: int = 1


def read_image(
    path: Path | str, pixel_range: PixelRange = RGB, *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode an image.

    Args:
        path: a JPEG, PNG, TIFF, WebP, BMP, GIF, PPM, TGA, JPEG 2000 or AVIF file; HEIC, HEIF and
            JPEG XL with foveal[images].
        pixel_range: 3 bands give RGB, 1 gray; any other number must be the file's own. Values are
            scaled linearly between its limits and clipped.
        max_pixels: larger images are refused.

    Returns:
        [H, W, bands] uint8, contiguous, writable.

    Raises:
        ImageError: the file is missing, empty, broken, too large or of a kind that can't be read.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = Path(path)
    with explained(path):
        values, bits = _decode(path, bands=pixel_range.bands, max_pixels=max_pixels)
        return _to_bytes(values, pixel_range, path, bits=bits)


def read_for_display(path: Path | str) -> NDArray[np.uint8]:
    """Decode an image as people want to see it: its own bands, each spread over the grays.

    Values of 8 bits stay as they are. Deeper ones are scaled between the image's own percentiles.

    Returns:
        [H, W, C] uint8, contiguous, writable; C is the file's number of bands without alpha.

    Raises:
        ImageError: as for `read_image`.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path, info = Path(path), image_info(path)
    deep = info.bits > 8
    with explained(path):
        values, _ = _decode(path, bands=info.bands, max_pixels=MAX_PIXELS)
        spread = percentile_range([_pick(values)]) if deep else PixelRange(info.bands)
        return _to_bytes(values, spread, path)


def read_values(path: Path | str) -> NDArray[Any]:
    """Decode an image as it is stored: its own bands without alpha, values of any type.

    Returns:
        [H, W, C], contiguous.

    Raises:
        ImageError: as for `read_image`.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path, info = Path(path), image_info(path)
    with explained(path):
        values, _ = _decode(path, bands=info.bands, max_pixels=MAX_PIXELS)
        return np.ascontiguousarray(values)


def read_stored(path: Path | str, *, bands: int) -> tuple[NDArray[Any], int]:
    """Decode an image whole, before its values become bytes.

    Args:
        path: as for `read_image`.
        bands: 3 give RGB, 1 gray; any other number must be the file's own.

    Returns:
        [H, W, bands] of any type; and the bits of a value where the header states fewer than the
        type holds, else 0.

    Raises:
        ImageError: as for `read_image`.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = Path(path)
    with explained(path):
        return _decode(path, bands=bands, max_pixels=MAX_PIXELS)


def read_alpha(path: Path | str) -> NDArray[np.uint8] | None:
    """How opaque an image's pixels are, [H, W]; None where the file does not say it.

    Of what Pillow reads; of other formats nothing is said.

    Raises:
        ImageError: as for `read_image`.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = Path(path)
    with explained(path), _opened(path) as (file, page):
        if jpegxl.is_jpegxl(file) or (tiff.is_tiff(file) and not pictures.reads_tiff(file)):
            return None
        return pictures.read_alpha(file, path=path, page=page, max_pixels=MAX_PIXELS)


def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels from the header alone, EXIF orientation applied.

    Raises:
        ImageError: the file is missing, empty or no image.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    info = image_info(path)
    return info.width, info.height


def image_info(path: Path | str) -> ImageInfo:
    """What the header says, without decoding the image.

    Raises:
        ImageError: the file is missing, empty or no image.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = Path(path)
    with _opened(path) as (file, page), explained(path):
        if jpegxl.is_jpegxl(file):
            height, width, bands, bits = jpegxl.read_shape(
                file, path=path, page=page, max_pixels=MAX_PIXELS
            )
            return ImageInfo(width, height, bands, bits, "JPEG XL")
        if tiff.is_tiff(file) and not pictures.reads_tiff(file):
            height, width, bands, bits = tiff.read_shape(file, path=path)
            return ImageInfo(width, height, bands, bits, "TIFF")
        picture, orientation = pictures.open_picture(file, path=path, page=page)
        width, height = picture.size
        if orientation in tiff.SWAPPED:
            width, height = height, width
        bands, bits = pictures.stored_values(picture)
        kind = str(picture.format)
        if kind == "TIFF":
            orientation = pictures.orientation_of_tiff(picture)
        return ImageInfo(width, height, bands, bits, kind, orientation)


def count_pages(path: Path | str) -> Pages:
    """How many pages or frames a file holds, whichever of them the path names.

    Raises:
        ImageError: the file is missing, empty or no image.
        MissingExtraError: what reads this kind of file is not installed; it is named.
    """
    path = file_of(Path(path))
    with opened_file(path, path) as file, explained(path):
        if tiff.is_tiff(file):
            found = find_pages(file)
            return Pages(len(found.offsets), "page", found.axes, found.smaller)
        if file.read(3) == _JPEG:  # most images are, and none has pages
            return Pages(1)
        if jpegxl.is_jpegxl(file):
            return jpegxl.count_frames(file)
        return pictures.count_frames(file)


def pages_of(path: Path) -> Pages:
    """What a file holds; one page where the path names it, or can't be known: reading says why."""
    if split_page(path)[1] is not None:
        return Pages(1)
    try:
        return count_pages(path)
    except FovealError:
        return Pages(1)


def is_jpeg(path: Path) -> bool:
    """Whether a file is a JPEG by its content: it holds 8 bits and a single image.

    Raises:
        ImageError: it is missing or empty.
    """
    with opened_file(file_of(path), path) as file:
        return file.read(3) == _JPEG


def _pick(values: NDArray[Any], max_values: int = 100_000) -> NDArray[np.float32]:
    """At most about so many evenly spread pixels of [H, W, C]: [N, C]."""
    pixels = values.reshape(-1, values.shape[2])
    return pixels[:: max(1, len(pixels) // max_values)].astype(np.float32)


def percentile_range(
    pixels: Sequence[NDArray[np.float32]], low: float = 2.0, high: float = 98.0
) -> PixelRange:
    """The range between two percentiles of pixels, each [N, C], one for each band."""
    lows, highs = np.nanpercentile(np.concatenate(pixels), (low, high), axis=0)
    highs = np.maximum(highs, lows + 1)
    return PixelRange(len(lows), tuple(lows.tolist()), tuple(highs.tolist()))


def _decode(path: Path, *, bands: int, max_pixels: int) -> tuple[NDArray[Any], int]:
    """The stored values [H, W, bands], and the bits of one where the header states fewer."""
    bits = 0
    with _opened(path) as (file, page):
        if jpegxl.is_jpegxl(file):
            values = jpegxl.read_jpegxl(file, path=path, page=page, max_pixels=max_pixels)
        elif tiff.is_tiff(file) and (bands not in (1, 3) or not pictures.reads_tiff(file)):
            values, bits = tiff.read_tiff(file, path=path, bands=bands, max_pixels=max_pixels)
        else:
            values, bits = pictures.read_picture(
                file, path=path, page=page, bands=bands, max_pixels=max_pixels
            )
        return _with_bands(values, bands, path), bits


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open a regular file that holds something; a pipe or a device would never end.

    Yields:
        The file, and the page that is meant; None where the file begins with it, or none was named.
    """
    where, page = split_page(path)
    with opened_file(where, path) as file:
        if not tiff.is_tiff(file):
            yield file, page
            return
        with explained(path):
            pages = find_pages(file)
        if page is not None and page > len(pages.offsets):
            missing_page(path, page, Pages(len(pages.offsets)))
        offset = pages.offsets[(page or 1) - 1] if pages.offsets else pages.first
        if pages.undirected:
            raise ImageError(
                f"{path}: is one of ImageJ's stacks of more than 4 GB: {pages.undirected + 1} "
                "images, of which only the first has a directory. Save it as an image sequence, or "
                "as BigTIFF."
            )
        yield (file if offset == pages.first else at_page(file, offset)), None


@contextmanager
def opened_file(where: Path, path: Path) -> Iterator[IO[bytes]]:
    """Open a file; in messages it is called `path`."""
    try:
        status = where.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path}: is a folder. Expected an image file.")
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(f"{path}: is no regular file. Expected an image file.")
        if status.st_size == 0:
            raise ImageError(f"{path}: is empty (0 bytes). Fetch it again or remove it.")
        file = where.open("rb")
    except FileNotFoundError:
        raise ImageError(f"{path}: does not exist. Correct the path or remove the image.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path}: can't be opened ({reason}).") from None
    with file:
        yield file


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into an error that names the file."""
    try:
        yield
    except MissingExtraError as error:
        raise MissingExtraError(error.line, str(path)) from None
    except FovealError:
        raise
    except UnidentifiedImageError:
        if is_video(path.name):
            raise ImageError(
                f"{path}: is a video. Expected images: take frames out of it, such as two a second "
                "with ffmpeg -i VIDEO -r 2 FRAMES/%06d.jpg, and give their folder."
            ) from None
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
        reason = shorten(str(error), _LONGEST_REASON) or type(error).__name__
        raise ImageError(
            f"{path}: is broken or cut short ({reason}). Fetch it again or remove it."
        ) from error


def _with_bands(values: NDArray[Any], bands: int, path: Path) -> NDArray[Any]:
    converted = convert_bands(values, bands, alpha=False)
    if converted is not None:
        return converted
    given = values.shape[2]
    raise ImageError(
        f"{path}: has {given} bands, expected {bands}, as the model has. One for {given} bands is "
        f"trained with --set model.bands={given}."
    )


def _to_bytes(
    values: NDArray[Any], pixel_range: PixelRange, path: Path, *, bits: int = 0
) -> NDArray[np.uint8]:
    scaled = scale_to_bytes(values, pixel_range, bits=bits)
    if scaled is None:
        raise unknown_range(str(path), values, extent_of(values, bits))
    return np.require(scaled, np.uint8, ["C", "W"])
