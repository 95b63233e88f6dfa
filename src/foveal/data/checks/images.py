"""What the doctor looks for in image files: missing, broken, twice, of another size."""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.checks.files import file_size, same_content
from foveal.data.checks.findings import Finding, make_finding
from foveal.data.formats.image_files import did_you_mean
from foveal.data.image_sizes import advise, compare_sizes
from foveal.data.images.headers import Header, decode_whole
from foveal.data.images.missing import MissingExtras
from foveal.errors import MissingExtraError
from foveal.processes import ProcessEndedError, map_in_processes
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from foveal.data.checks.subject import Subject
    from foveal.data.dataset import Dataset, Record


def check_missing(subject: Subject) -> list[Finding]:
    """Find images that are missing, and files of nothing."""
    owners, sizes = subject.images, subject.file_sizes
    gone = [owner for owner, size in zip(owners, sizes, strict=True) if size is None]
    missing = _describe_missing_files(gone, subject)
    empty = [str(r.path) for (_, r), size in zip(owners, sizes, strict=True) if size == 0]
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
    ]  # fmt: skip


def check_duplicates(subject: Subject) -> list[Finding]:
    """Find images of the same content, within a split and in several.

    Files are compared by size first; only those of equal size are read.
    """
    of_image = {index: k for k, split in enumerate(subject.splits) for index in split.members}
    within: list[str] = []
    across: list[str] = []
    for group in subject.copies:
        members: dict[int, list[int]] = defaultdict(list)
        for index in group:
            members[of_image[index]].append(index)
        first = min(members)
        for other in sorted(set(members) - {first}):
            one, again = (subject.images[members[k][0]][1].path for k in (first, other))
            across.append(str(one) if one == again else f"{one} = {again}")
        for same in members.values():
            shown = [subject.name_image(index) for index in same]
            within += [f"{name} = {shown[0]}" for name in shown[1:]]
    if len(subject.parts) > 1:
        both = "{n} image{s} of the validation data also in the training data"
    else:
        both = "{n} image{s} in more than one split"
    return [
        *make_finding(
            "same image in both", "fault", both, across,
            advice="Take them out of one: validation would praise what was learned by heart.",
        ),
        *make_finding(
            "duplicate image", "doubt", "{n} image{s} with the same content as another", within,
            advice="Keep one of each; check that both have the same boxes.",
        ),
    ]  # fmt: skip


def _describe_missing_files(gone: Sequence[tuple[int, Record]], subject: Subject) -> list[str]:
    """Each missing image once, with a file that may be meant."""
    told: dict[Path, str] = {}
    for number, part in enumerate(subject.parts):
        paths = [record.path for owner, record in gone if owner == number]
        near = did_you_mean(paths, part.data.root)
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
    sizes = [list(map_in_threads(file_size, paths)) for paths in parts]
    common = {size for size in sizes[0] if size} & set(sizes[1])
    files: dict[Path, int] = {}
    for paths, known in zip(parts, sizes, strict=True):
        files |= {p: size for p, size in zip(paths, known, strict=True) if size in common and size}
    there = set(parts[0])
    found = {path: str(path) for path in parts[1] if path in there}
    candidates = [path for path in files if path not in found]
    for group in same_content(candidates, [files[path] for path in candidates]):
        others = [candidates[index] for index in group if candidates[index] in there]
        for path in (candidates[index] for index in group if candidates[index] not in there):
            if others:
                found[path] = f"{path} = {others[0]}"
    return {path: found[path] for path in parts[1] if path in found}


def check_broken(subject: Subject) -> list[Finding]:
    """Find images that can't be read, by their headers and endings or by decoding them."""
    looked_at = {
        str(record.path): header
        for part in subject.parts
        for record, header in zip(part.data, part.headers, strict=True)
    }
    # What is missing or empty is said of files.
    there = [
        path
        for path, header in looked_at.items()
        if not (header.fault or header.needs) or file_size(Path(path))
    ]
    if subject.decode:
        progress = subject.passes.next()
        for done, (path, header) in enumerate(_decoded(there, subject.workers), 1):
            looked_at[path] = header
            if progress is not None:
                progress(done, len(there))
    faults = [looked_at[path].fault for path in there if looked_at[path].fault]
    missing = MissingExtras()
    for path in there:
        if looked_at[path].needs:
            missing.add(MissingExtraError(looked_at[path].needs, path))
    return [
        *make_finding(
            "broken image", "fault", "{n} image{s} that can't be read", faults,
            advice="Fetch them again, convert them, or remove them.",
        ),
        *_describe_missing(missing),
    ]  # fmt: skip


def check_sizes(subject: Subject) -> list[Finding]:
    """Find images of another size than the annotations say."""
    conflicts = [c for part in subject.parts for c in compare_sizes(part.data, part.headers)]
    return make_finding(
        "size disagrees", "fault",
        "{n} image{s} of another size than the annotations say", list(map(str, conflicts)),
        advice=advise(len(conflicts), sum(conflict.is_stored for conflict in conflicts)),
    )  # fmt: skip


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
    """Each file, decoded, and what is known of it then; as they are ready."""
    if workers == 0 or len(paths) < 2:
        yield from zip(paths, map(decode_whole, paths), strict=True)
        return
    left = dict.fromkeys(paths)
    while left:
        answers = map_in_processes(_decoder, list(left), processes=min(workers, len(left)))
        try:
            with closing(answers):
                for path, header in answers:
                    del left[path]
                    yield path, header
        except ProcessEndedError as ended:
            del left[ended.task]
            yield (
                ended.task,
                Header(
                    0,
                    0,
                    fault=f"{ended.task}: the process that decoded it was ended from outside, as "
                    "by a lack of memory. Is the image larger than it should be?",
                ),
            )


def _decoder() -> Callable[[str], Header]:
    return decode_whole
