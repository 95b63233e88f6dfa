"""CreateML: one JSON list of images, each with labels and the centers and sizes of boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.formats.class_names import class_file, class_source, write_class_file
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import annotation_files, file_of_split, write_json
from foveal.data.formats.json_kinds import expect_kind, refusal
from foveal.data.formats.named_objects import (
    TRUE,
    NamedImage,
    NamedObject,
    gather,
    numbers_of,
    text_of_name,
)
from foveal.data.formats.parsing import expect, read_json
from foveal.data.formats.writing import (
    class_name,
    expect_line_names,
    image_names,
    parts,
    place_images,
    tidy,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.records import ImageRow
    from foveal.data.formats.writing import ImageMode

_CALLED = "CreateML"
_WANTED = "a list of images with annotations"
_IMAGE = ("image", "imagefilename")
_ANNOTATIONS = ("annotations", "annotation")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a CreateML file, or the file of a folder that holds the split.

    Boxes are centers and sizes in pixels. Classes are those of `labels.txt` or `classes.txt` where
    there is one, else the names found in all the folder's files, sorted. `__ignore__` marks regions
    to ignore whatever the class, and a field `ignored` one of its class.

    Raises:
        DataError: the file is not CreateML's, or an object can't be right.
    """
    files = annotation_files(path, "createml", called=_CALLED)
    file = file_of_split(files, path, split, called=_CALLED)
    root = path if path.is_dir() else path.parent
    policy = policy or IssuePolicy()
    documents = {each: _entries(each) for each in files}
    listed = [_image(entry, n, file) for n, entry in enumerate(documents[file], 1)]
    return gather(
        listed,
        lambda image, row: _objects(image, row, policy),
        ImageFinder(file, images=images),
        policy,
        classes=class_file(root),
        source=class_source(root),
        more_names=_names(document for each, document in documents.items() if each != file),
        written="cxcywh",
    )


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `images/`, `annotations.json` or one .json for each split, and `labels.txt`.

    A region to ignore has a field `ignored`.

    Raises:
        ImageError: an image does not exist.
        DataError: a class name does not fit into a line.
    """
    expect_line_names(data.classes, blanks=True, format_name=_CALLED)
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    for part, indices in parts(data, splits, "annotations").items():
        document = [
            {"image": names[i], "annotations": list(_written(data.records[i], data.classes))}
            for i in indices
        ]
        write_json(folder / f"{part}.json", document)
    write_class_file(folder, data.classes)


def _written(record: Record, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for (x1, y1, x2, y2), label, ignored in zip(
        record.boxes, record.labels, record.ignored, strict=True
    ):
        (x, width), (y, height) = _center(x1, x2), _center(y1, y2)
        entry: dict[str, Any] = {
            "label": class_name(int(label), classes),
            "coordinates": {"x": x, "y": y, "width": width, "height": height},
        }
        yield entry | ({"ignored": True} if ignored else {})


def _center(first: np.float32, last: np.float32) -> tuple[float, float]:
    """Center and length that read back as the same float32, short where that is possible."""
    center = round((tidy(first) + tidy(last)) / 2, 6)
    side = round(tidy(last) - tidy(first), 6)
    if np.float32(center - side / 2) == first and np.float32(center + side / 2) == last:
        return center, side
    return (float(first) + float(last)) / 2, float(last) - float(first)


def _entries(file: Path) -> list[Any]:
    document = read_json(file)
    if not isinstance(document, list) or not all(isinstance(e, dict) for e in document):
        raise refusal(file, document, wanted=_WANTED)
    expect_kind(file, document, "createml", wanted=_WANTED)
    return document


def _field(entry: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((entry[name] for name in names if name in entry), None)


def _image(entry: dict[str, Any], number: int, file: Path) -> NamedImage:
    place = f"image {number}"
    listed = _field(entry, _ANNOTATIONS)
    expect(listed, list, file=file, place=place, what='"annotations"')
    return NamedImage(file, _field(entry, _IMAGE), place, listed, image_id=number)


def _names(documents: Any) -> set[str]:
    return {
        text_of_name(item.get("label"))
        for document in documents
        for entry in document
        for item in _field(entry, _ANNOTATIONS) or ()
        if isinstance(item, dict)
    }


def _objects(image: NamedImage, row: ImageRow, policy: IssuePolicy) -> Iterator[NamedObject]:
    for number, item in enumerate(image.entry, 1):
        place = f"annotation {number}"
        box = item.get("coordinates") if isinstance(item, dict) else None
        numbers = numbers_of(box, "x", "y", "width", "height")
        if numbers is None:
            message = f"coordinates are {repr(box)[:60]}. Expected the numbers x, y, width, height."
            where = f"{image.place}, {place}"
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        x, y, width, height = numbers
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        yield NamedObject(
            place, text_of_name(item.get("label")), corners, item.get("ignored") in TRUE
        )
