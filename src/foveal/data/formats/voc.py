"""Pascal VOC: one XML file for each image, in a folder with ImageSets that name the splits."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from foveal.data.dataset import Dataset
from foveal.data.folders import files_below, files_in, folders_in
from foveal.data.formats.class_names import (
    Labels,
    class_file,
    class_source,
    found_classes,
    write_class_file,
)
from foveal.data.formats.extents import box_of_points, turned_box
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import complete, parse_number, read_lines, read_xml
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.splits import (
    advise_splits,
    names_of_split,
    split_folders,
    take_split,
)
from foveal.data.formats.writing import (
    class_name,
    expect_line_names,
    image_names,
    parts,
    place_images,
    text_of,
)
from foveal.errors import DataError
from foveal.files import write_text
from foveal.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from foveal.data.dataset import Record
    from foveal.data.formats.writing import ImageMode

_SHOWN = 5
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
    policy: IssuePolicy | None = None,
    corners: Corners = "edges",
) -> Dataset:
    """Read a VOC folder: all of its annotations, or those that a split's list names.

    Classes are those of `labels.txt` where there is one, else the names found in *all* the
    folder's annotations, sorted, so that every split has the same. Objects marked `difficult`
    become regions to ignore. Of an object without <bndbox> the extent of its <polygon> or turned
    <robndbox> is read; what LabelMe's XML calls deleted is none. Kept as flags: `difficult` and
    `truncated`.

    Raises:
        DataError: a file is not a VOC annotation, or the split does not exist.
    """
    if corners not in ("edges", "pixels"):
        raise DataError(f'corners is {corners!r}. Expected "edges" or "pixels".')
    policy = policy or IssuePolicy()
    root = path.parent if path.is_file() else path
    folder = root if path.is_file() else annotation_folder(root, split)
    files = [path] if path.is_file() else _files_of_split(root, folder, split)
    everything = files if path.is_file() else _of_all_splits(root, folder)
    trees = {file: _annotation(file) for file in dict.fromkeys([*files, *everything])}
    names = (
        (item.findtext("name") or "").strip()
        for tree in trees.values()
        for item in tree.iter("object")
        if not _is_deleted(item)
    )
    classes = class_file(root) or found_classes(names)
    labels = Labels(classes, policy, source=class_source(root))
    finder = ImageFinder(root, images=images, more=_image_folders(root, folder, files))
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
    write_class_file(folder, data.classes)
    for part, indices in (parts(data, splits, "") if splits else {}).items():
        (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        text = "".join(f"{stems[i]}\n" for i in indices)
        write_text(folder / "ImageSets" / "Main" / f"{part}.txt", text)


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
    """Where the XML files lie: `Annotations`, the split's own folder, the folder itself, or below.

    Raises:
        DataError: there are none, or it is not plain in which of several folders.
    """
    if split is not None:
        _, found = take_split(split, root, lambda name: _folders_of_split(root, name))
        if found:
            return found[0]
    for folder in _usual(root):
        if files_below(folder, ".xml"):
            return folder
    if files_in(root, ".xml"):
        return root
    parts = [folder for folder in split_folders(root) if files_below(folder, ".xml")]
    others = [folder for folder in folders_in(root) if files_below(folder, ".xml")]
    if len(others) == 1:
        return others[0]
    if parts and split is None:
        names = [folder.name for folder in parts]
        raise DataError(f"{root}: VOC files lie in several folders. {advise_splits(root, names)}")
    if others:
        names = [str(folder) for folder in others[:_SHOWN]]
        raise DataError(
            f"{root}: VOC files lie in {len(others)} folders. Expected one of them in place of "
            f"{root}: {', '.join(names)}{', ...' if len(others) > _SHOWN else ''}."
        )
    raise DataError(
        f"{root}: no VOC annotations. Expected XML files in {root / 'Annotations'}, in it or in "
        "another folder there."
    )


def _usual(root: Path) -> list[Path]:
    return [root / "Annotations", root / "annotations"]


def _folders_of_split(root: Path, name: str) -> list[Path]:
    """The folders of a split that hold XML files, the likeliest first."""
    choices = [*_usual(root / name), *(folder / name for folder in _usual(root)), root / name]
    choices += [folder / name for folder in folders_in(root)]
    return [folder for folder in choices if folder != root and files_below(folder, ".xml")]


def _of_all_splits(root: Path, folder: Path) -> list[Path]:
    """The XML files of the folder and of the splits beside it, so that all have their classes."""
    beside = [*split_folders(root), *split_folders(folder.parent)]
    is_split = any(part == folder or part in folder.parents for part in beside)
    folders = [folder, *beside] if is_split else [folder]
    files = [file for one in folders for file in _xml_files(root, one)]
    return list(dict.fromkeys(files))


def _xml_files(root: Path, folder: Path) -> list[Path]:
    """Of the data set's own folder only those in it: those below are other data."""
    return files_in(folder, ".xml") if folder == root else files_below(folder, ".xml")


def _image_folders(root: Path, folder: Path, files: Sequence[Path]) -> list[Path]:
    """Where images may lie: in `JPEGImages`, beside the XML files, in folders called as theirs."""
    folders = [root / "JPEGImages", folder, folder.parent / "JPEGImages", folder.parent / "images"]
    for parent in dict.fromkeys(file.parent for file in files):
        inner = parent.relative_to(folder)
        folders.append(parent)
        for name in ("JPEGImages", "images"):
            folders += [root / name / folder.name / inner, root / name / inner]
    return folders


def _files_of_split(root: Path, folder: Path, split: str | None) -> list[Path]:
    if split is None:
        return _xml_files(root, folder)
    if {folder.name, folder.parent.name} & set(names_of_split(split)) and folder != root:
        return files_below(folder, ".xml")
    lists = [root / "ImageSets" / "Main", root / "ImageSets", root]
    _, there_are = take_split(
        split,
        root,
        lambda name: [top / f"{name}.txt" for top in lists if (top / f"{name}.txt").is_file()],
    )
    if not there_are:
        there = sorted({f.stem for f in files_below(root / "ImageSets", ".txt")})
        raise DataError(
            f"{root}: no split {split!r}. Expected ImageSets/Main/{split}.txt or a folder "
            f"{split}. Splits there: {', '.join(there) or 'none'}." + suggestion(split, there)
        )
    found = there_are[0]
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
        if _is_deleted(item):
            continue
        box = _box(item, shift)
        if box is None:
            if item.find("bndbox") is None:
                message = "it has no <bndbox>. Expected one, or a <polygon> or <robndbox>."
                policy.report(AnnotationIssue("no box", file, place, message, row.path))
                continue
            corners = [item.findtext(f"bndbox/{k}") for k in _CORNERS]
            message = f"<bndbox> holds {corners}. Expected numbers in xmin, ymin, xmax, ymax."
            policy.report(AnnotationIssue("not a box", file, place, message, row.path))
            continue
        if item.find("bndbox") is None:
            columns.written = None
            policy.note(
                "Objects without a bndbox have another shape, whose extent is the box",
                file=file,
                place=place,
            )
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
            box,
            label,
            file=file,
            number=number,
            ignored=difficult or label < 0,
            difficult=difficult,
            truncated=truncated,
        )


def _is_deleted(item: Element) -> bool:
    return (item.findtext("deleted") or "").strip() == "1"


def _box(item: Element, shift: float) -> Sequence[float] | None:
    """The box xyxy of an object; the extent of its turned box or outline where it has no other."""
    if item.find("bndbox") is not None:
        corners = _numbers(item.findtext(f"bndbox/{name}") for name in _CORNERS)
        if corners is None:
            return None
        left, top, right, bottom = corners
        return left - shift, top - shift, right, bottom
    turned = item.find("robndbox")
    if turned is not None:  # roLabelImg's, with the angle in radians
        numbers = _numbers(turned.findtext(name) for name in ("cx", "cy", "w", "h", "angle"))
        if numbers is None:
            return None
        x, y, width, height, angle = numbers
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return turned_box(box, math.degrees(angle))
    outline = item.find("polygon")
    if outline is None:
        return None
    points = outline.findall("pt")
    if points:  # LabelMe's of the web
        xs, ys = (_numbers(point.findtext(side) for point in points) for side in "xy")
    else:  # Roboflow's x1, y1, x2, y2 ...
        count = sum(child.tag.startswith("x") for child in outline)
        xs, ys = (
            _numbers(outline.findtext(f"{side}{n}") for n in range(1, count + 1)) for side in "xy"
        )
    return None if xs is None or ys is None else box_of_points(xs, ys)


def _numbers(texts: Iterable[str | None]) -> list[float] | None:
    """The numbers that texts write, None where one writes none."""
    return complete(parse_number(text) for text in texts)
