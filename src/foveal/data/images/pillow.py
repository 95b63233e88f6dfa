"""The formats that Pillow reads; whole JPEGs are decoded faster, 16-bit color PNGs deeper."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError, features

from foveal.data.images import tiff
from foveal.data.images.kinds import kind_of
from foveal.data.images.pages import Pages, ask_for_frame, missing_page
from foveal.errors import ImageError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_FORMATS = (
    "JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "MPO", "PPM", "JPEG2000", "TGA", "AVIF",
)  # fmt: skip
_STILL = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats that may hold an animation; the later pages of a TIFF or MPO are views of the first."""
_ORIENTATION = 0x0112
_GRAY_ALPHA = "LA;16B"
_HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _DEPTH = (
    257, 258, 262, 277, 338, 339, 32997,
)  # fmt: skip
"""Tags of TIFF."""
_MODES = {"1": (1, 1), "L": (1, 8), "LA": (1, 8), "I;16": (1, 16), "I": (1, 32), "F": (1, 32)}
"""Bands without alpha, and bits; those of all other modes are 3 and 8."""


def _make_lock() -> None:
    """A child process must not wait for a thread that it does not have."""
    global _pillow_lock
    _pillow_lock = threading.Lock()


_pillow_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_lock)


def reads_tiff(file: IO[bytes]) -> bool:
    """Whether Pillow reads a TIFF with all its bits, and not just the first of several planes."""
    file.seek(0)
    try:
        with _without_warnings():
            picture = _open(file, ("TIFF",))
            samples: int = _tags(picture).get(_SAMPLES, 1)
    except Exception:  # whatever is wrong is said by the reader that is asked next
        return False
    bits = _tiff_bands(picture)[1]
    if samples > 1 and bits > 8:
        return False  # of each value Pillow would give the upper half
    tags = _tags(picture)
    if bits == 32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1:
        return False  # and large ones as negative
    if tags.get(_DEPTH, 1) != 1:
        return False  # and of a volume the first slice
    return samples <= max(3, len(picture.getbands())) and (
        samples == 1 or len(picture.getbands()) > 1
    )


def stored_values(picture: Image.Image) -> tuple[int, int]:
    """Bands, alpha left out, and bits of a value, from an opened picture's header."""
    bands, bits = _MODES.get(picture.mode.split("B")[0], (3, 8))
    if picture.format == "TIFF" and picture.mode not in ("P", "CMYK"):
        return _tiff_bands(picture)
    if _is_gray_with_alpha(picture):
        bands = 1
    return bands, 16 if _is_deep_color(picture) else bits


def orientation_of_tiff(picture: Image.Image) -> int:
    """The orientation 1..8 that a TIFF's tags say; Pillow itself applies it."""
    value = _tags(picture).get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _tags(picture: Image.Image) -> Mapping[int, Any]:
    """The tags of an opened TIFF by their numbers."""
    tags: Mapping[int, Any] = picture.tag_v2  # pyrefly: ignore[missing-attribute]
    return tags


def _tiff_bands(picture: Image.Image) -> tuple[int, int]:
    """Bands without alpha, and bits of a value, as the tags of a TIFF say."""
    tags = _tags(picture)
    alphas = sum(kind in (1, 2) for kind in tags.get(_EXTRA_SAMPLES, ()))
    return int(tags.get(_SAMPLES, 1)) - alphas, int(max(tags.get(_BITS, (1,))))


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    known = [name for name in _FORMATS if name in Image.OPEN]
    return tuple(name for name in known if name != "AVIF" or features.check("avif"))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without Pillow's warnings about odd metadata, on which no pixel depends."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(file: IO[bytes], formats: Sequence[str]) -> Image.Image:
    """Read the header as the first of the formats that knows the file.

    As `Image.open` does it, but for the limit of pixels: Pillow's is one for the whole process,
    and ours is checked before anything is decoded.

    Raises:
        UnidentifiedImageError: no format knows it.
    """
    Image.init()
    file.seek(0)
    beginning = file.read(16)
    for name in formats:
        open_as, accepts = Image.OPEN[name]
        # What is accepted with a text can't be read by this Pillow, as the text says.
        if accepts is not None and accepts(beginning) is not True:
            continue
        file.seek(0)
        with suppress(SyntaxError, IndexError, TypeError, struct.error):
            return open_as(file, "")
    raise UnidentifiedImageError("no format knows the file")


def _open_heif(file: IO[bytes]) -> Image.Image | None:
    """Read the header of HEIF, which Pillow does not know by itself; None for any other format.

    Raises:
        MissingExtraError: what reads it, or AVIF, is not installed.
    """
    file.seek(0)
    kind = kind_of(file.read(32))
    file.seek(0)
    if kind == "AVIF" and "AVIF" not in _formats():
        raise MissingExtraError(
            "Reading AVIF needs a Pillow that does: pip install 'foveal[images]'"
        )
    if kind != "HEIF":
        return None
    try:
        from pi_heif import HeifImageFile
    except ImportError:
        raise MissingExtraError(
            "Reading HEIC and HEIF needs pi-heif: pip install 'foveal[images]'"
        ) from None
    picture: Image.Image = HeifImageFile(file, "")
    return picture


def count_frames(file: IO[bytes]) -> Pages:
    """How many frames an animation holds; 1 page for anything that is none.

    Raises:
        UnidentifiedImageError: no format knows the file.
        MissingExtraError: what reads it is not installed.
    """
    with _without_warnings():
        return _frames(_open_heif(file) or _open(file, _formats()))


def _frames(picture: Image.Image) -> Pages:
    moving = picture.format in _STILL and getattr(picture, "is_animated", False)
    if not moving:
        return Pages(1)
    return Pages(int(picture.n_frames), "frame")  # pyrefly: ignore[missing-attribute]


def open_picture(
    file: IO[bytes], *, path: Path, page: int | None = None
) -> tuple[Image.Image, int]:
    """Read the header: the picture, not yet decoded, and the orientation still to be applied.

    Args:
        file: the content.
        path: what it is called in messages.
        page: the frame of an animation, counted from 1.

    Raises:
        ImageError: it is an animation and no frame was named, or has no such frame.
        MissingExtraError: what reads it is not installed.
    """
    with _without_warnings():
        picture = _open_heif(file) or _open(file, _formats())
        if page is not None or picture.format in _STILL:
            frames = _frames(picture)
            if frames.count > 1 and page is None:
                ask_for_frame(path, frames)
            if page is not None and page > frames.count:
                missing_page(path, page, frames)
            if frames.count > 1 and page is not None:
                picture.seek(page - 1)
        if picture.format == "TIFF":  # Pillow itself turns it
            return picture, 1
        if picture.format == "PNG" and "exif" not in picture.info:
            return picture, 1  # Pillow would decode all pixels to look behind them
        try:
            orientation = picture.getexif().get(_ORIENTATION, 1)
        except Exception:  # a broken EXIF block is no reason to refuse the pixels
            orientation = 1
    return picture, orientation if isinstance(orientation, int) else 1


def read_alpha(
    file: IO[bytes], *, path: Path, page: int | None, max_pixels: int
) -> NDArray[np.uint8] | None:
    """How opaque pixels are, [H, W], orientation applied; None where the file does not say it."""
    picture, orientation = open_picture(file, path=path, page=page)
    if picture.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and (
        "transparency" not in picture.info
    ):
        return None
    tiff.check_pixels(*picture.size, max_pixels=max_pixels, path=path)
    alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
    return tiff.orient(alpha, orientation)


def read_picture(
    file: IO[bytes], *, path: Path, page: int | None, bands: int, max_pixels: int
) -> tuple[NDArray[Any], int]:
    """The values as stored where `bands` is the file's own, else gray or RGB.

    Returns:
        [H, W, C]; and the bits of a value that the header states, 0 where the type says it.
    """
    picture, orientation = open_picture(file, path=path, page=page)
    width, height = picture.size
    tiff.check_pixels(width, height, max_pixels=max_pixels, path=path)
    _expect_all_strips(picture, path)
    values = None if page is not None else _decode_by_opencv(file, picture)
    if values is None:
        values = np.asarray(_converted(picture, bands))
        if values.dtype == np.bool_:
            values = values.astype(np.uint8) * 255
    values = values.reshape(height, width, -1)
    if _white_is_zero(picture):
        values = values.dtype.type(65535) - values
    return tiff.orient(values, orientation), _stated_bits(picture)


def _expect_all_strips(picture: Image.Image, path: Path) -> None:
    """Refuse a TIFF of which some strips have no place in the file: Pillow leaves them black."""
    tiles = getattr(picture, "tile", None)
    if picture.format != "TIFF" or not tiles:
        return
    stored = int(_tags(picture).get(_HEIGHT, 0))
    there = max(tile[1][3] for tile in tiles)
    if there < stored:
        raise ImageError(
            f"{path}: is broken or cut short: it holds {there:,} of {stored:,} rows. Fetch it "
            "again or remove it."
        )


def _white_is_zero(picture: Image.Image) -> bool:
    """Whether 16-bit gray is stored with white as 0, which Pillow turns round for 8 bits only."""
    if picture.format != "TIFF" or picture.mode not in ("I;16", "I;16B"):
        return False
    tags = _tags(picture)
    return bool(tags.get(_PHOTOMETRIC) == 0)


def _stated_bits(picture: Image.Image) -> int:
    """The bits of a value that the header states, 0 where it states those of the type."""
    if picture.format == "TIFF":
        bits = _tiff_bands(picture)[1]
        return bits if 8 < bits < 16 else 0
    # Pillow brings JPEG 2000 of any depth to the full range of 16 bits.
    return 16 if picture.format == "JPEG2000" else 0


def _decode_by_opencv(file: IO[bytes], picture: Image.Image) -> NDArray[Any] | None:
    """What Pillow would give, decoded faster or deeper; None where Pillow must decode itself.

    Only whole JPEGs of one or three bands, where both decode with libjpeg-turbo and agree to the
    bit, and 16-bit color PNGs, of which Pillow keeps the high byte only.
    """
    deep = _is_deep_color(picture)
    if not (deep or (picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L"))):
        return None
    width, height = picture.size
    file.seek(0)
    content = file.read(64 + 8 * 4 * width * height)
    if not deep and not content.endswith(b"\xff\xd9"):
        return None  # cut short, or with something behind it: Pillow tells
    if deep:
        how = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
    else:
        how = cv2.IMREAD_COLOR_RGB if picture.mode == "RGB" else cv2.IMREAD_GRAYSCALE
    image = cv2.imdecode(np.frombuffer(content, np.uint8), how | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None or image.shape[:2] != (height, width):
        return None
    return image.reshape(height, width, -1)[:, :, : 1 if _is_gray_with_alpha(picture) else None]


def _raw_mode(picture: Image.Image) -> object:
    """How Pillow calls the values in the file, before it makes them the picture's."""
    tiles = getattr(picture, "tile", None) or [None]
    return tiles[0][3] if tiles[0] else None


def _is_gray_with_alpha(picture: Image.Image) -> bool:
    """Whether it is gray of 16 bits with alpha, which Pillow makes color."""
    return picture.format == "PNG" and _raw_mode(picture) == _GRAY_ALPHA


def _is_deep_color(picture: Image.Image) -> bool:
    kind = _raw_mode(picture)
    return picture.format == "PNG" and kind in ("RGB;16B", "RGBA;16B", _GRAY_ALPHA)


def _converted(picture: Image.Image, bands: int) -> Image.Image:
    mode = picture.mode
    if mode.startswith("I;16") or mode in ("I", "F", "L", "1") or (mode == "RGB" and bands != 1):
        picture.load()
        return picture
    if bands == 4 and mode in ("RGBA", "RGBX", "CMYK"):
        picture.load()
        return picture
    return picture.convert("L" if bands == 1 or mode in ("LA", "La") else "RGB")
