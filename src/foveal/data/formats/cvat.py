"""CVAT for images: one XML with an element for each image and its boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from foveal.data.dataset import Dataset
from foveal.data.folders import files_in
from foveal.data.formats.class_names import Labels, found_classes
from foveal.data.formats.extents import ellipse_box, turned_box
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import complete, parse_number, read_xml
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.splits import take_split
from foveal.data.formats.writing import class_name, image_names, parts, place_images, text_of
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Record
    from foveal.data.formats.writing import ImageMode

_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_SHAPES = ("box", "polygon", "mask", "ellipse", "polyline", "points", "cuboid", "skeleton")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a CVAT file, or the `annotations.xml` of a folder; a split is an image's `subset`.

    Classes are in the order of the file's labels, else the names found, sorted. `__ignore__` marks
    regions to ignore whatever the class, and an attribute `ignored` one of its class. Of a rotated
    box, a polygon, an ellipse or a mask the extent is taken; points and lines have none. Kept as a
    flag: `occluded`.

    Raises:
        DataError: it is not such a file, the split does not exist, or an object can't be right.
    """
    file = annotation_file(path)
    policy = policy or IssuePolicy()
    tree = _annotations(file)
    everything = tree.findall("image")
    listed = ((n.text or "").strip() for n in tree.iterfind("meta//labels/label/name"))
    names = (s.get("label", "") for e in everything for s in e if s.tag in _SHAPES)
    classes = tuple(
        dict.fromkeys(n for n in listed if n not in ("", "__ignore__"))
    ) or found_classes(names)
    elements = _of_split(everything, split, file)
    finder = ImageFinder(file, images=images)
    labels = Labels(classes, policy)
    columns = ObjectTable("shape", flags={"occluded": []})
    rows: list[ImageRow] = []
    number = 0
    for element in elements:
        row = _row(element, file, finder)
        for shape in element:
            if shape.tag in _SHAPES:
                number += 1
                place = f"image {element.get('name')!r}, shape {number}"
                _object(shape, len(rows), row, file, number, place, columns, labels, policy)
        rows.append(row)
    records = assemble(measured(rows, finder, policy), columns, policy)
    policy.close()
    return Dataset(records, classes, images or finder.root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/` and `annotations.xml`, a split as the images' `subset`.

    A region to ignore has an attribute `ignored`.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    subsets = {i: part for part, indices in parts(data, splits, "").items() for i in indices}
    tree = Element("annotations")
    SubElement(tree, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(tree, "meta"), "task"), "labels")
    for name in data.classes:
        SubElement(SubElement(labels, "label"), "name").text = name
    for i, record in enumerate(data):
        element = SubElement(tree, "image", {"id": str(i), "name": names[i]})
        element.attrib |= {"width": str(record.width), "height": str(record.height)}
        if subsets.get(i):
            element.set("subset", subsets[i])
        _add_boxes(element, record, data.classes)
    indent(tree)
    ElementTree(tree).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)


def _add_boxes(element: Element, record: Record, classes: tuple[str, ...]) -> None:
    occluded = record.flags.get("occluded", (False,) * len(record))
    for i, box in enumerate(record.boxes):
        item = SubElement(element, "box", {"label": class_name(int(record.labels[i]), classes)})
        item.set("occluded", str(int(float(occluded[i]) > 0)))
        for key, value in zip(_CORNERS, box, strict=True):
            item.set(key, text_of(value))
        if record.ignored[i]:
            SubElement(item, "attribute", {"name": "ignored"}).text = "true"


def annotation_file(path: Path) -> Path:
    """The CVAT file of a folder.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return path
    found = [path / "annotations.xml"] if (path / "annotations.xml").is_file() else []
    found = found or files_in(path, ".xml")
    if len(found) != 1:
        raise DataError(f"{path}: {len(found)} XML files. Expected annotations.xml.")
    return found[0]


def _annotations(file: Path) -> Element:
    tree = read_xml(file)
    if tree.tag != "annotations":
        raise DataError(f"{file}: the root element is <{tree.tag}>. Expected <annotations>.")
    if tree.find("track") is not None:
        raise DataError(
            f"{file}: it holds tracks of a video. Export it as 'CVAT for images' instead."
        )
    return tree


def _of_split(elements: list[Element], split: str | None, file: Path) -> list[Element]:
    if split is None:
        return elements
    _, chosen = take_split(
        split, file, lambda name: [one for one in elements if one.get("subset") == name]
    )
    if not chosen:
        there = sorted({element.get("subset") or "" for element in elements} - {""})
        raise DataError(
            f"{file}: no image has the subset {split!r}. There are: {', '.join(there) or 'none'}."
        )
    return list(chosen)


def _row(element: Element, file: Path, finder: ImageFinder) -> ImageRow:
    name = element.get("name")
    place = f"image {element.get('id', name)}"
    path = finder.find(name, file=file, place=place)
    size = []
    for side in ("width", "height"):
        value = parse_number(element.get(side, "0"))
        if value is None or not 0 <= value < 2**31:
            raise DataError(f"{file}, {place}: {side} is {element.get(side)!r}. Expected pixels.")
        size.append(int(value))
    return ImageRow(path, size[0], size[1], element.get("id"))


def _object(
    shape: Element,
    image: int,
    row: ImageRow,
    file: Path,
    number: int,
    place: str,
    columns: ObjectTable,
    labels: Labels,
    policy: IssuePolicy,
) -> None:
    if shape.tag in ("polyline", "points", "cuboid", "skeleton"):
        message = f"a {shape.tag} has no box. Expected a box or polygon."
        policy.report(AnnotationIssue("no box", file, place, message, row.path))
        return
    box = _box(shape)
    if box is None:
        message = f"<{shape.tag}> has {dict(shape.attrib)}. Expected the numbers of a box."
        policy.report(AnnotationIssue("not a box", file, place, message[:300], row.path))
        return
    label = labels.of(shape.get("label", ""), file=file, place=place, image=row.path)
    if label is not None:
        marks = {a.get("name"): (a.text or "").strip() for a in shape.iter("attribute")}
        ignored = label < 0 or marks.get("ignored", "").lower() in ("true", "1")
        occluded = shape.get("occluded") == "1"
        columns.add(image, box, label, file=file, number=number, ignored=ignored, occluded=occluded)


def _numbers(shape: Element, *names: str) -> list[float] | None:
    return complete(parse_number(shape.get(name)) for name in names)


def _box(shape: Element) -> tuple[float, ...] | None:
    """The extent of a shape in pixels, None where its numbers are missing."""
    if shape.tag == "box":
        corners = _numbers(shape, *_CORNERS)
        angle = parse_number(shape.get("rotation", "0"))
        return None if corners is None or angle is None else turned_box(corners, angle)
    if shape.tag == "ellipse":
        values = _numbers(shape, "cx", "cy", "rx", "ry")
        if values is None:
            return None
        x, y, rx, ry = values
        return ellipse_box(x, y, rx, ry, parse_number(shape.get("rotation", "0")) or 0.0)
    if shape.tag == "mask":
        values = _numbers(shape, "left", "top", "width", "height")
        if values is None:
            return None
        left, top, width, height = values
        return left, top, left + width, top + height
    points = [p.split(",") for p in shape.get("points", "").split(";") if p]
    values = [v for p in points for t in p if (v := parse_number(t)) is not None]
    if len(points) < 3 or len(values) != 2 * len(points):
        return None
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
