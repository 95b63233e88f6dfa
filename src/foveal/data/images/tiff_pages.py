"""The pages of a TIFF, from its directories alone; and the file as if it began with one of them.

A page is a directory that holds a picture of its own. Directories that say that they are smaller
versions of another or masks (tag NewSubfileType, TIFF 6.0 section 8) are none, and neither are
smaller versions that do not say it: those of the first page's proportions and two thirds of its
width or less. What hangs below a directory (SubIFDs) is a version of it.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _DESCRIPTION = 256, 257, 258, 259, 270
_NEW_SUBFILE, _SUBFILE, _ORIENTATION = 254, 255, 274
_REDUCED, _MASK = 1, 4
"""Bits of NewSubfileType."""
_SIZES = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}
"""Of values of a tag: type and how struct calls it."""
_LARGEST = 0.67
"""Share of the first page's width up to which a directory is a smaller version of it."""
_LONGEST = 4096
"""Bytes of a description that are looked at."""


@dataclass(frozen=True, slots=True)
class TiffPages:
    """What a TIFF holds.

    Attributes:
        offsets: where the directory of each page begins, in bytes.
        first: where the file's first directory begins, whatever it holds.
        smaller: directories that are smaller versions of the first page and do not say so.
        axes: what ImageJ says the pages are, such as "3 channels, 5 slices"; nothing elsewhere.
        undirected: images behind the first that ImageJ wrote without a directory of their own, as
            it does with stacks of more than 4 GB.
    """

    offsets: tuple[int, ...]
    first: int = 0
    smaller: int = 0
    axes: str = ""
    undirected: int = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers are written: classic TIFF or BigTIFF, the order of bytes."""

    order: str
    big: bool

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "I"))

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.big else "H"))

    @property
    def entry(self) -> int:
        """Bytes of a tag's entry."""
        return 20 if self.big else 12

    @property
    def first(self) -> int:
        """Where the offset of the first directory stands."""
        return 8 if self.big else 4


_Tags = dict[int, tuple[int, int, bytes]]
"""Of each tag: type, count, and the bytes of its value or of where that is."""


def find_pages(file: IO[bytes]) -> TiffPages:
    """Look for the pages of a TIFF; a chain of directories that is broken ends where it breaks.

    Raises:
        ValueError: the file's beginning is not a TIFF's.
    """
    layout = _layout(file)
    found: list[tuple[int, int, int]] = []
    reduced: list[int] = []
    axes, undirected, first = "", 0, 0
    for offset, tags in _directories(file, layout):
        width, height = (_number(tags, tag, layout) for tag in (_WIDTH, _HEIGHT))
        if not first:
            first = offset
            axes, images = _of_imagej(_description(file, tags, layout))
            pixels = width * height * _number(tags, _BITS, layout) // 8
            there = images * pixels <= file.seek(0, io.SEEK_END)
            undirected = images - 1 if there and _number(tags, _COMPRESSION, layout) == 1 else 0
        kind = _number(tags, _NEW_SUBFILE, layout)
        if kind & (_REDUCED | _MASK) or _number(tags, _SUBFILE, layout) == 2:
            reduced.append(offset)
        else:
            found.append((offset, width, height))
    pages = [each for each in found[1:] if not _is_version(each[1:], found[0][1:])]
    offsets = [each[0] for each in (*found[:1], *pages)] or reduced[:1]
    smaller = len(found[1:]) - len(pages)
    undirected = max(0, undirected) if len(found) + len(reduced) == 1 else 0
    return TiffPages(tuple(offsets), first, smaller, axes, undirected)


def first_tags(file: IO[bytes]) -> frozenset[int]:
    """The numbers of the tags that the first directory has; none where there is no directory.

    Raises:
        ValueError: the file's beginning is not a TIFF's.
    """
    layout = _layout(file)
    for _, content in _contents(file, layout):
        number = struct.Struct(layout.order + "H")
        starts = range(0, len(content), layout.entry)
        return frozenset(number.unpack_from(content, start)[0] for start in starts)
    return frozenset()


def orientation_of(file: IO[bytes]) -> int:
    """The orientation 1..8 that the first directory says, 1 where it says none.

    Raises:
        ValueError: the file's beginning is not a TIFF's.
    """
    layout = _layout(file)
    for _, tags in _directories(file, layout):
        stated = _number(tags, _ORIENTATION, layout)
        return stated if 1 <= stated <= 8 else 1
    return 1


def at_page(file: IO[bytes], offset: int) -> IO[bytes]:
    """The file as if the directory at this offset were its first: any reader's first page."""
    layout = _layout(file)
    header = file.read(layout.first)
    return io.BufferedReader(_Patched(file, header + layout.offset.pack(offset)))


class _Patched(io.RawIOBase):
    """A file whose first bytes are others; closing it leaves the file open."""

    def __init__(self, file: IO[bytes], beginning: bytes) -> None:
        self._file = file
        self._beginning = beginning
        self._at = 0
        self._end = file.seek(0, io.SEEK_END)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # pyrefly: ignore[bad-override]
        if self._at < len(self._beginning):
            content = self._beginning[self._at : self._at + len(buffer)]
        else:
            self._file.seek(self._at)
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _layout(file: IO[bytes]) -> _Layout:
    """The layout, from the first bytes; leaves the file at its beginning."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start[:2] not in (b"II", b"MM"):
        raise ValueError("is no TIFF")
    order = "<" if start[:2] == b"II" else ">"
    return _Layout(order, big=struct.unpack(order + "H", start[2:4])[0] == 43)


def _directories(file: IO[bytes], layout: _Layout) -> Iterator[tuple[int, _Tags]]:
    """Each directory's offset and tags, none twice."""
    for offset, content in _contents(file, layout):
        yield offset, _tags(content, layout)


def _contents(file: IO[bytes], layout: _Layout) -> Iterator[tuple[int, bytes]]:
    """Each directory's offset and entries, none twice."""
    seen: set[int] = set()
    file.seek(layout.first)
    pointer = file.read(layout.offset.size)
    while len(pointer) == layout.offset.size:
        (offset,) = layout.offset.unpack(pointer)
        if offset == 0 or offset in seen:
            return
        seen.add(offset)
        file.seek(offset)
        head = file.read(layout.count.size)
        if len(head) < layout.count.size:
            return
        (count,) = layout.count.unpack(head)
        if count > 65_535:
            return
        content = file.read(count * layout.entry)
        if len(content) < count * layout.entry:
            return
        yield offset, content
        file.seek(offset + layout.count.size + count * layout.entry)
        pointer = file.read(layout.offset.size)


def _tags(content: bytes, layout: _Layout) -> _Tags:
    head = struct.Struct(layout.order + ("HHQ" if layout.big else "HHI"))
    wanted = (
        _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _DESCRIPTION, _NEW_SUBFILE, _SUBFILE, _ORIENTATION
    )  # fmt: skip
    tags: _Tags = {}
    for start in range(0, len(content), layout.entry):
        tag, kind, count = head.unpack_from(content, start)
        if tag in wanted:
            value = content[start + head.size : start + layout.entry]
            tags.setdefault(tag, (kind, count, value))
    return tags


def _number(tags: _Tags, tag: int, layout: _Layout) -> int:
    """The first value of a tag; 0 where there is none."""
    kind, _, content = tags.get(tag, (0, 0, b""))
    if kind not in _SIZES:
        return 0
    return int(struct.unpack_from(layout.order + _SIZES[kind], content)[0])


def _description(file: IO[bytes], tags: _Tags, layout: _Layout) -> bytes:
    _, count, content = tags.get(_DESCRIPTION, (0, 0, b""))
    if count <= len(content):
        return content[:count]
    file.seek(layout.offset.unpack(content[: layout.offset.size])[0])
    return file.read(min(count, _LONGEST))


def _of_imagej(description: bytes) -> tuple[str, int]:
    """The axes that ImageJ names, and how many images it says there are."""
    if not description.startswith(b"ImageJ="):
        return "", 0
    written = re.findall(rb"^(images|channels|slices|frames)=(\d{1,9})", description, re.MULTILINE)
    counts = {name.decode(): int(number) for name, number in written}
    images = counts.pop("images", 0)
    named = [f"{number} {name}" for name, number in counts.items() if number > 1]
    return ", ".join(named), images


def _is_version(size: tuple[int, ...], first: tuple[int, ...]) -> bool:
    """Whether a directory is the first page again, smaller, up to rounding."""
    (width, height), (full_width, full_height) = size, first
    if not 0 < width <= _LARGEST * full_width:
        return False
    return abs(height - full_height * width / full_width) <= 1
