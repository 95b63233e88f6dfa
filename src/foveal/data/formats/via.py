"""VGG Image Annotator (VIA): its projects, its annotations as JSON and as CSV."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from foveal.data.folders import files_in, files_one_below
from foveal.data.formats.class_names import IGNORE
from foveal.data.formats.extents import box_of_points, ellipse_box
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import file_of_split, is_json_of, json_files, write_json
from foveal.data.formats.json_kinds import expect_kind, refusal
from foveal.data.formats.named_objects import (
    TRUE,
    NamedImage,
    NamedObject,
    gather,
    numbers_of,
    text_of_name,
)
from foveal.data.formats.parsing import as_number, expect, head_text, read_json, read_table
from foveal.data.formats.writing import class_name, image_names, length, parts, place_images, tidy
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.records import ImageRow
    from foveal.data.formats.writing import ImageMode

_CALLED = "VIA"
_CLASS = "class"
_LIKELY = ("class", "label", "name", "category", "type", "object", "classname", "class_name")
"""How people call the attribute that is the class, the likeliest first."""

_NO_CLASS = frozenset({"ignored", "image_quality", "confidence", "score", "id", "occluded"})
CSV_COLUMN = "region_shape_attributes"
"""The column by which VIA's CSV is known."""


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a project or an export of VIA 1 or 2 (JSON or CSV), or the file of a folder's split.

    Of the regions' attributes the class is the one that is called so, or label, name, type and the
    like, or else the one that most regions have; where there are several, it is said which was
    taken. Classes are the attribute's options where the file lists them, else the names found in
    all the folder's files, sorted. Of circles, ellipses and polygons the extent is taken; points
    and lines have none. `__ignore__` marks regions to ignore whatever the class, and an attribute
    `ignored` one of its class.

    Raises:
        DataError: the file is not VIA's, the split does not exist, or an object can't be right.
    """
    files = _files(path)
    file = file_of_split(files, path, split, called=_CALLED)
    policy = policy or IssuePolicy()
    documents = {each: _document(each) for each in files}
    chosen = _class_attribute(documents.values())
    attribute, others = chosen
    if others:
        listed = ", ".join(map(repr, others[:5]))
        policy.note(
            f"The class is the region attribute {attribute!r} (others: {listed})",
            file=file,
            place="region_attributes",
        )
    options = [_options(document, attribute) for document in documents.values()]
    entries = [entry for each, entry in _entries(documents[file], file)]
    return gather(
        [_image(entry, number, file) for number, entry in enumerate(entries, 1)],
        lambda image, row: _objects(image, row, attribute, policy),
        ImageFinder(file, images=images),
        policy,
        classes=_merged(options, documents, attribute),
        more_names=_names(documents, attribute, skip=file),
        written="xywh",
    )


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/` and `via_project.json`, or one .json for each split: projects of VIA 2.

    The class is the region attribute `class`; a region to ignore has an attribute `ignored`.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    for part, indices in parts(data, splits, "via_project").items():
        metadata: dict[str, Any] = {}
        for i in indices:
            size = data.records[i].path.stat().st_size
            metadata[f"{names[i]}{size}"] = {
                "filename": names[i],
                "size": size,
                "regions": list(_written(data.records[i], data.classes)),
                "file_attributes": {},
            }
        attributes = {
            _CLASS: {
                "type": "dropdown",
                "description": "",
                "options": dict.fromkeys(data.classes, ""),
                "default_options": {},
            },
            "ignored": {"type": "text", "description": "", "default_value": ""},
        }
        document: dict[str, Any] = {
            "_via_settings": {
                "core": {"filepath": {}, "default_filepath": "images/"},
                "project": {"name": part},
            },
            "_via_img_metadata": metadata,
            "_via_attributes": {"region": attributes, "file": {}},
            "_via_data_format_version": "2.0.10",
            "_via_image_id_list": list(metadata),
        }
        write_json(folder / f"{part}.json", document)


def _written(record: Record, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for i, (x1, y1, x2, y2) in enumerate(record.boxes):
        left, top = tidy(x1), tidy(y1)
        attributes = {_CLASS: class_name(int(record.labels[i]), classes)}
        if record.ignored[i]:
            attributes["ignored"] = "true"
        yield {
            "shape_attributes": {
                "name": "rect",
                "x": left,
                "y": top,
                "width": length(left, x2),
                "height": length(top, y2),
            },
            "region_attributes": attributes,
        }


def is_via_table(file: Path) -> bool:
    """Whether a CSV file is VIA's, by its header.

    Raises:
        DataError: the file can't be read.
    """
    return CSV_COLUMN in head_text(file).partition("\n")[0]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    listed = json_files(path)
    tables = [*files_in(path, ".csv"), *files_one_below(path, ".csv")]
    found = [file for file in listed if is_json_of(file, "via")] or [
        file for file in tables if is_via_table(file)
    ]
    if not found:
        there = ", ".join(str(file.relative_to(path)) for file in (listed + tables)[:20]) or "none"
        raise DataError(
            f"{path}: no VIA file. Expected a .json with regions, or a .csv with "
            f"{CSV_COLUMN}. Files there: {there}."
        )
    return found


def _document(file: Path) -> dict[str, Any]:
    """The value of a file; a table as the JSON of the same annotations."""
    if file.suffix.lower() == ".csv":
        return _from_table(file)
    document = read_json(file)
    if not isinstance(document, dict) or (
        "_via_img_metadata" not in document
        and not all(isinstance(e, dict) and "filename" in e for e in document.values())
    ):
        raise refusal(file, document, wanted="images with regions")
    expect_kind(file, document, "via", wanted="images with regions")
    return document


def _from_table(file: Path) -> dict[str, Any]:
    rows = read_table(file)
    header = [cell.lstrip("#").strip() for cell in rows[0][1]] if rows else []
    for name in ("filename", CSV_COLUMN, "region_attributes"):
        if name not in header:
            raise DataError(f"{file}, line 1: no column {name}. Expected those of VIA's CSV.")
    document: dict[str, Any] = {}
    for line, cells in rows[1:]:
        row = dict(zip(header, cells, strict=False))
        name = row.get("filename", "")
        entry = document.setdefault(name, {"filename": name, "regions": [], "line": line})
        shape = _cell(row.get(CSV_COLUMN), file, line)
        if shape:
            attributes = _cell(row.get("region_attributes"), file, line)
            region = {"shape_attributes": shape, "region_attributes": attributes, "line": line}
            entry["regions"].append(region)
    return document


def _cell(text: str | None, file: Path, line: int) -> dict[str, Any]:
    """The object that a cell of the table holds."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError(f"{file}, line {line}: {str(text)[:60]!r} is not the JSON of an object.")
    return value


def _entries(document: dict[str, Any], file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    metadata = document.get("_via_img_metadata", document)
    expect(metadata, dict, file=file, place="_via_img_metadata", what="it")
    for number, (key, entry) in enumerate(metadata.items(), 1):
        yield key, expect(entry, dict, file=file, place=f"image {number}", what="the entry")


def _regions(entry: dict[str, Any]) -> list[Any]:
    """VIA 1 writes regions as an object, VIA 2 as a list."""
    regions = entry.get("regions")
    if isinstance(regions, dict):
        return list(regions.values())
    return regions if isinstance(regions, list) else []


def _attributes(documents: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for document in documents:
        metadata = document.get("_via_img_metadata", document)
        for entry in metadata.values() if isinstance(metadata, dict) else ():
            for region in _regions(entry) if isinstance(entry, dict) else ():
                found = region.get("region_attributes") if isinstance(region, dict) else None
                if isinstance(found, dict):
                    yield found


def _class_attribute(documents: Iterable[dict[str, Any]]) -> tuple[str, list[str]]:
    """The attribute that is the class, and those that could have been."""
    counts: Counter[str] = Counter()
    listed = list(documents)
    for attributes in _attributes(listed):
        counts.update(name for name, value in attributes.items() if _value(value))
    names = [name for name, _ in counts.most_common() if name.strip().lower() not in _NO_CLASS]
    if not names:
        return next(iter(_declared(listed)), _CLASS), []
    half = max(counts[name] for name in names) / 2
    likely = [
        name
        for known in _LIKELY
        for name in names
        if name.strip().lower() == known and counts[name] >= half
    ]
    best = (likely or names)[0]
    return best, [name for name in names if name != best]


def _declared(documents: Iterable[dict[str, Any]]) -> list[str]:
    """The attributes of regions that projects declare with options, where no region has any."""
    found: list[str] = []
    for document in documents:
        value: Any = document
        for name in ("_via_attributes", "region"):
            value = value.get(name) if isinstance(value, dict) else None
        for name in value if isinstance(value, dict) else ():
            found += [name] if _options(document, name) else []
    return found


def _value(value: Any) -> str:
    """An attribute's value; of a checkbox the first option that is set."""
    if isinstance(value, dict):
        return next((str(name) for name, chosen in value.items() if chosen in TRUE), "")
    return text_of_name(value)


def _options(document: dict[str, Any], attribute: str) -> list[str]:
    """The options that a project lists for an attribute, in their order."""
    value: Any = document
    for name in ("_via_attributes", "region", attribute, "options"):
        value = value.get(name) if isinstance(value, dict) else None
    return [str(name) for name in value] if isinstance(value, dict) else []


def _merged(
    options: list[list[str]], documents: Mapping[Path, dict[str, Any]], attribute: str
) -> tuple[str, ...]:
    """The classes in the order of the options; none where the options lack a name in use."""
    classes = dict.fromkeys(name for listed in options for name in listed if name != IGNORE)
    used = _names(documents, attribute) - {"", IGNORE}
    return tuple(classes) if classes and used <= classes.keys() else ()


def _names(
    documents: Mapping[Path, dict[str, Any]], attribute: str, *, skip: Path | None = None
) -> set[str]:
    chosen = [document for file, document in documents.items() if file != skip]
    return {_value(found.get(attribute)) for found in _attributes(chosen)}


def _image(entry: dict[str, Any], number: int, file: Path) -> NamedImage:
    place = f"line {entry['line']}" if isinstance(entry.get("line"), int) else f"image {number}"
    return NamedImage(file, entry.get("filename"), place, _regions(entry), image_id=number)


def _objects(
    image: NamedImage, row: ImageRow, attribute: str, policy: IssuePolicy
) -> Iterator[NamedObject]:
    for number, region in enumerate(image.entry, 1):
        place = f"region {number}"
        where = f"{image.place}, {place}"
        shape = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(shape, dict):
            message = f"the region is {str(region)[:40]!r}. Expected shape_attributes."
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        kind = shape.get("name")
        if kind in ("point", "polyline"):
            message = f"a {kind} has no box. Expected a rect, circle, ellipse or polygon."
            policy.report(AnnotationIssue("no box", image.file, where, message, row.path))
            continue
        box = _box(shape)
        if box is None:
            message = f"the shape is {str(shape)[:80]}. Expected the numbers of a rect or polygon."
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        found = region.get("region_attributes")
        attributes = found if isinstance(found, dict) else {}
        ignored = _value(attributes.get("ignored")).lower() in ("true", "1", "yes")
        yield NamedObject(place, _value(attributes.get(attribute)), box, ignored, kind == "rect")


def _box(shape: dict[str, Any]) -> Sequence[float] | None:
    """The extent xyxy of a shape in pixels, None where its numbers are missing."""
    kind = shape.get("name")
    if kind == "rect":
        numbers = numbers_of(shape, "x", "y", "width", "height")
        if numbers is None:
            return None
        x, y, width, height = numbers
        return x, y, x + width, y + height
    if kind == "circle":
        numbers = numbers_of(shape, "cx", "cy", "r")
        if numbers is None:
            return None
        x, y, radius = numbers
        return ellipse_box(x, y, radius, radius)
    if kind == "ellipse":
        numbers = numbers_of(shape, "cx", "cy", "rx", "ry")
        if numbers is None:
            return None
        x, y, rx, ry = numbers
        return ellipse_box(x, y, rx, ry, math.degrees(as_number(shape.get("theta", 0)) or 0.0))
    if kind != "polygon":
        return None
    points = []
    for name in ("all_points_x", "all_points_y"):
        listed = shape.get(name)
        values = [as_number(v) for v in listed] if isinstance(listed, list) else [None]
        if None in values:
            return None
        points.append(values)
    return box_of_points(*points)  # pyrefly: ignore[bad-argument-type]
