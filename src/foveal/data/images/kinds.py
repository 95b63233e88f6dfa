"""Which files are images: by their endings, else by how their content begins. Opens no decoder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".jfif", ".jpe", ".jfi",
    ".pjpeg", ".pjp", ".jif", ".mpo", ".apng", ".btf", ".tf8", ".dib", ".ppm", ".pgm", ".pbm",
    ".pnm", ".tga", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".avif", ".heic", ".heif",
    ".hif", ".jxl",
)  # fmt: skip
"""In small letters, the usual ones first."""

_ENDINGS = frozenset(IMAGE_ENDINGS)

_COMPANIONS = frozenset((
    ".txt", ".json", ".jsonl", ".xml", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".names", ".data",
    ".md", ".html", ".htm", ".log", ".ini", ".cfg", ".py", ".ipynb", ".npy", ".npz", ".pkl", ".pt",
    ".pth", ".onnx", ".safetensors", ".bin", ".zip", ".gz", ".tar", ".pdf", ".doc", ".docx", ".xls",
    ".xlsx", ".part", ".db", ".cache", ".labels", ".gpkg", ".geojson", ".ovr", ".msk",
))  # fmt: skip
"""Endings of files that lie beside images and are none: annotations, texts, models; not opened."""

_VIDEOS = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
"""Endings of videos, whose frames are images."""

_OTHERS = _COMPANIONS | _VIDEOS | frozenset((
    ".svg", ".psd", ".ai", ".eps", ".ico", ".cur",
    # Content that begins like a TIFF and is more than one: raw photographs and slides.
    ".cr2", ".dng", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".pef", ".rw2", ".srw", ".3fr",
    ".iiq", ".mdc", ".svs", ".ndpi", ".scn", ".vms", ".bif", ".lsm", ".stk", ".flex", ".qptiff",
))  # fmt: skip
"""Endings of files that are no images for us, however their content begins; never opened."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

_BEGINNING = 32
"""Bytes that say what a file is."""

_KINDS_NAMED = 8

_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the header that follows a BMP's first: two letters alone begin many a text."""


def has_image_ending(name: str) -> bool:
    """Whether a file's name ends as images' names do, in small or capital letters."""
    return os.path.splitext(name)[1].lower() in _ENDINGS  # noqa: PTH122 far faster than a Path


def is_video(name: str) -> bool:
    """Whether a file's name ends as videos' names do, in small or capital letters."""
    return os.path.splitext(name)[1].lower() in _VIDEOS  # noqa: PTH122


def is_image_file(path: str) -> bool:
    """Whether a file is an image by its ending or, where that says nothing, by its content.

    The content is looked at only where the ending is none that we know.
    """
    ending = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if ending in _ENDINGS:
        return True
    if ending in _OTHERS:
        return False
    try:
        if not os.path.isfile(path):  # noqa: PTH113 a pipe would never begin
            return False
        with Path(path).open("rb") as file:
            return bool(kind_of(file.read(_BEGINNING)))
    except (OSError, ValueError):
        return False


def lies_beside_images(name: str) -> bool:
    """Whether a file that is no image is what people keep beside them, such as annotations."""
    return os.path.splitext(name)[1].lower() in _COMPANIONS  # noqa: PTH122


def kind_of(beginning: bytes) -> str:
    """The format whose files begin like this, such as "JPEG"; nothing where it is none of ours.

    Args:
        beginning: the file's first 32 bytes or more.
    """
    for start, kind in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"\xff\x4f\xff\x51", "JPEG2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ):
        if beginning.startswith(start):
            return kind
    if beginning[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "WEBP"
    if beginning[4:8] == b"ftyp":
        return _kind_of_brand(beginning)
    if beginning[:2] == b"BM" and int.from_bytes(beginning[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if beginning[:1] == b"P" and beginning[1:2] in b"123456" and beginning[2:3].isspace():
        return "PPM"
    return ""


def _kind_of_brand(beginning: bytes) -> str:
    """HEIF and AVIF are one container; brands say what is inside."""
    brands = {beginning[8:12], *(beginning[at : at + 4] for at in range(16, _BEGINNING, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIF" if brands.intersection(_HEIF_BRANDS) else ""


def describe_endings(paths: Iterable[Path]) -> str:
    """How many files have which ending, as written, most first: 2 .HEIC, 1 .txt."""
    counts: dict[str, int] = {}
    for path in paths:
        ending = path.suffix or "without an ending"
        counts[ending] = counts.get(ending, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{count:,} {ending}" for ending, count in ordered], _KINDS_NAMED)
