"""LabelMe: one JSON for each image; a rectangle is a box, and so is the extent of a polygon."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.data.dataset import Dataset
from foveal.data.folders import files_below, folders_in
from foveal.data.formats.class_names import (
    Labels,
    class_file,
    class_source,
    found_classes,
    write_class_file,
)
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_kinds import refusal
from foveal.data.formats.parsing import LARGEST_TEXT, as_number, expect, read_json
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.splits import take_split
from foveal.data.formats.writing import (
    class_name,
    expect_line_names,
    image_names,
    parts,
    place_images,
    tidy,
)
from foveal.errors import DataError
from foveal.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from foveal.data.dataset import Record
    from foveal.data.formats.writing import ImageMode

_EXTENTS = ("rectangle", "polygon", "mask", "rotation", "oriented_rectangle")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a LabelMe file, or all those of a folder and the folders below it.

    A split is a folder below. Classes are those of `labels.txt` where there is one, else the names
    found in all files, sorted. `__ignore__` marks regions to ignore whatever the class, and a
    shape's flag `ignored` or `difficult` one of its class. Points and lines have no box. Polygons
    are kept as the flag `segmentation`.

    Raises:
        DataError: a file is not LabelMe's, the split does not exist, or a shape can't be right.
    """
    policy = policy or IssuePolicy()
    root = path.parent if path.is_file() else path
    everything = [path] if path.is_file() else files_below(root, ".json")
    files: Sequence[Path] = everything
    if split is not None:
        _, files = take_split(
            split, root, lambda name: [f for f in everything if (root / name) in f.parents]
        )
    if not files:
        where = root if split is None else root / split
        others = ", ".join(folder.name for folder in folders_in(root)) or "none"
        there = f" Folders there: {others}." if split else ""
        raise DataError(f"{where}: no LabelMe files. Expected .json files with shapes.{there}")
    documents = _documents(everything, path, policy)
    files = [file for file in files if file in documents]
    names = (str(shape.get("label", "")) for d in documents.values() for shape in d["shapes"])
    classes = class_file(root) or found_classes(names)
    labels = Labels(classes, policy, source=class_source(root))
    finder = ImageFinder(root, images=images)
    columns = ObjectTable("shape")
    rows: list[ImageRow] = []
    segments: list[Any] = []
    for file in files:
        row = _row(documents[file], file, finder)
        _objects(documents[file], len(rows), row, file, columns, segments, labels, policy)
        rows.append(row)
    if any(segments):
        columns.flags["segmentation"] = segments
    records = assemble(measured(rows, finder, policy), columns, policy)
    policy.close()
    return Dataset(records, classes, images or root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write each image with a JSON beside it, in a folder for each split, and `labels.txt`.

    Boxes are written as rectangles; a region to ignore has the flag `ignored`.

    Raises:
        ImageError: an image does not exist.
    """
    expect_line_names(data.classes, blanks=True, format_name="LabelMe")
    names = image_names(data.records)
    for part, indices in parts(data, splits, "").items():
        records = [data.records[i] for i in indices]
        place_images(records, [names[i] for i in indices], folder / part, images=images)
        for i, record in zip(indices, records, strict=True):
            document: dict[str, Any] = {
                "version": "5.0.0",
                "flags": {},
                "shapes": list(_shapes(record, data.classes)),
                "imagePath": names[i],
                "imageData": None,
                "imageHeight": record.height,
                "imageWidth": record.width,
            }
            text = json.dumps(document, ensure_ascii=False, indent=1)
            write_text((folder / part / names[i]).with_suffix(".json"), text)
    write_class_file(folder, data.classes)


def _shapes(record: Record, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for box, label, ignored in zip(record.boxes, record.labels, record.ignored, strict=True):
        x1, y1, x2, y2 = map(tidy, box)
        yield {
            "label": class_name(int(label), classes),
            "points": [[x1, y1], [x2, y2]],
            "group_id": None,
            "shape_type": "rectangle",
            "flags": {"ignored": True} if ignored else {},
        }


def _documents(files: Sequence[Path], path: Path, policy: IssuePolicy) -> dict[Path, Any]:
    """The value of each file; in a folder JSON of another kind is passed over, which is said.

    Raises:
        DataError: the file that was named is not LabelMe's, or none of the folder is.
    """
    documents = {}
    others = []
    for file in files:
        value = read_json(file, LARGEST_TEXT)
        if isinstance(value, dict) and {"shapes", "imagePath"} & value.keys():
            documents[file] = _checked(value, file)
        elif file == path:
            raise refusal(file, value, wanted="an object with shapes")
        else:
            others.append((file, value))
            policy.note("JSON files without shapes are passed over", file=file, place="top level")
    if others and not documents:
        raise refusal(*others[0], wanted="an object with shapes")
    return documents


def _checked(document: dict[str, Any], file: Path) -> dict[str, Any]:
    document.pop("imageData", None)
    shapes = expect(document.get("shapes"), list, file=file, place="shapes", what='"shapes"')
    for number, shape in enumerate(shapes, 1):
        expect(shape, dict, file=file, place=f"shape {number}", what="the entry")
    return document


def _row(document: dict[str, Any], file: Path, finder: ImageFinder) -> ImageRow:
    name = document.get("imagePath")
    expect(name or "", str, file=file, place="imagePath", what="the image's name")
    path = finder.find_own(name, file=file, place="imagePath")
    size = []
    for side in ("imageWidth", "imageHeight"):
        value = document.get(side) or 0
        expect(value, (int, float), file=file, place=side, what="the size")
        if not 0 <= value < 2**31:
            raise DataError(f"{file}, {side}: {value} is not a size in pixels.")
        size.append(int(value))
    return ImageRow(path, size[0], size[1], file.stem)


def _objects(
    document: dict[str, Any],
    image: int,
    row: ImageRow,
    file: Path,
    columns: ObjectTable,
    segments: list[Any],
    labels: Labels,
    policy: IssuePolicy,
) -> None:
    for number, shape in enumerate(document["shapes"], 1):
        place = f"shape {number}"
        kind = shape.get("shape_type") or "polygon"
        points = _points(shape.get("points"))
        if kind not in (*_EXTENTS, "circle"):
            message = (
                f"a {' '.join(str(kind).split())[:40]} has no box. Expected a rectangle or polygon."
            )
            policy.report(AnnotationIssue("no box", file, place, message, row.path))
            continue
        if points is None or len(points) < 2:
            message = f"points {repr(shape.get('points'))[:60]}. Expected two or more [x, y]."
            policy.report(AnnotationIssue("not a box", file, place, message, row.path))
            continue
        name = shape.get("label")
        expect(name, str, file=file, place=place, what="the label")
        label = labels.of(name, file=file, place=place, image=row.path)
        if label is None:
            continue
        flags = shape.get("flags") if isinstance(shape.get("flags"), dict) else {}
        ignored = label < 0 or bool(flags.get("ignored") or flags.get("difficult"))
        columns.add(image, _box(kind, points), label, file=file, number=number, ignored=ignored)
        outline = [value for point in points for value in point]
        segments.append([outline] if kind == "polygon" else None)


def _points(value: Any) -> list[tuple[float, float]] | None:
    if not isinstance(value, list):
        return None
    points = []
    for point in value:
        if not isinstance(point, list) or len(point) != 2:
            return None
        x, y = as_number(point[0]), as_number(point[1])
        if x is None or y is None:
            return None
        points.append((x, y))
    return points


def _box(kind: str, points: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """The box of a shape; a circle is written as its center and a point on it."""
    if kind == "circle":
        (x, y), edge = points[:2]
        radius = math.dist((x, y), edge)
        return x - radius, y - radius, x + radius, y + radius
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    if any(map(math.isnan, (*xs, *ys))):
        return math.nan, math.nan, math.nan, math.nan
    return min(xs), min(ys), max(xs), max(ys)
