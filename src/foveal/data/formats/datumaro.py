"""Datumaro: one JSON for each subset, with its labels and its items; CVAT exports it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foveal.data.formats.class_names import IGNORE
from foveal.data.formats.coco import rotation_of
from foveal.data.formats.extents import box_of_points, box_of_segmentation, turned_box
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import annotation_files, file_of_split, write_json
from foveal.data.formats.json_kinds import expect_kind, refusal
from foveal.data.formats.named_objects import (
    TRUE,
    NamedImage,
    NamedObject,
    gather,
    size_of,
    text_of_name,
)
from foveal.data.formats.parsing import as_number, expect, read_json
from foveal.data.formats.writing import class_name, image_names, length, parts, place_images, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.records import ImageRow
    from foveal.data.formats.writing import ImageMode

_CALLED = "Datumaro"
_WITHOUT_BOX = ("label", "caption", "points", "polyline", "cuboid_3d", "skeleton", "tabular")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a Datumaro file, or the one of a folder (`annotations/SPLIT.json`) that is the split.

    Images lie in `images/SPLIT`. Classes are in the order of the file's labels. `__ignore__` marks
    regions to ignore whatever the class, and an attribute `is_crowd` or `ignored` one of its class.
    Of a polygon, a mask, an ellipse or a turned box the extent is taken; points and lines have
    none.

    Raises:
        DataError: the file is not Datumaro's, or an object can't be right.
    """
    file = file_of_split(
        annotation_files(path, "datumaro", called=_CALLED), path, split, called=_CALLED
    )
    policy = policy or IssuePolicy()
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        raise refusal(file, document, wanted="an object with items and categories")
    expect_kind(file, document, "datumaro", wanted="an object with items and categories")
    names = _label_names(document, file)
    top = file.parent.parent if file.parent.name == "annotations" else file.parent
    finder = ImageFinder(file, images=images, more=[top / "images" / file.stem])
    listed = [_image(item, n, file) for n, item in enumerate(document["items"], 1)]
    return gather(
        listed,
        lambda image, row: _objects(image, row, names, policy),
        finder,
        policy,
        classes=tuple(dict.fromkeys(name for name in names if name != IGNORE)),
        written="xywh",
    )


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `annotations/SPLIT.json` and `images/SPLIT/`; without splits all are `default`.

    Regions to ignore have the attribute `is_crowd`.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    any_class = any((record.labels < 0).any() for record in data)
    labels = [*data.classes, *([IGNORE] if any_class else [])]
    (folder / "annotations").mkdir()
    for part, indices in parts(data, splits, "default").items():
        records = [data.records[i] for i in indices]
        place_images(records, [names[i] for i in indices], folder / "images" / part, images=images)
        document: dict[str, Any] = {
            "dm_format_version": "1.0",
            "media_type": 2,
            "infos": {},
            "categories": {
                "label": {
                    "labels": [{"name": name, "parent": "", "attributes": []} for name in labels],
                    "attributes": ["is_crowd"],
                }
            },
            "items": [
                {
                    "id": names[i].rpartition(".")[0] or names[i],
                    "annotations": list(_written(data.records[i], data.classes, labels)),
                    "image": {
                        "path": names[i],
                        "size": [data.records[i].height, data.records[i].width],
                    },
                }
                for i in indices
            ],
        }
        write_json(folder / "annotations" / f"{part}.json", document)


def _written(
    record: Record, classes: tuple[str, ...], labels: list[str]
) -> Iterator[dict[str, Any]]:
    for i, (x1, y1, x2, y2) in enumerate(record.boxes):
        left, top = tidy(x1), tidy(y1)
        yield {
            "id": i,
            "type": "bbox",
            "attributes": {"is_crowd": bool(record.ignored[i])},
            "group": 0,
            "label_id": labels.index(class_name(int(record.labels[i]), classes)),
            "z_order": 0,
            "bbox": [left, top, length(left, x2), length(top, y2)],
        }


def _label_names(document: dict[str, Any], file: Path) -> list[str]:
    """The names of labels; an id is an index into them."""
    categories = document.get("categories")
    label = categories.get("label") if isinstance(categories, dict) else None
    labels = label.get("labels") if isinstance(label, dict) else None
    place = "categories.label"
    expect(labels, list, file=file, place=place, what='"labels"')
    names: list[str] = []
    for number, entry in enumerate(labels or (), 1):
        name = entry.get("name") if isinstance(entry, dict) else entry
        expect(name, str, file=file, place=f"label {number}", what='"name"')
        names.append(str(name))
    return names


def _image(item: Any, number: int, file: Path) -> NamedImage:
    place = f"item {number}"
    expect(item, dict, file=file, place=place, what="the entry")
    listed = item.get("annotations") or []
    expect(listed, list, file=file, place=place, what='"annotations"')
    image: dict[str, Any] = {}
    for field in ("media", "image"):
        if isinstance(item.get(field), dict):
            image |= {k: v for k, v in item[field].items() if v}
    size = image.get("size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (0, 0)
    return NamedImage(
        file,
        image.get("path") or _named_by_id(item.get("id")),
        place,
        listed,
        size_of(width, file=file, place=place, side="width"),
        size_of(height, file=file, place=place, side="height"),
        item["id"] if isinstance(item.get("id"), (int, str)) else None,
    )


def _named_by_id(value: Any) -> Any:
    """The image's name where only the item's id is said, which lacks the ending."""
    if not isinstance(value, str) or "." in value.rpartition("/")[2]:
        return value
    return f"{value}.jpg"


def _objects(
    image: NamedImage, row: ImageRow, names: list[str], policy: IssuePolicy
) -> Iterator[NamedObject]:
    turned = 0
    for number, item in enumerate(image.entry, 1):
        place = f"annotation {number}"
        where = f"{image.place}, {place}"
        if not isinstance(item, dict):
            message = f"it is {str(item)[:40]!r}. Expected an object with a type."
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        kind = item.get("type")
        if kind in _WITHOUT_BOX:
            if kind in ("label", "caption"):
                continue
            message = f"a {kind} has no box. Expected a bbox, polygon or mask."
            policy.report(AnnotationIssue("no box", image.file, where, message, row.path))
            continue
        box = _box(item, row.height)
        if box is None:
            words = " ".join(str(kind).split())[:20]
            message = f"the {words} can't be read. Expected bbox [x, y, width, height]."
            policy.report(AnnotationIssue("not a box", image.file, where, message, row.path))
            continue
        key = item.get("label_id")
        key = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 10 else key
        if not isinstance(key, int) or isinstance(key, bool) or not 0 <= key < len(names):
            message = f"label_id {key!r} has no name. Expected 0 to {len(names) - 1}."
            policy.report(AnnotationIssue("unknown class", image.file, where, message, row.path))
            continue
        found = item.get("attributes")
        attributes = found if isinstance(found, dict) else {}
        turned += bool(rotation_of(attributes))
        ignored = any(attributes.get(name) in TRUE for name in ("is_crowd", "ignored"))
        yield NamedObject(place, text_of_name(names[key]), box, ignored, kind == "bbox")
    if turned:
        policy.note(
            "Boxes with attributes.rotation are turned: the extent of each is its box",
            file=image.file,
            place=image.place,
            count=turned,
        )


def _box(item: dict[str, Any], height: int) -> Sequence[float] | None:
    """The extent xyxy of an annotation in pixels, None where its numbers are missing."""
    if item.get("type") == "mask":
        return box_of_segmentation(item.get("rle"), height)
    if item.get("type") in ("polygon", "ellipse") or "bbox" not in item:
        listed = item.get("points")
        flat = [as_number(v) for v in listed] if isinstance(listed, list) else []
        if item.get("type") == "rotated_bbox" and len(flat) == 5:
            return _turned(flat)
        if None in flat or len(flat) % 2 or len(flat) < 4:
            return None
        return box_of_points(flat[::2], flat[1::2])  # pyrefly: ignore[bad-argument-type]
    listed = item["bbox"]
    box = [as_number(v) for v in listed] if isinstance(listed, list) else []
    if item.get("type") == "rotated_bbox":
        return _turned(box) if len(box) == 5 else None
    if len(box) != 4 or None in box:
        return None
    left, top, width, tall = (float(v) for v in box if v is not None)
    return turned_box((left, top, left + width, top + tall), rotation_of(item.get("attributes")))


def _turned(numbers: list[float | None]) -> Sequence[float] | None:
    """The extent of a box written as center, size and angle in degrees."""
    if None in numbers:
        return None
    x, y, width, height, degrees = (float(v) for v in numbers if v is not None)
    return turned_box((x - width / 2, y - height / 2, x + width / 2, y + height / 2), degrees)
