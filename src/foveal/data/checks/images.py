"""What the doctor looks for in image files: missing, broken, twice, of another size."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from foveal.data.checks.findings import Finding, make_finding
from foveal.data.checks.readiness import headers_of
from foveal.data.formats.image_files import did_you_mean
from foveal.data.image_sizes import advise, compare_sizes
from foveal.data.images.headers import decode_whole
from foveal.data.images.missing import MissingExtras
from foveal.data.images.pages import file_of, split_page
from foveal.errors import MissingExtraError
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from foveal.data.dataset import Dataset, Record
    from foveal.data.image_sizes import SizeConflict
    from foveal.data.images.headers import Header

_ENDS = 1 << 16
_BLOCK = 1 << 20


def check_files(parts: Sequence[Dataset]) -> list[Finding]:
    """Find missing and duplicate images, and images that are in both data sets.

    Files are compared by size first; only those of equal size are read.

    Args:
        parts: the data set, then the validation data where there is any.
    """
    owners = [(part, record) for part, data in enumerate(parts) for record in data]
    sizes = list(map_in_threads(lambda owner: _file_size(owner[1].path), owners))
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


def images_in_both(first: Dataset, second: Dataset) -> list[str]:
    """The images of the second data set that are in the first too: by path or by content.

    Only files of a size that occurs in both are read.

    Returns:
        Their paths, with the other one's where it is another file of the same content.
    """
    return list(shared_images(first, second).values())


def shared_images(first: Dataset, second: Dataset) -> dict[Path, str]:
    """As `images_in_both`, what is said of each by the path of the second data set's image."""
    parts = [[record.path for record in data] for data in (first, second)]
    sizes = [list(map_in_threads(_file_size, paths)) for paths in parts]
    common = {size for size in sizes[0] if size} & set(sizes[1])
    files: dict[Path, int] = {}
    for paths, known in zip(parts, sizes, strict=True):
        files |= {p: size for p, size in zip(paths, known, strict=True) if size in common and size}
    there = set(parts[0])
    found = {path: str(path) for path in parts[1] if path in there}
    candidates = [path for path in files if path not in found]
    for group in _same_content(candidates, [files[path] for path in candidates]):
        others = [candidates[index] for index in group if candidates[index] in there]
        for path in (candidates[index] for index in group if candidates[index] not in there):
            if others:
                found[path] = f"{path} = {others[0]}"
    return {path: found[path] for path in parts[1] if path in found}


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
        digests = list(map_in_threads(digest, [paths[index] for index in candidates]))
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


def look_at_images(
    parts: Sequence[Dataset],
    *,
    decode: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Find images that can't be read, and those of another size than the annotations say.

    Args:
        parts: the data sets.
        decode: decode every image; else only their headers and endings are looked at.
        workers: processes that decode; 0 does it in this one.
        progress: called with (images done, images in all).
    """
    looked_at: dict[str, Header] = {}
    conflicts: list[SizeConflict] = []
    for data in parts:
        headers = headers_of(data, progress=None if decode else progress)
        conflicts += compare_sizes(data, headers)
        for record, header in zip(data, headers, strict=True):
            looked_at[str(record.path)] = header
    # What is missing or empty is said of files.
    there = [
        path
        for path, header in looked_at.items()
        if not (header.fault or header.needs) or _file_size(Path(path))
    ]
    if decode:
        for done, (path, header) in enumerate(_decoded(there, workers), 1):
            looked_at[path] = header
            if progress is not None:
                progress(done, len(there))
    faults = [looked_at[path].fault for path in there if looked_at[path].fault]
    missing = MissingExtras()
    for path in there:
        if looked_at[path].needs:
            missing.add(MissingExtraError(looked_at[path].needs, path))
    stored = sum(conflict.is_stored for conflict in conflicts)
    return [
        *make_finding(
            "broken image", "fault", "{n} image{s} that can't be read", faults,
            advice="Fetch them again, convert them, or remove them.",
        ),
        *_describe_missing(missing),
        *make_finding(
            "size disagrees", "fault",
            "{n} image{s} of another size than the annotations say", list(map(str, conflicts)),
            advice=advise(len(conflicts), stored),
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


def _decoded(paths: Sequence[str], workers: int) -> Iterator[tuple[str, Header]]:
    """Each file, decoded, and what is known of it then."""
    if workers == 0 or len(paths) < 2:
        yield from zip(paths, map(decode_whole, paths), strict=True)
        return
    chunk = max(1, min(32, len(paths) // (4 * workers)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from zip(paths, pool.map(decode_whole, paths, chunksize=chunk), strict=True)
