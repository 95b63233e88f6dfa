"""COCO JSON: one file with images, annotations and categories; boxes are [x, y, width, height]."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.dataset import ANY_CLASS, Dataset
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.parsing import expect, read_json
from foveal.data.formats.records import ImageRow, ObjectTable, assemble
from foveal.data.formats.sizes import measured
from foveal.data.formats.writing import image_names, parts, place_images, tidy
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Record
    from foveal.data.formats.issues import BadBoxes, Kind
    from foveal.data.formats.writing import ImageMode

_YES = (1, "1")
_FAULTS = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    bad_boxes: BadBoxes = "drop",
    problems: list[AnnotationIssue] | None = None,
) -> Dataset:
    """Read a COCO file, or the file of a folder that holds the split.

    Classes are the categories in the order of their ids, gaps closed. Crowd regions, and objects
    with `"ignore": 1`, become regions to ignore. Kept as flags: `segmentation` and `crowd`.

    Raises:
        DataError: the file is not COCO, or names an image or category that it does not list.
    """
    file = annotation_file(path, split)
    policy = IssuePolicy(bad_boxes, problems)
    document = expect(read_json(file), dict, file=file, place="top level", what="the file")
    rows, image_index = _images(document, file, ImageFinder(file, images=images), policy)
    classes, class_index = _categories(document, file, policy)
    columns = _annotations(document, file, image_index, class_index, policy)
    records = assemble(measured(rows), columns, policy)
    policy.close()
    root = images or ImageFinder(file).root
    return Dataset(records, classes, root)


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
    ids = [record.image_id for record in data]
    if not all(isinstance(key, int) for key in ids) or len(set(ids)) < len(ids):
        ids = list(range(1, len(data) + 1))
    for part, indices in parts(data, splits, "annotations").items():
        document = {
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
        text = json.dumps(document, ensure_ascii=False)
        (folder / f"{part}.json").write_text(text, encoding="utf-8")


def _entries(record: Record, classes: int) -> Iterator[dict[str, Any]]:
    """The annotations of one image without their ids."""
    for i, (x1, y1, x2, y2) in enumerate(record.boxes):
        left, top = tidy(x1), tidy(y1)
        width, height = _side(left, x2), _side(top, y2)
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


def _side(start: float, last: np.float32) -> float:
    """The width that, added to where the box is written to start, gives the same float32."""
    short = round(tidy(last) - start, 6)
    return short if np.float32(start + short) == last else float(last) - start


def annotation_file(path: Path, split: str | None) -> Path:
    """The COCO file of a split: `train.json`, `instances_train2017.json`, `train/*.json`.

    Raises:
        DataError: there is none or there are several; the message names them.
    """
    if path.is_file():
        if split is not None:
            raise DataError(
                f"{path} is one COCO file and has no split {split!r}. Name the split's own file, "
                "or the folder that holds it."
            )
        return path
    found = candidates(path)
    if split is None:
        chosen = found
    else:
        exact = [f for f in found if f.stem == split]
        below = [f for f in found if f.parent.name == split and f.parent != path]
        within = [
            f for f in found if split in f.stem.replace("-", "_").replace(".", "_").split("_")
        ]
        loose = [f for f in found if split in f.stem]
        chosen = exact or below or within or loose
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(str(f.relative_to(path)) for f in found) or "none"
    wanted = f"one that is the split {split!r}" if split else "one, or a split after a colon"
    raise DataError(
        f"{path}: {len(chosen)} COCO files fit. Expected {wanted}. JSON files there: {names}. "
        "Pass the file's own path."
    )


def candidates(folder: Path) -> list[Path]:
    """The JSON files of a folder, its `annotations` and the folders one below, sorted."""
    return sorted(set(folder.glob("*.json")) | set(folder.glob("*/*.json")))


def _images(
    document: dict[str, Any], file: Path, finder: ImageFinder, policy: IssuePolicy
) -> tuple[list[ImageRow], dict[Any, int]]:
    rows: list[ImageRow] = []
    index: dict[Any, int] = {}
    listed = expect(document.get("images"), list, file=file, place="images", what='"images"')
    for number, image in enumerate(listed, 1):
        place = f"image {number}"
        expect(image, dict, file=file, place=place, what="the entry")
        key = expect(image.get("id"), (int, str), file=file, place=place, what='"id"')
        if key in index:
            _report(policy, "id twice", file, f"image {key}", "the id is given to two images.")
            continue
        width, height = (
            expect(image.get(side, 0) or 0, (int, float), file=file, place=place, what=f'"{side}"')
            for side in ("width", "height")
        )
        if not (0 <= width < 2**31 and 0 <= height < 2**31):
            raise DataError(
                f"{file}, {place}: size {width} x {height}. Expected pixels of 0 or more."
            )
        index[key] = len(rows)
        path = finder.find(image.get("file_name"), file=file, place=place)
        rows.append(ImageRow(path, int(width), int(height), key))
    return rows, index


def _categories(
    document: dict[str, Any], file: Path, policy: IssuePolicy
) -> tuple[tuple[str, ...], dict[Any, int]]:
    """The class names in the order of their ids, and the label of each id."""
    listed = expect(
        document.get("categories"), list, file=file, place="categories", what='"categories"'
    )
    names: dict[Any, str] = {}
    for number, category in enumerate(listed, 1):
        place = f"category {number}"
        expect(category, dict, file=file, place=place, what="the entry")
        key = expect(category.get("id"), (int, str), file=file, place=place, what='"id"')
        name = expect(category.get("name"), str, file=file, place=place, what='"name"')
        if not name.strip():
            raise DataError(f"{file}, {place}: the name is empty. Expected a class name.")
        if key in names:
            _report(
                policy, "id twice", file, f"category {key}", "the id is given to two categories."
            )
            continue
        names[key] = name
    ordered = sorted(names, key=lambda key: (isinstance(key, str), key))
    classes = tuple(dict.fromkeys(names[key] for key in ordered))
    return classes, {key: classes.index(name) for key, name in names.items()}


def _annotations(
    document: dict[str, Any],
    file: Path,
    images: dict[Any, int],
    classes: dict[Any, int],
    policy: IssuePolicy,
) -> ObjectTable:
    listed = expect(
        document.get("annotations"), list, file=file, place="annotations", what='"annotations"'
    )
    try:
        return _columns(listed, file, images, classes)
    except _FAULTS:
        sound = _sound(listed, file, images, classes, policy)
        return _columns(sound, file, images, classes, checked=True)


def _columns(
    listed: list[dict[str, Any]],
    file: Path,
    images: dict[Any, int],
    classes: dict[Any, int],
    *,
    checked: bool = False,
) -> ObjectTable:
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
    return ObjectTable(
        "annotation",
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
    images: dict[Any, int],
    classes: dict[Any, int],
    policy: IssuePolicy,
) -> list[dict[str, Any]]:
    """The annotations without fault; each fault is reported (and so raised, unless collected)."""
    sound: list[dict[str, Any]] = []
    ids: set[Any] = set()
    for number, item in enumerate(listed, 1):
        fault = _fault(item, images, classes, ids)
        if fault is None:
            sound.append(item)
            continue
        key = item.get("id", number) if isinstance(item, dict) else number
        _report(policy, fault[0], file, f"annotation {key}", fault[1])
    return sound


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
        return "unknown image", f'image_id {image!r} is not the id of an entry of "images".'
    if not isinstance(category, (int, str)) or category not in classes:
        listed = ", ".join(map(str, list(classes)[:20])) or "none"
        return "unknown class", (
            f"category_id {category!r} has no name. Expected one of the ids in "
            f'"categories": {listed}.'
        )
    if isinstance(box, list) and len(box) == 5:
        return "not a box", "bbox has five numbers: rotated boxes are not read here."
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return "not a box", f"bbox is {str(box)[:60]}. Expected [x, y, width, height]."
    if not _is_number(item.get("area") or 0):
        return "not a box", f"area is {str(item['area'])[:60]!r}. Expected a number."
    return None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 2**63 or isinstance(value, float)


def _report(policy: IssuePolicy, kind: Kind, file: Path, place: str, message: str) -> None:
    policy.report(AnnotationIssue(kind, file, place, message))
