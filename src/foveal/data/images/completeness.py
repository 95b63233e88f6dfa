"""Whether image files end as their formats end: what was cut short is seen without decoding it."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.data.images.pages import file_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD, _TAIL = 1 << 14, 1 << 12

_OFFSETS = {273: 279, 324: 325}
"""TIFF's tags of where strips and tiles begin, and of how long they are."""


def is_complete(path: str, kind: str) -> bool:
    """Whether a file ends as its format ends; False where only decoding it would tell."""
    with suppress(OSError, ValueError, struct.error), file_of(Path(path)).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_HEAD)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
        if kind in ("JPEG", "MPO"):
            return tail.rstrip(b"\0").endswith(b"\xff\xd9")
        if kind == "PNG":
            return tail.rstrip(b"\0\r\n").endswith(b"IEND\xaeB`\x82")
        if kind == "GIF":
            return tail.rstrip(b"\0").endswith(b";")
        if kind == "WEBP":
            (length,) = struct.unpack_from("<I", head, 4)
            return bool(length + 8 <= size)
        if kind in ("BMP", "DIB"):
            return _holds_bmp(head, size)
        if kind == "TIFF":
            return all(start + length <= size for start, length in _parts_of_tiff(file))
        if kind in ("AVIF", "HEIF", "HEIC", "JPEG2000"):
            return head[4:8] in (b"ftyp", b"jP  ") and _holds_boxes(file, size)
    return False


def _holds_bmp(head: bytes, size: int) -> bool:
    start, header = struct.unpack_from("<II", head, 10)
    if header < 40:
        return False
    width, height, _, bits, packed = struct.unpack_from("<iiHHI", head, 18)
    return packed in (0, 3) and start + (width * bits + 31) // 32 * 4 * abs(height) <= size


def _holds_boxes(file: Any, size: int) -> bool:
    """Whether the outermost boxes of an ISO media file end where the file does."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        (length,) = struct.unpack_from(">I", head)
        if length == 1:
            (length,) = struct.unpack_from(">Q", head, 8)
        if length == 0:
            return True  # to the file's end, wherever that is
        if length < 8:
            return False
        at += length
    return at == size


def _parts_of_tiff(file: Any) -> Iterator[tuple[int, int]]:
    """Where the strips and tiles of all pages begin, and how long they are, bytes."""
    file.seek(0)
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = start[2:4] in (b"+\0", b"\0+")
    offset, counts, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (at,) = struct.unpack_from(order + offset, start, 8 if big else 4)
    seen = set()
    while at and at not in seen:
        seen.add(at)
        file.seek(at)
        (count,) = struct.unpack(order + counts, file.read(struct.calcsize(counts)))
        folder = file.read(entry * count)
        (at,) = struct.unpack(order + offset, file.read(struct.calcsize(offset)))
        values: dict[int, tuple[int, ...]] = {}
        for index in range(count):
            tag, kind, number = struct.unpack_from(order + "HH" + offset, folder, entry * index)
            code = {3: "H", 4: "I", 16: "Q"}.get(kind)
            if tag not in (*_OFFSETS, *_OFFSETS.values()) or code is None:
                continue
            length = number * struct.calcsize(code)
            place = entry * index + entry - struct.calcsize(offset)
            data = folder[place : place + length]
            if length > struct.calcsize(offset):
                file.seek(struct.unpack_from(order + offset, folder, place)[0])
                data = file.read(length)
            values[tag] = struct.unpack(f"{order}{number}{code}", data)
        for starts, lengths in _OFFSETS.items():
            yield from zip(values.get(starts, ()), values.get(lengths, ()), strict=False)
