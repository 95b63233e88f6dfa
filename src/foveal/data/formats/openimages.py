"""OpenImages: a CSV with ImageID, LabelName, XMin, XMax, YMin, YMax, as shares of the size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.dataset import Dataset
from foveal.data.formats.class_names import Labels, found_classes
from foveal.data.formats.csv import annotation_file
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import parse_number, read_table, write_table
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured, report_unreadable
from foveal.data.formats.units import share_fault
from foveal.data.formats.writing import class_name, expect_sizes, image_names, parts, place_images
from foveal.data.images.kinds import has_image_ending
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Record
    from foveal.data.formats.writing import ImageMode

NAMES = "class-descriptions-boxable.csv"
IMAGES = "images.csv"
BOXES = "annotations-bbox.csv"
_NO_DATA = (NAMES, IMAGES, "classes.csv", "class-descriptions.csv")
_NEEDED = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
_FLAGS = {"IsOccluded": "occluded", "IsTruncated": "truncated", "IsGroupOf": "group_of"}


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read an OpenImages file, or the one of a folder whose name begins with the split.

    `class-descriptions-boxable.csv` beside it gives names and order; without it, names are those
    found, sorted. `images.csv` beside it names images without objects. Boxes of groups
    (`IsGroupOf` is 1) become regions to ignore. Sizes come from the images' headers. Kept as flags
    where a file has them: `occluded`, `truncated`, `group_of` (1, 0, or -1 for not known).

    Raises:
        DataError: it is not such a file, or an object can't be right.
    """
    file = annotation_file(path, split, no_data=_NO_DATA)
    policy = policy or IssuePolicy()
    place, rows = _table(file, _NEEDED)
    finder = ImageFinder(file, images=images)
    index: dict[str, int] = {}
    pictures: list[ImageRow] = []
    for source, line, name in _image_names(file, split, rows, place):
        if name not in index:
            index[name] = len(pictures)
            pictures.append(ImageRow(_find(name, finder, source, f"line {line}"), image_id=name))
    pictures = measured(pictures, finder, policy)
    described = _descriptions(file.parent / NAMES)
    names = [cells[place["LabelName"]] for _, cells in rows]
    classes = tuple(dict.fromkeys(described.values())) or found_classes(names)
    labels = Labels(classes, policy)
    columns = _columns(file, rows, place, index, pictures, described, labels, policy)
    records = assemble(pictures, columns, policy)
    policy.close()
    return Dataset(records, classes, images or finder.root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/`, names, images and boxes, one CSV of boxes for each split.

    Regions to ignore are written as groups (`IsGroupOf` is 1).

    Raises:
        ImageError: an image does not exist.
    """
    expect_sizes(data.records)
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    header = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax"]
    header += [*_FLAGS, "IsDepiction", "IsInside"]
    for part, indices in parts(data, splits, "").items():
        prefix = f"{part}-" if part else ""
        rows = [row for i in indices for row in _rows(data.records[i], names[i], data.classes)]
        write_table(folder / f"{prefix}{BOXES}", [header, *rows])
        write_table(folder / f"{prefix}{IMAGES}", [["ImageID"], *([names[i]] for i in indices)])
    write_table(folder / NAMES, [[name, name] for name in data.classes])


def _rows(record: Record, name: str, classes: tuple[str, ...]) -> Iterator[list[str]]:
    unknown = (-1,) * len(record)
    occluded, truncated = (record.flags.get(k, unknown) for k in ("occluded", "truncated"))
    for i, (x1, y1, x2, y2) in enumerate(record.boxes.tolist()):
        shares = (x1 / record.width, x2 / record.width, y1 / record.height, y2 / record.height)
        flags = (int(occluded[i]), int(truncated[i]), int(record.ignored[i]), -1, -1)
        label = class_name(int(record.labels[i]), classes)
        yield [name, "", label, "1", *(f"{s:.12g}" for s in shares), *map(str, flags)]


def _table(
    file: Path, needed: tuple[str, ...]
) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    rows = read_table(file)
    if not rows:
        raise DataError(f"{file} holds no cell. Expected {','.join(needed)}.")
    place = {name: i for i, name in enumerate(rows[0][1])}
    missing = [name for name in needed if name not in place]
    if missing:
        raise DataError(
            f"{file}, line {rows[0][0]}: no column {', '.join(missing)}. Expected "
            f"{','.join(needed)}, in any order."
        )
    for line, cells in rows[1:]:
        if len(cells) != len(rows[0][1]):
            raise DataError(
                f"{file}, line {line}: {len(cells)} columns. Expected {len(rows[0][1])}, as in "
                "the header."
            )
    return place, rows[1:]


def _image_names(
    file: Path, split: str | None, rows: list[tuple[int, list[str]]], place: dict[str, int]
) -> list[tuple[Path, int, str]]:
    """Every image with the place that names it: those of images.csv, then those with objects."""
    names: list[tuple[Path, int, str]] = []
    listed = file.parent / (f"{split}-{IMAGES}" if split else IMAGES)
    if listed.is_file():
        where, entries = _table(listed, ("ImageID",))
        names = [(listed, line, cells[where["ImageID"]]) for line, cells in entries]
    return names + [(file, line, cells[place["ImageID"]]) for line, cells in rows]


def _find(name: str, finder: ImageFinder, file: Path, place: str) -> Path:
    """The image of an id, which has an ending or not."""
    if has_image_ending(name):
        return finder.find(name, file=file, place=place)
    return finder.find_called(name, ending=".jpg", file=file, place=place)


def _descriptions(file: Path) -> dict[str, str]:
    """The name that stands for each label, none without the file."""
    names = {}
    for line, cells in read_table(file, columns=2) if file.is_file() else []:
        if len(cells) != 2 or not all(cells):
            raise DataError(f"{file}, line {line}: {cells}. Expected a label and its name.")
        names[cells[0]] = cells[1]
    return names


def _flag(text: str) -> int:
    """1, 0, or -1 for not known; 0 for what is none of them."""
    number = parse_number(text)
    return int(number) if number in (1, -1) else 0


def _columns(
    file: Path,
    rows: list[tuple[int, list[str]]],
    place: dict[str, int],
    index: dict[str, int],
    pictures: list[ImageRow],
    described: dict[str, str],
    labels: Labels,
    policy: IssuePolicy,
) -> ObjectTable:
    columns = ObjectTable("line", shares=True)
    flags = [name for name in _FLAGS if name in place and any(c[place[name]] for _, c in rows)]
    unreadable = set()
    for line, cells in rows:
        where = f"line {line}"
        row = pictures[index[cells[place["ImageID"]]]]
        if not (row.width and row.height):
            if row.path not in unreadable:
                report_unreadable(row, policy, file=file, place=where)
            unreadable.add(row.path)
            continue
        written = [cells[place[name]] for name in ("XMin", "YMin", "XMax", "YMax")]
        shares = [number for text in written if (number := parse_number(text)) is not None]
        fault = share_fault(shares) if policy.boxes is None else ""
        if len(shares) < 4 or fault:
            fault = fault or "Expected four shares of the image's size, 0 to 1."
            message = f"corners {written}. {fault}"
            policy.report(AnnotationIssue("not a box", file, where, message, row.path))
            continue
        name = cells[place["LabelName"]]
        label = labels.of(described.get(name, name), file=file, place=where, image=row.path)
        if label is None:
            continue
        box = [share * side for share, side in zip(shares, row[1:3] * 2, strict=True)]
        values = {_FLAGS[flag]: _flag(cells[place[flag]]) for flag in flags}
        columns.add(
            index[cells[place["ImageID"]]],
            box,
            label,
            file=file,
            number=line,
            ignored=values.get("group_of") == 1 or label < 0,
            **values,
        )
    return columns
