"""An image that came in: what it may be is decided by its bytes and its header, before decoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.images.kinds import kind_of
from foveal.data.images.reading import count_pages, image_info
from foveal.serving.problems import Problem
from foveal.text import printable, shorten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
"""What is decoded. Animations, and formats that phones and browsers turn into JPEG, are not."""

_LONGEST_NAME = 120
_BEGINNING = 64


@dataclass(frozen=True, slots=True)
class Checked:
    """What is known of an image before it is decoded.

    Attributes:
        kind: by its bytes, such as "JPEG"; "" of pixels.
        bits: of a value.
    """

    kind: str = ""
    bits: int = 8


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """An image of a request, in a file of the server's own, or as pixels.

    Attributes:
        image: the file, whose name says nothing; or [H, W, C] uint8.
        name: what the client calls it, without folders.
        number: its position in the request, from 0.
    """

    image: Path | NDArray[np.uint8]
    name: str
    number: int = 0


def upload_name(given: str | None, number: int) -> str:
    """What an image is called in answers: the last part of what the client calls it.

    Args:
        given: by the client; it may be anything.
        number: its position in the request, from 0.
    """
    last = (given or "").replace("\\", "/").replace("\0", "").rstrip("/").rsplit("/", 1)[-1]
    name = shorten(printable(last, lines=False), _LONGEST_NAME).strip()
    return name if name not in ("", ".", "..") else f"image {number + 1}"


def check_upload(upload: Upload, *, max_pixels: int) -> Checked:
    """See, without decoding it, whether an image is one that the server takes.

    Args:
        upload: the image.
        max_pixels: larger ones are refused.

    Raises:
        Problem: it is empty, of another kind, of too many pixels or of several pages.
        ImageError: its header can't be read.
        MissingExtraError: what reads it is not installed.
    """
    if not isinstance(upload.image, Path):
        _check_pixels(upload, upload.image.shape[1], upload.image.shape[0], max_pixels)
        return Checked()
    with upload.image.open("rb") as file:
        beginning = file.read(_BEGINNING)
    kind = kind_of(beginning)
    if not beginning:
        raise Problem(422, f"{upload.name}: is empty (0 bytes). Send the content of an image.")
    if kind not in KINDS:
        what = f"is {kind}" if kind else "is no image by its content"
        raise Problem(415, f"{upload.name}: {what}. Expected one of {', '.join(KINDS)}.")
    pages = count_pages(upload.image)
    if pages.count > 1:
        raise Problem(
            422,
            f"{upload.name}: holds {pages.describe()}. Expected a single image: send each as an "
            "image of its own.",
        )
    info = image_info(upload.image)
    _check_pixels(upload, info.width, info.height, max_pixels)
    return Checked(kind, info.bits)


def _check_pixels(upload: Upload, width: int, height: int, most: int) -> None:
    if width * height > most:
        raise Problem(
            413,
            f"{upload.name}: has {width:,} x {height:,} pixels. This server takes images of at "
            f"most {most:,} pixels: send parts of it, or start the server with a larger "
            "--max-pixels.",
        )
