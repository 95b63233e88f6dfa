"""JPEG XL, read by the optional imagecodecs; the size alone is read from the codestream here."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from foveal.data.images import tiff
from foveal.data.images.kinds import kind_of
from foveal.data.images.pages import Pages, ask_for_frame, missing_page
from foveal.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, where the header says a ratio instead of a width (ISO/IEC 18181-1, B.2)."""


def is_jpegxl(file: IO[bytes]) -> bool:
    """Whether the content, whatever the file's name, is JPEG XL; rewinds the file."""
    file.seek(0)
    kind = kind_of(file.read(32))
    file.seek(0)
    return kind == "JPEG XL"


def read_shape(
    file: IO[bytes], *, path: Path, page: int | None, max_pixels: int
) -> tuple[int, int, int, int]:
    """Height, width, bands without alpha and bits a value; the image is decoded for it.

    Raises:
        ImageError: as for `read_jpegxl`.
        MissingExtraError: imagecodecs is not installed.
    """
    values = read_jpegxl(file, path=path, page=page, max_pixels=max_pixels)
    height, width, bands = values.shape
    return height, width, bands, 8 * values.dtype.itemsize


def count_frames(file: IO[bytes]) -> Pages:
    """How many frames there are; all are decoded for it.

    Raises:
        MissingExtraError: imagecodecs is not installed.
    """
    return _frames(np.asarray(_imagecodecs().jpegxl_decode(file.read())))


def _frames(values: NDArray[Any]) -> Pages:
    return Pages(len(values), "frame") if values.ndim > 3 else Pages(1)


def read_jpegxl(file: IO[bytes], *, path: Path, page: int | None, max_pixels: int) -> NDArray[Any]:
    """The values as stored, [H, W, C] without alpha, orientation applied.

    Raises:
        ImageError: it is broken or too large, or an animation without this frame.
        MissingExtraError: imagecodecs is not installed.
    """
    imagecodecs = _imagecodecs()
    content = file.read()
    width, height = _size(content)
    tiff.check_pixels(width, height, max_pixels=max_pixels, path=path)
    values = np.asarray(imagecodecs.jpegxl_decode(content))
    frames = _frames(values)
    if frames.count > 1 and page is None:
        ask_for_frame(path, frames)
    if page is not None and page > frames.count:
        missing_page(path, page, frames)
    values = values[(page or 1) - 1] if values.ndim > 3 else values
    values = values.reshape(*values.shape[:2], -1)
    return values[:, :, :-1] if values.shape[2] in (2, 4) else values


def _imagecodecs() -> Any:
    with suppress(ImportError):
        import imagecodecs

        if imagecodecs.JPEGXL.available:
            return imagecodecs
    raise MissingExtraError("Reading JPEG XL needs imagecodecs: pip install 'foveal[images]'")


def _size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels, before orientation, from the codestream's first bits."""
    bits = _Bits(_codestream(content)[2:])
    if bits.take(1):
        height = 8 * (bits.take(5) + 1)
        ratio = bits.take(3)
        width = 0 if ratio else 8 * (bits.take(5) + 1)
    else:
        height = bits.take_size()
        ratio = bits.take(3)
        width = 0 if ratio else bits.take_size()
    if ratio:
        across, down = _RATIOS[ratio - 1]
        width = height * across // down
    return width, height


def _codestream(content: bytes) -> bytes:
    """The beginning of the codestream, out of the boxes that may stand around it."""
    if content[:2] == b"\xff\x0a":
        return content[:32]
    start = 0
    while start + 8 <= len(content):
        size, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 :][:4]
        header = 16 if size == 1 else 8
        if size == 1:
            size = int.from_bytes(content[start + 8 : start + 16], "big")
        if kind in (b"jxlc", b"jxlp"):
            start += header + (4 if kind == b"jxlp" else 0)
            return content[start : start + 32]
        if size < header:
            break
        start += size
    raise ValueError("no codestream in the file")


class _Bits:
    """Numbers of so many bits, the lowest first."""

    def __init__(self, content: bytes) -> None:
        self._bits = int.from_bytes(content, "little")
        self._left = 8 * len(content)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the header is cut short")
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        self._left -= count
        return value

    def take_size(self) -> int:
        return 1 + self.take((9, 13, 18, 30)[self.take(2)])
