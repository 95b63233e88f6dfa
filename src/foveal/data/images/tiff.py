"""TIFFs that Pillow can't read: any number of bands, deep values; read by the optional tifffile."""

from __future__ import annotations

import logging
import math
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from foveal.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _RGB = 0, 2
"""Values of the tag PhotometricInterpretation."""
_UNCOMPRESSED = 1
SWAPPED = (5, 6, 7, 8)
"""Orientations (EXIF, TIFF) that swap width and height."""


def is_tiff(file: IO[bytes]) -> bool:
    """Whether the content, whatever the file's name, is a TIFF or BigTIFF; rewinds the file."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start in _MAGIC


def check_pixels(width: int, height: int, *, max_pixels: int, path: Path) -> None:
    """Refuse an image of more than `max_pixels` pixels.

    Raises:
        ImageError: it is too large.
    """
    if width * height > max_pixels:
        raise ImageError(
            f"{path}: has {width} x {height} pixels, more than the {max_pixels:,} that are "
            "decoded at once. Cut it into tiles, or remove it if it is not what it should be."
        )


def orient(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply an EXIF orientation (1..8, else none) to [H, W, C]."""
    if orientation in SWAPPED:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def read_shape(file: IO[bytes], *, path: Path) -> tuple[int, int, int, int]:
    """Height, width, bands without alpha and bits a value of the first page, from its header.

    Raises:
        ImageError: the file has no such page.
        MissingExtraError: tifffile is not installed.
    """
    file.seek(0)
    with _tifffile().TiffFile(file) as pages:
        page = _first_page(pages, path)
        height, width = int(page.imagelength), int(page.imagewidth)
        bits = int(np.max(page.bitspersample))
        if _orientation(page) in SWAPPED:
            height, width = width, height
        return height, width, int(page.samplesperpixel) - _alphas(page), bits


def read_tiff(
    file: IO[bytes], *, path: Path, bands: int, max_pixels: int
) -> tuple[NDArray[Any], int]:
    """The first page's values as stored, [H, W, C], and the bits that one has where they are few.

    Alpha is left out unless `bands` counts it, and so is what stands behind RGB where 3 are wanted.
    Where white is 0, the values are turned round.

    Returns:
        The values; and 9 to 15 where the header states so many bits, else 0.

    Raises:
        ImageError: the file has no such page, is too large or compressed in an unknown way.
        MissingExtraError: tifffile is not installed.
    """
    file.seek(0)
    with _tifffile().TiffFile(file) as pages:
        page = _first_page(pages, path)
        check_pixels(int(page.imagewidth), int(page.imagelength), max_pixels=max_pixels, path=path)
        end = file.seek(0, 2)
        parts = zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(start + size > end for start, size in parts):
            raise ImageError(
                f"{path}: is cut short: its pixels should go on behind the file's end. "
                "Fetch it again or remove it."
            )
        _expect_all_parts(page, path)
        values = np.asarray(page.asarray())
        if np.iscomplexobj(values):
            raise ImageError(f"{path}: holds complex numbers. Expected real ones: save magnitudes.")
        if values.ndim == 3 and page.planarconfig == 2:
            values = np.moveaxis(values, 0, -1)
        values = values.reshape(int(page.imagelength), int(page.imagewidth), -1)
        bits = int(np.max(page.bitspersample))
        if page.photometric == _WHITE_IS_ZERO and np.issubdtype(values.dtype, np.unsignedinteger):
            values = values.dtype.type(2**bits - 1) - values
        given = values.shape[2]
        if given != bands:
            rgb = page.photometric == _RGB and bands in (1, 3) and given > 3
            values = values[:, :, : 3 if rgb else given - _alphas(page)]
        return orient(values, _orientation(page)), bits if 8 < bits < 16 else 0


def _expect_all_parts(page: Any, path: Path) -> None:
    """Refuse a page of which some strips or tiles have no place in the file.

    tifffile would fill them, however large a damaged header says they are.
    """
    parts, expected = len(page.dataoffsets), math.prod(page.chunked)
    whole = page.compression == _UNCOMPRESSED and sum(page.databytecounts) >= page.nbytes
    if parts < expected and not whole:
        raise ImageError(
            f"{path}: is broken or cut short: of {expected:,} parts of its pixels the file holds "
            f"{parts:,}. Fetch it again or remove it."
        )


def _alphas(page: Any) -> int:
    """How many of a page's bands are alpha, as it says or as a fourth beside RGB is."""
    extra = page.extrasamples
    if page.photometric == _RGB and page.samplesperpixel == 4 and not extra:
        return 1
    return sum(int(kind) in (1, 2) for kind in extra)


def write_tiff(file: IO[bytes], values: NDArray[Any]) -> None:
    """Write the values [H, W, C] of any type as a TIFF of one page.

    Raises:
        MissingExtraError: tifffile is not installed.
    """
    if values.shape[2] == 1:
        _tifffile().imwrite(file, values[:, :, 0], photometric="minisblack")
    else:
        _tifffile().imwrite(file, values, photometric="minisblack", planarconfig="contig")


def _first_page(pages: Any, path: Path) -> Any:
    if not len(pages.pages):
        raise ImageError(f"{path}: holds no page. Fetch it again or remove it.")
    page = pages.pages[0]
    if page.imagedepth > 1:
        raise ImageError(
            f"{path}: is a volume of {page.imagedepth} slices in one page. Expected a picture: "
            "save the slices as pages."
        )
    if page.imagewidth < 1 or page.imagelength < 1:
        raise ImageError(f"{path}: its first page is no picture. Expected width x height pixels.")
    return page


def _orientation(page: Any) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None and isinstance(tag.value, int) else 1


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError:
        raise MissingExtraError(
            "Reading TIFF of many bands, or of more than 8 bits, needs tifffile: "
            "pip install 'foveal[tiff]'"
        ) from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    return tifffile
