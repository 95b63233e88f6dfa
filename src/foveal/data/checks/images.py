"""What the doctor looks for in image files: missing, broken, twice, of another size."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from hashlib import blake2b
from multiprocessing import get_context
from stat import S_ISREG
from typing import TYPE_CHECKING

from foveal.data.checks.findings import Finding, make_finding
from foveal.data.formats.image_files import did_you_mean
from foveal.data.images.missing import MissingExtras
from foveal.data.images.pages import file_of, split_page
from foveal.errors import FovealError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record

_ENDS = 1 << 16
_BLOCK = 1 << 20
_THREADS = 8


def check_files(parts: Sequence[Dataset]) -> list[Finding]:
    """Find missing and duplicate images, and images that are in both data sets.

    Files are compared by size first; only those of equal size are read.

    Args:
        parts: the data set, then the validation data where there is any.
    """
    owners = [(part, record) for part, data in enumerate(parts) for record in data]
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = list(pool.map(lambda owner: _file_size(owner[1].path), owners))
    gone = [owner for owner, size in zip(owners, sizes, strict=True) if size is None]
    missing = _describe_missing_files(gone, parts)
    empty = [str(r.path) for (_, r), size in zip(owners, sizes, strict=True) if size == 0]
    known = [(owner, size) for owner, size in zip(owners, sizes, strict=True) if size]
    same = _same_content([owner[1].path for owner, _ in known], [size for _, size in known])
    groups = [[known[index][0] for index in group] for group in same]
    return [
        *make_finding(
            "missing image", "fault", "{n} image{s} missing", missing,
            advice="Correct the paths, name their folder (--images FOLDER, in Python "
            "images=FOLDER), or remove the entries.",
        ),
        *make_finding(
            "empty image", "fault", "{n} image file{s} of 0 bytes", empty,
            advice="Fetch them again or remove them.",
        ),
        *_describe_same(groups, parts),
    ]  # fmt: skip


def _describe_missing_files(
    gone: Sequence[tuple[int, Record]], parts: Sequence[Dataset]
) -> list[str]:
    """Each missing image once, with a file that may be meant."""
    told: dict[Path, str] = {}
    for part, data in enumerate(parts):
        paths = [record.path for owner, record in gone if owner == part]
        near = did_you_mean(paths, data.root)
        for path in paths:
            told[path] = f"{path} ({near[path]})" if path in near else str(path)
    return list(told.values())


def _describe_same(
    groups: list[list[tuple[int, Record]]], parts: Sequence[Dataset]
) -> list[Finding]:
    within, across = [], []
    for group in groups:
        if len({part for part, _ in group}) > 1:
            first = {part: str(record.path) for part, record in reversed(group)}
            name, again = first[0], first[1]
            across.append(name if name == again else f"{name} = {again}")
        for part in {part for part, _ in group}:
            root = parts[part].root
            shown = [_shorter(record.path, root) for owner, record in group if owner == part]
            within += [f"{name} = {shown[0]}" for name in shown[1:]]
    return [
        *make_finding(
            "same image in both", "fault",
            "{n} image{s} of the validation data also in the training data", across,
            advice="Take them out of one: validation would praise what was learnt by heart.",
        ),
        *make_finding(
            "duplicate image", "doubt", "{n} image{s} with the same content as another", within,
            advice="Keep one of each; check that both have the same boxes.",
        ),
    ]  # fmt: skip


def _shorter(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _file_size(path: Path) -> int | None:
    """The size in bytes; None where there is no regular file."""
    try:
        status = file_of(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_size if S_ISREG(status.st_mode) else None


def _same_content(paths: Sequence[Path], sizes: Sequence[int]) -> list[list[int]]:
    """Groups of indices of files with equal content, in the order of their first."""
    groups: Iterable[list[int]] = _grouped(range(len(paths)), sizes)
    for digest in (_digest_of_ends, _digest):
        candidates = [index for group in groups for index in group]
        with ThreadPoolExecutor(_THREADS) as pool:
            digests = list(pool.map(digest, (paths[index] for index in candidates)))
        keys = [(sizes[i], d or i) for i, d in zip(candidates, digests, strict=True)]
        groups = list(_grouped(candidates, keys))
    return sorted(groups)


def _grouped(indices: Iterable[int], keys: Sequence[Hashable]) -> Iterator[list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in zip(indices, keys, strict=True):
        found[key].append(index)
    return (group for group in found.values() if len(group) > 1)


def _digest_of_ends(path: Path) -> bytes | None:
    """Of the first and last 64 KiB: tells most files apart; None where the file can't be read."""
    name, page = split_page(path)
    try:
        with name.open("rb") as file:
            state = blake2b(file.read(_ENDS), digest_size=16, salt=_salt(page))
            if os.fstat(file.fileno()).st_size > 2 * _ENDS:
                file.seek(-_ENDS, os.SEEK_END)
            state.update(file.read(_ENDS))
    except OSError:
        return None
    return state.digest()


def _salt(page: int | None) -> bytes:
    """What tells the pages of one file apart."""
    return (page or 0).to_bytes(8, "little")


def _digest(path: Path) -> bytes | None:
    name, page = split_page(path)
    state = blake2b(digest_size=16, salt=_salt(page))
    try:
        with name.open("rb") as file:
            while block := file.read(_BLOCK):
                state.update(block)
    except OSError:
        return None
    return state.digest()


def open_images(
    parts: Sequence[Dataset], *, workers: int, progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Decode every image that is there; find those that can't be, and those of another size.

    Args:
        parts: the data sets.
        workers: processes; 0 does it in this one.
        progress: called with (images done, images in all).
    """
    records = {record.path: record for data in parts for record in data}
    there = [record for record in records.values() if _file_size(record.path)]
    asked = [(record.path, record.width, record.height) for record in there]
    broken: list[str] = []
    sizes: list[str] = []
    missing = MissingExtras()
    for done, (path, fault, sized) in enumerate(_opened(asked, workers), 1):
        if isinstance(fault, MissingExtraError):
            missing.add(fault)
        elif fault:
            broken.append(fault)
        if sized:
            sizes.append(f"{path}: {sized}")
        if progress is not None:
            progress(done, len(asked))
    return [
        *make_finding(
            "broken image", "fault", "{n} image{s} that can't be read", broken,
            advice="Fetch them again, convert them, or remove them.",
        ),
        *_describe_missing(missing),
        *make_finding(
            "size disagrees", "fault",
            "{n} image{s} of another size than the annotations say", sizes,
            advice="The boxes may belong to another version of the image (resized, or turned): "
            "correct the annotations.",
        ),
    ]  # fmt: skip


def _describe_missing(missing: MissingExtras) -> list[Finding]:
    """One finding for each package that images need and that is not installed."""
    return [
        finding
        for line, files in missing
        for finding in make_finding(
            "package missing", "fault", "{n} image{s} not looked at", files, advice=f"{line}."
        )
    ]


def _opened(
    asked: Sequence[tuple[Path, int, int]], workers: int
) -> Iterator[tuple[Path, str | MissingExtraError, str]]:
    if workers == 0 or len(asked) < 2:
        yield from map(_open, asked)
        return
    chunk = max(1, min(32, len(asked) // (4 * workers)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_open, asked, chunksize=chunk)


def _open(asked: tuple[Path, int, int]) -> tuple[Path, str | MissingExtraError, str]:
    """(path, why it can't be read, how its size disagrees), each empty where all is well."""
    from foveal.data.images.reading import image_info, read_image
    from foveal.structures import PixelRange

    path, width, height = asked
    try:
        info = image_info(path)
        low, high = ((0.0,), (2.0**info.bits - 1,)) if info.bits > 8 else ((), ())
        read_image(path, PixelRange(info.bands, low, high))
    except MissingExtraError as error:
        return path, error, ""
    except FovealError as error:
        return path, str(error), ""
    size = (info.width, info.height)
    if width and height and size != (width, height):
        turned = ", as if turned by 90 degrees" if size == (height, width) else ""
        words = f"{info.width} x {info.height}, annotated as {width} x {height}{turned}"
        return path, "", words
    return path, "", ""
