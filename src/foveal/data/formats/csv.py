"""CSV: one line for each object, in the two customs in use.

Without a header: `path,x1,y1,x2,y2,class`. With one: `image_path,xmin,ymin,xmax,ymax,label` and its
cousins, in any order of columns. A line with a path alone is an image without objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.dataset import Dataset
from foveal.data.folders import files_in
from foveal.data.formats.class_names import Labels, class_file, found_classes
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import parse_number, read_table, write_table
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.writing import class_name, image_names, parts, place_images, text_of
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from foveal.data.formats.issues import BadBoxes
    from foveal.data.formats.writing import ImageMode

_COLUMNS = {
    "image": ("image_path", "image", "path", "filename", "file_name", "file", "img", "image_id"),
    "xmin": ("xmin", "x1", "left", "x_min"),
    "ymin": ("ymin", "y1", "top", "y_min"),
    "xmax": ("xmax", "x2", "right", "x_max"),
    "ymax": ("ymax", "y2", "bottom", "y_max"),
    "label": ("label", "class", "class_name", "name", "category", "label_name"),
}
_OPTIONAL = {"width": ("width",), "height": ("height",), "ignored": ("ignored", "difficult")}
_PLAIN = {name: place for place, name in enumerate(_COLUMNS)}
_ENDINGS = (".csv", ".tsv")
_NO_DATA = ("classes.csv", "class_mapping.csv", "class-descriptions-boxable.csv", "images.csv")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    bad_boxes: BadBoxes = "drop",
    problems: list[AnnotationIssue] | None = None,
) -> Dataset:
    """Read a CSV file, or the file of a folder that is called as the split.

    Corners are edges in continuous pixels. Classes are those of `classes.csv` (name,id),
    `classes.txt` or `labels.txt` beside it, else the names found, sorted. Image sizes come from the
    images' headers unless there are columns `width` and `height`; a column `ignored` marks regions
    to ignore.

    Raises:
        DataError: it is not such a file, or an object can't be right.
    """
    file = annotation_file(path, split)
    policy = IssuePolicy(bad_boxes, problems)
    place, rows = _table(file)
    finder = ImageFinder(file, images=images)
    index, pictures = _pictures(file, rows, place, finder)
    names = [cells[place["label"]] for _, cells in rows if _holds_object(cells, place)]
    classes = _class_csv(file.parent) or class_file(file.parent) or found_classes(names)
    labels = Labels(classes, policy)
    columns = ObjectTable("line")
    for line, cells in rows:
        if _holds_object(cells, place):
            image = index[cells[place["image"]]]
            _object(cells, place, image, pictures[image].path, file, line, columns, labels, policy)
    records = assemble(measured(pictures), columns, policy)
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

    The CSV has a header; a column `ignored` is written where there are regions to ignore.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    ignoring = any(record.ignored.any() for record in data)
    header = ["image_path", "xmin", "ymin", "xmax", "ymax", "label"]
    for part, indices in parts(data, splits, "annotations").items():
        rows = [header + ["ignored"] * ignoring]
        for i in indices:
            record, name = data.records[i], f"images/{names[i]}"
            for box, label, ignored in zip(
                record.boxes, record.labels, record.ignored, strict=True
            ):
                corners = [text_of(value) for value in box]
                row = [name, *corners, class_name(int(label), data.classes)]
                rows.append(row + [str(int(ignored))] * ignoring)
            if not len(record):
                rows.append([name] + [""] * (len(rows[0]) - 1))
        write_table(folder / f"{part}.csv", rows)
    write_table(folder / "classes.csv", [[name, str(i)] for i, name in enumerate(data.classes)])


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
    chosen = found
    if split is not None:
        exact = [file for file in found if file.stem == split]
        chosen = exact or [f for f in found if f.stem.startswith((f"{split}-", f"{split}_"))]
    if len(chosen) != 1:
        wanted = f"{split}.csv" if split else "one, or a split after a colon"
        there = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{path}: expected {wanted}. CSV files there: {there}.")
    return chosen[0]


def _table(file: Path) -> tuple[dict[str, int], list[tuple[int, list[str]]]]:
    """The place of each column, and the rows below the header."""
    rows = read_table(file)
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    place = {}
    for name, aliases in (_COLUMNS | _OPTIONAL).items():
        found = [header.index(alias) for alias in aliases if alias in header]
        if found:
            place[name] = found[0]
    if len({"xmin", "ymin", "xmax", "ymax"} & set(place)) > 1:
        missing = [name for name in _COLUMNS if name not in place]
        if missing:
            raise DataError(
                f"{file}, line {rows[0][0]}: no column for {', '.join(missing)} in {header}. "
                "Expected image_path,xmin,ymin,xmax,ymax,label."
            )
        width = len(header)
        rows = rows[1:]
    else:
        place, width = dict(_PLAIN), len(_PLAIN)
    for line, cells in rows:
        if len(cells) != width and any(cells[1:]):
            raise DataError(
                f"{file}, line {line}: {len(cells)} columns. Expected {width}: "
                f"{','.join(sorted(place, key=lambda name: place[name]))}."
            )
    return place, [(line, cells + [""] * (width - len(cells))) for line, cells in rows]


def _pictures(
    file: Path, rows: list[tuple[int, list[str]]], place: dict[str, int], finder: ImageFinder
) -> tuple[dict[str, int], list[ImageRow]]:
    """The index of each image name, and the images in the order in which they are first named."""
    index: dict[str, int] = {}
    pictures: list[ImageRow] = []
    by_path: dict[Path, int] = {}
    for line, cells in rows:
        name = cells[place["image"]]
        if name in index:
            continue
        path = finder.find(name, file=file, place=f"line {line}")
        if path not in by_path:
            by_path[path] = len(pictures)
            sizes = [parse_number(cells[place[k]]) if k in place else 0 for k in _OPTIONAL]
            width, height = (int(size) if size and 0 < size < 2**31 else 0 for size in sizes[:2])
            pictures.append(ImageRow(path, width, height))
        index[name] = by_path[path]
    return index, pictures


def _holds_object(cells: list[str], place: dict[str, int]) -> bool:
    return any(cells[place[name]] for name in _COLUMNS if name != "image")


def _object(
    cells: list[str],
    place: dict[str, int],
    image: int,
    path: Path,
    file: Path,
    line: int,
    columns: ObjectTable,
    labels: Labels,
    policy: IssuePolicy,
) -> None:
    where = f"line {line}"
    written = [cells[place[name]] for name in ("xmin", "ymin", "xmax", "ymax")]
    box = [number for text in written if (number := parse_number(text)) is not None]
    if len(box) < 4:
        message = f"corners {written}. Expected four numbers: xmin, ymin, xmax, ymax."
        policy.report(AnnotationIssue("not a box", file, where, message, path))
        return
    label = labels.of(cells[place["label"]], file=file, place=where, image=path)
    if label is None:
        return
    ignored = "ignored" in place and cells[place["ignored"]].lower() in ("1", "true", "yes")
    columns.add(image, box, label, file=file, number=line, ignored=ignored or label < 0)


def _class_csv(folder: Path) -> tuple[str, ...]:
    """The names of `classes.csv` (name,id), in the order of their ids."""
    file = folder / "classes.csv"
    if not file.is_file():
        return ()
    ids: dict[float, str] = {}
    for line, cells in read_table(file):
        number = parse_number(cells[1]) if len(cells) == 2 else None
        if number is None and line == 1:
            continue  # a header
        if number is None or number in ids or not cells[0]:
            raise DataError(f"{file}, line {line}: {cells}. Expected a name and an id of its own.")
        ids[number] = cells[0]
    return tuple(dict.fromkeys(ids[number] for number in sorted(ids)))
