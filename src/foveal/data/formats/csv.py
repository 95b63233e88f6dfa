"""CSV: one line for each object, in the customs of many tools; see `table_columns`.

Without a header: `path,x1,y1,x2,y2,class`. With one: `image_path,xmin,ymin,xmax,ymax,label` and its
cousins, in any order of columns. A line with a path alone is an image without objects.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from foveal.data.dataset import Dataset
from foveal.data.folders import files_in, files_one_below
from foveal.data.formats.class_names import Labels, class_file, class_source, found_classes
from foveal.data.formats.geo_placing import place_on_images
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import parse_number, read_table, write_table
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.splits import advise_splits, take_split
from foveal.data.formats.table_columns import (
    FLAT_SHAPES,
    NO_CLASS,
    NOTHING,
    find_columns,
    is_kept_name,
)
from foveal.data.formats.writing import class_name, image_names, parts, place_images, text_of
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from foveal.data.formats.table_columns import Columns, Rows
    from foveal.data.formats.writing import ImageMode

ONLY_CLASS = "object"
"""What objects are called in a table that has no column for their class."""
_WHOLE = re.compile(r"(\d+)\.0+")
_ENDINGS = (".csv", ".tsv")
_NO_DATA = ("classes.csv", "class_mapping.csv", "class-descriptions-boxable.csv", "images.csv")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a CSV file, or the file of a folder that is called as the split.

    Corners are edges in continuous pixels. Classes are those of `classes.csv` (name,id),
    `classes.txt` or `labels.txt` beside it, else the names found, sorted; without a column for the
    class, all are of the class `object`. A row without a box is an image without objects, and so
    are `nan` and `None` in its place. Image sizes come from the images' headers unless there are
    columns `width` and `height`; a column `ignored` marks regions to ignore. All further columns of
    a table with a header are kept as flags, shapes as WKT too; those may be on the map.

    Raises:
        DataError: it is not such a file, or an object can't be right.
    """
    file = annotation_file(path, split)
    policy = policy or IssuePolicy()
    columns, rows = find_columns(file, read_table(file), policy.class_column)
    finder = ImageFinder(file, images=images)
    index, pictures = _pictures(file, rows, columns, finder)
    found = [columns.boxes(cells) for _, cells in rows]
    _expect_areas(file, columns, rows, found)
    listed, source = _class_csv(file.parent)
    lone = (policy.class_column or "=")[1:] or ONLY_CLASS
    named = [_class(cells, columns, listed, lone) for _, cells in rows]
    names: list[str] = [name for name, boxes in zip(named, found, strict=True) if boxes]
    if names and not set(names) & set(listed) and all(map(_WHOLE.fullmatch, set(names))):
        # Columns of numbers with gaps become fractions in many programs: 3.0 is class 3.
        named = [_WHOLE.sub(r"\1", name) for name in named]
        names = [_WHOLE.sub(r"\1", name) for name in names]
    if set(names) <= set(listed.values()) - set(listed):
        names = []  # the table has the ids
    else:
        listed = {name: name for name in listed}
    classes = tuple(dict.fromkeys(listed)) or class_file(file.parent) or found_classes(names)
    labels = Labels(classes, policy, source=source or class_source(file.parent))
    by_id = {key: name for name, key in listed.items()}
    table = ObjectTable("line", written=columns.written)
    kept: list[list[str]] = []
    for (line, cells), boxes, name in zip(rows, found, named, strict=True):
        image = index[cells[columns.image]]
        path = pictures[image].path
        where = f"line {line}"
        if boxes is None and columns.shape(cells) in FLAT_SHAPES:
            message = f"a {columns.shape(cells)} has no box. Expected {columns.wanted}."
            policy.report(AnnotationIssue("no box", file, where, message, path))
            continue
        if boxes is None:
            shown = [cells[place] for place in columns.box]
            message = f"box {shown}. Expected {columns.wanted}."
            policy.report(AnnotationIssue("not a box", file, where, message, path))
            continue
        if not boxes:
            if columns.label is not None and cells[columns.label].lower() not in NOTHING:
                message = f"class {name!r} without a box. Expected {columns.wanted}."
                policy.report(AnnotationIssue("no box", file, where, message, path))
            continue
        label = labels.of(by_id.get(name, name), file=file, place=where, image=path)
        if label is None:
            continue
        marked = columns.others.get("ignored")
        ignored = marked is not None and cells[marked].lower() in ("1", "1.0", "true", "yes")
        for box in boxes:
            table.add(image, box, label, file=file, number=line, ignored=ignored or label < 0)
            kept.append(cells)
    for name, place in columns.more.items():
        table.flags[name] = _values([cells[place] for cells in kept])
    if columns.label is None and policy.class_column is None:
        policy.note(f"No column for the class: all are {ONLY_CLASS!r}", file=file, place="header")
    if columns.cells == "bbox":
        policy.note("bbox is read as x, y, width, height", file=file, place="header")
    found_pictures = measured(pictures, finder, policy)
    if columns.cells == "geometry":
        texts = [cells[columns.box[0]] for cells in kept]
        place_on_images(table, texts, found_pictures, policy, file=file)
    records = assemble(found_pictures, table, policy)
    policy.close()
    return Dataset(records, classes, images or finder.root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/`, `classes.csv` and `annotations.csv`, or one CSV for each split.

    The CSV has a header; a column `ignored` is written where there are regions to ignore, and one
    for each flag of texts or numbers, such as DeepForest's `score` and `geometry`.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    ignoring = any(record.ignored.any() for record in data)
    header = ["image_path", "xmin", "ymin", "xmax", "ymax", "label"]
    flags = _plain_flags(data)
    for part, indices in parts(data, splits, "annotations").items():
        rows = [[*header, *["ignored"] * ignoring, *flags]]
        for i in indices:
            record, name = data.records[i], f"images/{names[i]}"
            nothing = ("",) * len(record)
            more = [record.flags.get(flag, nothing) for flag in flags]
            for box, label, ignored, *values in zip(
                record.boxes, record.labels, record.ignored, *more, strict=True
            ):
                corners = [text_of(value) for value in box]
                row = [name, *corners, class_name(int(label), data.classes)]
                row += [str(int(ignored))] * ignoring
                rows.append(row + ["" if value is None else str(value) for value in values])
            if not len(record):
                rows.append([name] + [""] * (len(rows[0]) - 1))
        write_table(folder / f"{part}.csv", rows)
    write_table(folder / "classes.csv", [[name, str(i)] for i, name in enumerate(data.classes)])


def _plain_flags(data: Dataset) -> list[str]:
    """The flags that a column can hold: texts and numbers, of names that say nothing else."""
    names = dict.fromkeys(name for record in data for name in record.flags if is_kept_name(name))
    return [
        name
        for name in names
        if all(
            value is None or isinstance(value, str | int | float)
            for record in data
            for value in record.flags.get(name, ())
        )
    ]


def _values(texts: list[str]) -> list[str] | list[float]:
    """Numbers where each text is one and is written the same again; else the texts."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return texts
    return numbers if all(map(str.__eq__, map(repr, numbers), texts)) else texts


def annotation_file(path: Path, split: str | None, *, no_data: tuple[str, ...] = _NO_DATA) -> Path:
    """The CSV file of a folder and split.

    Raises:
        DataError: there is none or there are several; the message names them.
    """
    if path.is_file():
        if split is not None:
            raise DataError(
                f"{path} is one file and has no split {split!r}. Name the split's own file, or "
                "the folder that holds it."
            )
        return path
    found = [f for f in files_in(path, *_ENDINGS) if not f.name.endswith(no_data)]
    below = [f for f in files_one_below(path, *_ENDINGS) if not f.name.endswith(no_data)]
    chosen: Sequence[Path] = found or below
    if split is not None:

        def choose(name: str) -> Sequence[Path]:
            exact = [file for file in found if file.stem == name]
            begun = [f for f in found if f.stem.startswith((f"{name}-", f"{name}_"))]
            own = [file for file in below if file.parent.name == name]
            within = [f for f in found or below if name in re.split(r"[-_.]", f.stem)]
            return exact or own or begun or within

        _, chosen = take_split(split, path, choose)
    if len(chosen) == 1:
        return chosen[0]
    names = list(dict.fromkeys(file.parent.name for file in below))
    if split is None and not found and len(names) > 1:
        raise DataError(f"{path}: CSV files lie in several folders. {advise_splits(path, names)}")
    wanted = f"{split}.csv" if split else "one, or a split after a colon"
    there = ", ".join(str(file.relative_to(path)) for file in found or below) or "none"
    raise DataError(f"{path}: expected {wanted}. CSV files there: {there}.")


def _expect_areas(
    file: Path, columns: Columns, rows: Rows, found: Sequence[Sequence[object] | None]
) -> None:
    """Stop where all that a table holds is points or lines: nothing of it could be learnt."""
    shapes = {columns.shape(c) for (_, c), b in zip(rows, found, strict=True) if b is None or b}
    if shapes and shapes <= FLAT_SHAPES:
        names = " and ".join(sorted(shapes))
        raise DataError(
            f"{file}: it holds {names} alone, which have no box. Expected {columns.wanted} in each "
            "row, or columns of corners."
        )


def _class(cells: list[str], columns: Columns, listed: Container[str], lone: str) -> str:
    """The class that a row names, "" where it names none; what is listed is a class.

    `lone` is the class of all where there is no column for it.
    """
    if columns.label is None:
        return lone
    name = cells[columns.label]
    return "" if name.lower() in NO_CLASS and name not in listed else name


def _pictures(
    file: Path, rows: Rows, columns: Columns, finder: ImageFinder
) -> tuple[dict[str, int], list[ImageRow]]:
    """The index of each image name, and the images in the order in which they are first named."""
    index: dict[str, int] = {}
    pictures: list[ImageRow] = []
    by_path: dict[Path, int] = {}
    sides = [columns.others.get(side) for side in ("width", "height")]
    for line, cells in rows:
        name = cells[columns.image]
        if name in index:
            continue
        place = f"line {line}"
        if name and "." not in name.replace("\\", "/").rpartition("/")[2]:
            path = finder.find_called(name, ending=".jpg", file=file, place=place)
        else:
            path = finder.find(name, file=file, place=place)
        if path not in by_path:
            by_path[path] = len(pictures)
            sizes = [0 if side is None else parse_number(cells[side]) for side in sides]
            width, height = (int(size) if size and 0 < size < 2**31 else 0 for size in sizes)
            pictures.append(ImageRow(path, width, height))
        index[name] = by_path[path]
    return index, pictures


def _class_csv(folder: Path) -> tuple[dict[str, str], Path | None]:
    """The names of `classes.csv` (name,id) with their ids, in the ids' order, and that file."""
    file = folder / "classes.csv"
    if not file.is_file():
        return {}, None
    ids: dict[float, str] = {}
    written: dict[str, str] = {}
    for line, cells in read_table(file, columns=2):
        number = parse_number(cells[1]) if len(cells) == 2 else None
        if number is None and line == 1:
            continue  # a header
        if number is None or number in ids or not cells[0]:
            raise DataError(f"{file}, line {line}: {cells}. Expected a name and an id of its own.")
        ids[number] = cells[0]
        written.setdefault(cells[0], cells[1])
    return {ids[number]: written[ids[number]] for number in sorted(ids)}, file
