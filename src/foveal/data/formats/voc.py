"""Pascal VOC: one XML file for each image, in a folder with ImageSets that name the splits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from foveal.data.dataset import Dataset
from foveal.data.folders import files_below, files_in
from foveal.data.formats.class_names import Labels, class_file, class_source, found_classes
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import parse_number, read_lines, read_xml
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.writing import (
    class_name,
    expect_line_names,
    image_names,
    parts,
    place_images,
    text_of,
)
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.data.dataset import Record
    from foveal.data.formats.issues import BadBoxes
    from foveal.data.formats.writing import ImageMode

_CORNERS = ("xmin", "ymin", "xmax", "ymax")

Corners = Literal["edges", "pixels"]
"""How corners are written.

"edges": xmin and xmax are the edges of the box in continuous pixels, the image's left edge being
0; so write LabelImg, CVAT and most converters. "pixels": they are the numbers of the first and the
last pixel inside, counted from 1, as the PASCAL VOC challenge defined them; the box's left edge is
xmin - 1.
"""


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    bad_boxes: BadBoxes = "drop",
    problems: list[AnnotationIssue] | None = None,
    corners: Corners = "edges",
) -> Dataset:
    """Read a VOC folder: all of its annotations, or those that a split's list names.

    Classes are those of `labels.txt` where there is one, else the names found in *all* the
    folder's annotations, sorted, so that every split has the same. Objects marked `difficult`
    become regions to ignore. Kept as flags: `difficult` and `truncated`.

    Raises:
        DataError: a file is not a VOC annotation, or the split does not exist.
    """
    if corners not in ("edges", "pixels"):
        raise DataError(f'corners is {corners!r}. Expected "edges" or "pixels".')
    policy = IssuePolicy(bad_boxes, problems)
    root = path.parent if path.is_file() else path
    folder = annotation_folder(root, split)
    files = [path] if path.is_file() else _files_of_split(root, folder, split)
    everything = files if path.is_file() else files_in(folder, ".xml")
    trees = {file: _annotation(file) for file in dict.fromkeys([*files, *everything])}
    names = (
        (item.findtext("name") or "").strip() for t in trees.values() for item in t.iter("object")
    )
    classes = class_file(root) or found_classes(names)
    labels = Labels(classes, policy, source=class_source(root))
    finder = ImageFinder(root, images=images, more=[root / "JPEGImages", folder])
    columns = ObjectTable("object", flags={"difficult": [], "truncated": []})
    shift = 1.0 if corners == "pixels" else 0.0
    rows: list[ImageRow] = []
    for file in files:
        row = _image(trees[file], file, finder)
        _objects(trees[file], len(rows), row, file, columns, labels, policy, shift)
        rows.append(row)
    records = assemble(measured(rows, finder, policy), columns, policy)
    policy.close()
    return Dataset(records, classes, images or root)


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
    corners: Corners = "edges",
) -> None:
    """Write `JPEGImages/`, `Annotations/`, `labels.txt`, and `ImageSets/Main/` for splits.

    Regions to ignore are marked `difficult`. Corners are written as `read` expects them.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "JPEGImages", images=images)
    (folder / "Annotations").mkdir(parents=True)
    stems = [Path(name).stem for name in names]
    for record, name, stem in zip(data, names, stems, strict=True):
        tree = ElementTree(
            _element(record, name, data.classes, 1.0 if corners == "pixels" else 0.0)
        )
        indent(tree)
        tree.write(folder / "Annotations" / f"{stem}.xml", encoding="utf-8")
    expect_line_names(data.classes, blanks=True, format_name="VOC")
    lines = "".join(f"{name}\n" for name in data.classes)
    (folder / "labels.txt").write_text(lines, encoding="utf-8")
    for part, indices in (parts(data, splits, "") if splits else {}).items():
        (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        text = "".join(f"{stems[i]}\n" for i in indices)
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text(text, encoding="utf-8")


def _element(record: Record, name: str, classes: tuple[str, ...], shift: float) -> Element:
    tree = Element("annotation")
    SubElement(tree, "folder").text = "JPEGImages"
    SubElement(tree, "filename").text = name
    size = SubElement(tree, "size")
    for tag, value in (("width", record.width), ("height", record.height), ("depth", 3)):
        SubElement(size, tag).text = str(value)
    truncated = record.flags.get("truncated", (False,) * len(record))
    for i, (x1, y1, x2, y2) in enumerate(record.boxes):
        item = SubElement(tree, "object")
        SubElement(item, "name").text = class_name(int(record.labels[i]), classes)
        SubElement(item, "pose").text = "Unspecified"
        SubElement(item, "truncated").text = str(int(float(truncated[i]) > 0))
        SubElement(item, "difficult").text = str(int(record.ignored[i]))
        box = SubElement(item, "bndbox")
        for tag, value in zip(_CORNERS, (x1 + shift, y1 + shift, x2, y2), strict=True):
            SubElement(box, tag).text = text_of(value)
    return tree


def annotation_folder(root: Path, split: str | None) -> Path:
    """Where the XML files lie: `Annotations`, the split's own folder, or the folder itself."""
    choices = [root / "Annotations", root / "annotations"]
    if split is not None:
        choices = [root / split / "Annotations", *choices, root / split]
    for folder in (*choices, root):
        if files_in(folder, ".xml"):
            return folder
    raise DataError(
        f"{root}: no VOC annotations. Expected XML files in {root / 'Annotations'} or in it."
    )


def _files_of_split(root: Path, folder: Path, split: str | None) -> list[Path]:
    if split is None or split in (folder.name, folder.parent.name):
        return files_in(folder, ".xml")
    lists = [root / "ImageSets" / "Main" / f"{split}.txt", root / "ImageSets" / f"{split}.txt"]
    found = next((file for file in (*lists, root / f"{split}.txt") if file.is_file()), None)
    if found is None:
        there = sorted({f.stem for f in files_below(root / "ImageSets", ".txt")})
        raise DataError(
            f"{root}: no split {split!r}. Expected {lists[0].relative_to(root)} or a folder "
            f"{split}. Splits there: {', '.join(there) or 'none'}."
        )
    files = []
    for number, line in enumerate(read_lines(found), 1):
        if not line:
            continue
        name, _, mark = line.rpartition(" ")
        file = folder / f"{line}.xml"
        if name and mark in ("-1", "0", "1") and not file.is_file():
            if mark == "-1":
                continue  # the lists of one class say -1 for images without it
            file = folder / f"{name.strip()}.xml"
        if not Path(os.path.normpath(file)).is_relative_to(folder):
            raise DataError(f"{found}, line {number}: {line!r} leads out of the data folder.")
        if not file.is_file():
            raise DataError(f"{found}, line {number}: {file} does not exist.")
        files.append(file)
    return list(dict.fromkeys(files))


def _annotation(file: Path) -> Element:
    tree = read_xml(file)
    if tree.tag != "annotation":
        raise DataError(f"{file}: the root element is <{tree.tag}>. Expected <annotation>.")
    return tree


def _image(tree: Element, file: Path, finder: ImageFinder) -> ImageRow:
    name = (tree.findtext("filename") or "").strip()
    path = finder.find_own(name, file=file, place="<filename>")
    size = []
    for side in ("width", "height"):
        text = (tree.findtext(f"size/{side}") or "0").strip()
        try:
            size.append(int(float(text)))
        except (ValueError, OverflowError):
            size.append(-1)
        if not 0 <= size[-1] < 2**31:
            raise DataError(f"{file}, <{side}>: {text!r} is not a size in pixels.")
    return ImageRow(path, size[0], size[1], file.stem)


def _objects(
    tree: Element,
    image: int,
    row: ImageRow,
    file: Path,
    columns: ObjectTable,
    labels: Labels,
    policy: IssuePolicy,
    shift: float,
) -> None:
    for number, item in enumerate(tree.iter("object"), 1):
        place = f"object {number}"
        corners = [item.findtext(f"bndbox/{k}") for k in _CORNERS]
        box = [value for text in corners if (value := parse_number(text)) is not None]
        if len(box) < 4:
            message = f"<bndbox> holds {corners}. Expected numbers in xmin, ymin, xmax, ymax."
            policy.report(AnnotationIssue("not a box", file, place, message, row.path))
            continue
        name = (item.findtext("name") or "").strip()
        label = labels.of(name, file=file, place=place, image=row.path)
        if label is None:
            continue
        difficult, truncated = (
            (item.findtext(k) or "0").strip().lower() in ("1", "true")
            for k in ("difficult", "truncated")
        )
        columns.add(
            image,
            (box[0] - shift, box[1] - shift, box[2], box[3]),
            label,
            file=file,
            number=number,
            ignored=difficult or label < 0,
            difficult=difficult,
            truncated=truncated,
        )
