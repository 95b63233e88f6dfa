"""COCO JSON: one file with images, annotations and categories; boxes are [x, y, width, height]."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.dataset import ANY_CLASS, Dataset
from foveal.data.formats.extents import box_of_segmentation, turned_box
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import file_of_split, is_json_of, json_files, write_json
from foveal.data.formats.json_kinds import expect_kind, refusal
from foveal.data.formats.named_objects import size_of
from foveal.data.formats.parsing import as_number, expect, read_json
from foveal.data.formats.records import ImageRow, ObjectColumns, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.writing import image_names, length, parts, place_images, tidy
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Record
    from foveal.data.formats.issues import Kind
    from foveal.data.formats.writing import ImageMode

_YES = (1, "1")
_LISTS = {"images", "annotations", "categories"}
_WANTED = "an object with images, annotations and categories"
_FAULTS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a COCO file, or the file of a folder that holds the split.

    Classes are the categories in the order of their ids, gaps closed. Crowd regions, and objects
    with `"ignore": 1`, become regions to ignore. Kept as flags: `segmentation` and `crowd`. Of an
    object without a bbox the extent of its segmentation is read, and of one that CVAT says is
    turned (`attributes.rotation`, in degrees) the extent of the turned box.

    Raises:
        DataError: the file is not COCO, or names an image or category that it does not list.
    """
    file = annotation_file(path, split)
    policy = policy or IssuePolicy()
    document = read_json(file)
    if not isinstance(document, dict) or not _LISTS & document.keys():
        raise refusal(file, document, wanted=_WANTED)
    expect_kind(file, document, "coco", wanted=_WANTED)
    finder = ImageFinder(file, images=images)
    rows, image_index = _images(document, file, finder, policy)
    classes, class_index = _categories(document, file, policy)
    columns = _annotations(document, file, rows, image_index, class_index, policy)
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
    """Write `images/` and `annotations.json`, or one .json for each split.

    Regions to ignore are written as crowd; one that concerns every class once for each class.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    place_images(data.records, names, folder / "images", images=images)
    for part, indices in parts(data, splits, "annotations").items():
        write_json(folder / f"{part}.json", to_document(data, names, indices))


def to_document(data: Dataset, names: Sequence[str], indices: Iterable[int]) -> dict[str, Any]:
    """The content of a COCO file.

    Args:
        data: the data set.
        names: of the files of all its images.
        indices: of the images that belong to the file.
    """
    ids = [record.image_id for record in data]
    if not all(isinstance(key, int) for key in ids) or len(set(ids)) < len(ids):
        ids = list(range(1, len(data) + 1))
    indices = list(indices)
    return {
        "info": {"description": "written by foveal"},
        "images": [
            {
                "id": ids[i],
                "file_name": names[i],
                "width": data.records[i].width,
                "height": data.records[i].height,
            }
            for i in indices
        ],
        "annotations": [
            {"id": number, "image_id": ids[i], **entry}
            for number, (i, entry) in enumerate(
                ((i, e) for i in indices for e in _entries(data.records[i], len(data.classes))),
                1,
            )
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(data.classes, 1)],
    }


def _entries(record: Record, classes: int) -> Iterator[dict[str, Any]]:
    """The annotations of one image without their ids."""
    for i, (x1, y1, x2, y2) in enumerate(record.boxes):
        left, top = tidy(x1), tidy(y1)
        width, height = length(left, x2), length(top, y2)
        area = (float(x2) - float(x1)) * (float(y2) - float(y1))
        entry: dict[str, Any] = {
            "bbox": [left, top, width, height],
            "area": area if record.areas is None else float(record.areas[i]),
            "iscrowd": int(record.ignored[i]),
        }
        flags = {name: column[i] for name, column in record.flags.items() if name != "crowd"}
        for name in ("segmentation", "attributes"):
            if flags.get(name) is not None:
                entry[name] = flags[name]
            flags.pop(name, None)
        if flags:
            entry["attributes"] = {**entry.get("attributes", {}), **flags}
        label = int(record.labels[i])
        for category in range(classes) if label == ANY_CLASS else (label,):
            yield {**entry, "category_id": category + 1}


def annotation_file(path: Path, split: str | None) -> Path:
    """The COCO file of a split: `train.json`, `instances_train2017.json`, `train/*.json`.

    Raises:
        DataError: there is none or there are several; the message names them.
    """
    files = [path] if path.is_file() else json_files(path)
    if len(files) > 1:
        files = [file for file in files if is_json_of(file, "coco")] or files
    return file_of_split(files, path, split, called="COCO")


def _images(
    document: dict[str, Any], file: Path, finder: ImageFinder, policy: IssuePolicy
) -> tuple[list[ImageRow], dict[Any, int]]:
    rows: list[ImageRow] = []
    index: dict[Any, int] = {}
    for number, image in enumerate(entries_of(document, "images", file), 1):
        place = f"image {number}"
        expect(image, dict, file=file, place=place, what="the entry")
        key = id_of(image, file, place)
        if key in index:
            _report(policy, "id twice", file, f"image {key}", "the id is given to two images.")
            continue
        width, height = (
            size_of(image.get(side), file=file, place=place, side=side)
            for side in ("width", "height")
        )
        index[key] = len(rows)
        called = image.get("file_name")
        if called is None:
            field = next((name for name in _NAMES if image.get(name)), "file_name")
            called = image.get(field)
            if called is not None:
                policy.note(
                    f'Images have no "file_name" and are found by their "{field}"',
                    file=file,
                    place=place,
                )
        path = finder.find(called, file=file, place=place)
        rows.append(ImageRow(path, width, height, key))
    return rows, index


_NAMES = ("coco_url", "path", "flickr_url", "url", "name", "filename")
"""What names an image that has no `file_name`: LVIS's coco_url, COCO Annotator's path."""


def entries_of(document: dict[str, Any], name: str, file: Path) -> list[Any]:
    """The entries of a list; of an object, its values, each with its key as its id."""
    value = document.get(name)
    if isinstance(value, dict):
        return [
            {"id": key, **(entry if isinstance(entry, dict) else {"name": entry})}
            for key, entry in value.items()
        ]
    # pyrefly: ignore[no-any-return-explicit]
    return expect(value, list, file=file, place=name, what=f'"{name}"')


def id_of(entry: dict[str, Any], file: Path, place: str) -> int | str:
    """The id of an image or category; tools that write tables make 1.0 of 1."""
    key = entry.get("id")
    if isinstance(key, float) and key.is_integer():
        return int(key)
    # pyrefly: ignore[no-any-return-explicit]
    return expect(key, (int, str), file=file, place=place, what='"id"')


def _categories(
    document: dict[str, Any], file: Path, policy: IssuePolicy
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The class names in the order of their ids, and the label of each id."""
    names: dict[Any, str] = {}
    for number, category in enumerate(entries_of(document, "categories", file), 1):
        place = f"category {number}"
        expect(category, dict, file=file, place=place, what="the entry")
        key = id_of(category, file, place)
        name = expect(category.get("name"), str, file=file, place=place, what='"name"')
        if not name.strip():
            raise DataError(f"{file}, {place}: the name is empty. Expected a class name.")
        if key in names:
            _report(
                policy, "id twice", file, f"category {key}", "the id is given to two categories."
            )
            continue
        names[key] = name
    ordered = sorted(names, key=_in_order)
    classes = tuple(dict.fromkeys(names[key] for key in ordered))
    return classes, {key: classes.index(name) for key, name in names.items()}


def _in_order(key: int | str) -> tuple[bool, float, str]:
    """Ids as numbers, also those written as text; then the others."""
    number = as_number(key)
    return (True, 0.0, str(key)) if number is None else (False, number, "")


def _annotations(
    document: dict[str, Any],
    file: Path,
    rows: Sequence[ImageRow],
    images: dict[Any, int],
    classes: dict[Any, int],
    policy: IssuePolicy,
) -> ObjectColumns:
    listed = entries_of(document, "annotations", file)
    try:
        table = _columns(listed, file, images, classes)
    except _FAULTS:
        sound = _sound(listed, file, rows, images, classes, policy)
        table = _columns(sound, file, images, classes, checked=True)
    _turn(table, file, policy)
    return table


def _turn(table: ObjectColumns, file: Path, policy: IssuePolicy) -> None:
    """Take the extent of boxes that are turned; their areas stay those of the boxes."""
    attributes = list(table.flags.get("attributes", ()))
    outlines = table.flags.get("segmentation")
    turned = [i for i, found in enumerate(attributes) if rotation_of(found)]
    if not turned:
        return
    boxes = table.boxes
    if table.areas is None:
        with np.errstate(over="ignore", invalid="ignore"):
            table.areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in turned:
        boxes[i] = extent_of(boxes[i].tolist(), attributes[i], outlines[i] if outlines else None)
        attributes[i] = {k: v for k, v in attributes[i].items() if k != "rotation"} or None
    table.written = None
    table.flags["attributes"] = attributes
    policy.note(
        "Boxes with attributes.rotation are turned: the extent of each is its box",
        file=file,
        place=f"annotation {table.numbers[turned[0]]}",
        count=len(turned),
    )


def rotation_of(attributes: Any) -> float:
    """The angle in degrees that CVAT states for a box, 0 where there is none."""
    if not isinstance(attributes, dict) or "rotation" not in attributes:
        return 0.0
    angle = as_number(attributes["rotation"])
    return 0.0 if angle is None or not math.isfinite(angle) else angle


def extent_of(box: Sequence[float], attributes: Any, outline: Any) -> Sequence[float]:
    """The extent of a box xyxy turned as its attributes say; of its outline where it has one."""
    drawn = box_of_segmentation(outline) if outline else None
    return turned_box(box, rotation_of(attributes)) if drawn is None else drawn


def _columns(
    listed: list[dict[str, Any]],
    file: Path,
    images: dict[Any, int],
    classes: dict[Any, int],
    *,
    checked: bool = False,
) -> ObjectColumns:
    """Annotations in columns, at the speed of list comprehensions; any fault raises."""
    numbers = [item.get("id", i) for i, item in enumerate(listed, 1)]
    if not checked and len(set(numbers)) < len(numbers):
        raise ValueError("an id twice")
    boxes = np.array([item["bbox"] for item in listed] or np.zeros((0, 4)))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf":
        raise ValueError("not boxes")
    boxes = boxes.astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    crowd = [item.get("iscrowd", 0) in _YES for item in listed]
    flags: dict[str, Any] = {}
    if any(crowd):
        flags["crowd"] = crowd
    if any(item.get("segmentation") for item in listed):
        flags["segmentation"] = [item.get("segmentation") for item in listed]
    if any(item.get("attributes") for item in listed):
        flags["attributes"] = [item.get("attributes") for item in listed]
    return ObjectColumns(
        "annotation",
        written="xywh",
        image=np.array([images[item["image_id"]] for item in listed], np.int64),
        boxes=boxes,
        labels=np.array([classes[item["category_id"]] for item in listed], np.int64),
        ignored=[c or item.get("ignore", 0) in _YES for c, item in zip(crowd, listed, strict=True)],
        files=[file] * len(listed),
        numbers=numbers,
        areas=_areas(listed, boxes),
        flags=flags,
    )


def _areas(listed: list[dict[str, Any]], boxes: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The stated areas, None where they are the areas of the boxes as we keep them."""
    with np.errstate(over="ignore", invalid="ignore"):
        kept = boxes.astype(np.float32).astype(np.float64)
        sides = kept[:, 2:] - kept[:, :2]
        own = sides[:, 0] * sides[:, 1]
    stated = np.array([item.get("area", np.nan) for item in listed], np.float64)
    stated = np.where(np.isfinite(stated) & (stated >= 0), stated, own)
    return None if np.array_equal(stated, own) else stated


def _sound(
    listed: list[Any],
    file: Path,
    rows: Sequence[ImageRow],
    images: dict[Any, int],
    classes: dict[Any, int],
    policy: IssuePolicy,
) -> list[dict[str, Any]]:
    """The annotations without fault, all written alike.

    Each fault is reported (and so raised, unless it is let pass or collected).
    """
    sound: list[dict[str, Any]] = []
    ids: set[Any] = set()
    image_keys, class_keys = agreeing_ids(images), agreeing_ids(classes)
    for number, item in enumerate(listed, 1):
        key = item.get("id", number) if isinstance(item, dict) else number
        place = f"annotation {number if key is None else key}"
        alike = item
        if isinstance(item, dict):
            alike, notes = _alike(item, images, classes, rows, image_keys, class_keys)
            for note in notes:
                policy.note(note, file=file, place=place)
        fault = _fault(alike, images, classes, ids)
        if fault is None:
            sound.append({**alike, "id": number} if key is None else alike)
            continue
        _report(policy, fault[0], file, place, fault[1])
    return sound


def agreeing_ids(known: Mapping[Any, int]) -> dict[str, Any]:
    """The id that each text writes, where it is only one: "1" for 1."""
    found: dict[str, Any] = {}
    for key in known:
        found[str(key)] = None if str(key) in found else key
    return {text: key for text, key in found.items() if key is not None}


def agreeing_id(key: Any, known: Mapping[Any, int], texts: Mapping[str, Any]) -> Any:
    """The id itself if it is known, else the one that is written alike, else the id itself."""
    if not isinstance(key, (int, float, str)):
        return key
    whole = int(key) if isinstance(key, float) and float(key).is_integer() else key
    return whole if whole in known else texts.get(str(whole).strip(), key)


def _alike(
    item: dict[str, Any],
    images: Mapping[Any, int],
    classes: Mapping[Any, int],
    rows: Sequence[ImageRow],
    image_keys: Mapping[str, Any],
    class_keys: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """An annotation as COCO writes it, of one as tools write it; and what was changed."""
    box = item.get("bbox")
    if (
        type(box) is list
        and len(box) == 4
        and (item.get("area") is None or type(item["area"]) in (int, float))
        and type(item.get("image_id")) in (int, str)
        and type(item.get("category_id")) in (int, str)
        and item["image_id"] in images
        and item["category_id"] in classes
        and not any(isinstance(value, str) for value in box)
    ):
        return item, []
    alike = dict(item)
    notes = []
    for field, known, texts in (
        ("image_id", images, image_keys),
        ("category_id", classes, class_keys),
    ):
        key = item.get(field)
        alike[field] = agreeing_id(key, known, texts)
        if alike[field] is not key and alike[field] != key:
            notes.append(f"{field} is written otherwise (text or number) than the id that it means")
    if isinstance(box, list) and any(isinstance(value, str) for value in box):
        numbers = [as_number(value) for value in box]
        if None not in numbers:
            alike["bbox"] = numbers
            notes.append("Numbers of a bbox are written as text")
    area = as_number(item.get("area"))
    if area is not None or not item.get("area"):
        alike["area"] = math.nan if area is None else area
    if not box:
        known_image = isinstance(alike["image_id"], (int, str)) and alike["image_id"] in images
        height = rows[images[alike["image_id"]]].height if known_image else 0
        drawn = box_of_segmentation(item.get("segmentation"), height)
        if drawn is not None:
            left, top, right, bottom = drawn
            alike["bbox"] = [left, top, right - left, bottom - top]
            notes.append("Objects without a bbox have a segmentation, whose extent is the box")
    return alike, notes


def _fault(
    item: Any, images: dict[Any, int], classes: dict[Any, int], ids: set[Any]
) -> tuple[Kind, str] | None:
    """What is wrong with one annotation: kind and message."""
    if not isinstance(item, dict):
        return "not a box", f"it is {str(item)[:40]!r}. Expected an object with a bbox."
    key = item.get("id")
    if isinstance(key, (list, dict)) or key in ids:
        return "id twice", "the id is given to two annotations, or is no number. Number them anew."
    if key is not None:
        ids.add(key)
    image, category, box = (item.get(k) for k in ("image_id", "category_id", "bbox"))
    if not isinstance(image, (int, str)) or image not in images:
        listed = ", ".join(repr(key)[:60] for key in list(images)[:5]) or "none"
        return "unknown image", (
            f'image_id {repr(image)[:60]} is not the id of an entry of "images" '
            f"(the first are: {listed})."
        )
    if not isinstance(category, (int, str)) or category not in classes:
        listed = ", ".join(repr(key)[:60] for key in list(classes)[:20]) or "none"
        return "unknown class", (
            f"category_id {repr(category)[:60]} has no name. Expected one of the ids in "
            f'"categories": {listed}.'
        )
    if not box and not isinstance(box, (str, bool, int, float)):
        return "no box", _without_box(item)
    if isinstance(box, list) and len(box) == 5:
        return "not a box", "bbox has five numbers: rotated boxes are not read here."
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return "not a box", f"bbox is {repr(box)[:60]}. Expected [x, y, width, height]."
    if item.get("area") is not None and not _is_number(item["area"]):
        return "not a box", f"area is {str(item['area'])[:60]!r}. Expected a number."
    return None


def _without_box(item: dict[str, Any]) -> str:
    """Why an annotation has no box."""
    said = f"bbox is {item['bbox']}" if "bbox" in item else "there is no bbox"
    if item.get("segmentation"):
        return f"{said} and the segmentation is no outline and no mask. Expected a bbox."
    if item.get("keypoints"):
        return f"{said}, only keypoints, which have no extent. Expected a bbox."
    return f"{said} and no segmentation. Expected a bbox."


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) and as_number(value) is not None


def _report(policy: IssuePolicy, kind: Kind, file: Path, place: str, message: str) -> None:
    policy.report(AnnotationIssue(kind, file, place, message))
