"""COCO results: a list of {image_id, category_id, bbox, score} that a detector wrote.

Also read is a COCO data set whose annotations carry a score, as `foveal predict` writes it; that
says itself which image and class is which, so that ids need not agree.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.formats import coco, split_address
from foveal.data.formats.coco import agreeing_id, agreeing_ids
from foveal.data.formats.detect import find_format
from foveal.data.formats.extents import box_of_segmentation
from foveal.data.formats.parsing import as_number, read_json
from foveal.data.formats.units import BoxReading, doubt, parse_reading, reread
from foveal.data.opening import AS_FOUND
from foveal.errors import DataError
from foveal.structures import Detections

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.data.opening import DataOptions

log = logging.getLogger(__name__)

_FAULTS = (KeyError, TypeError, ValueError, OverflowError)

LEFT_OUT = -1
"""Label of a category that the data set knows but was told to leave out."""


def category_labels(
    address: str | os.PathLike[str], classes: Sequence[str], options: DataOptions = AS_FOUND
) -> dict[Any, int]:
    """The label of each category id of a COCO data set; of any other, 1..K in the classes' order.

    Args:
        address: of the data set.
        classes: the K class names; categories that are not among them get LEFT_OUT.
        options: how the data set was opened.

    Raises:
        DataError: the file can't be read.
    """
    path, splits = split_address(address)
    if (options.format or find_format(path)) != "coco":
        return {label + 1: label for label in range(len(classes))}
    known = {name: label for label, name in enumerate(classes)}
    labels: dict[Any, int] = {}
    for split in splits:
        document = read_json(coco.annotation_file(path, split))
        for category in coco.entries_of(document, "categories", path):
            labels[category["id"]] = known.get(options.new_name(category["name"]), LEFT_OUT)
    return labels


def read_results(
    path: Path,
    data: Dataset,
    *,
    labels: Mapping[Any, int],
    options: DataOptions = AS_FOUND,
    boxes: str | None = None,
) -> list[Detections]:
    """Read what a detector found in the images of a data set.

    Args:
        path: the results.
        data: the images, with the ids that the results use; 1, 2, 3 ... where they have none.
        labels: of each category id, as `category_labels` gives them.
        options: how the data set was opened; classes that a file names itself are renamed and left
            out as those of the data set were.
        boxes: how the numbers of a bbox are meant, where not as x, y, width, height; see `read`.

    Returns:
        One for each image of the data set, in its order, original pixels, best first.

    Raises:
        DataError: it is not such a file, names an image or category that the data set lacks, or
            its boxes are meant otherwise.
    """
    document = read_json(path)
    if isinstance(document, list):
        images: Mapping[Any, int] = _image_ids(data)
        entries = document
    elif isinstance(document, dict) and isinstance(document.get("annotations"), list):
        images, labels = _own_names(document, path, data, options)
        entries = document["annotations"]
    else:
        raise DataError(
            f"{path}: holds no results. Expected a list of entries with image_id, category_id, "
            "bbox and score."
        )
    try:
        columns = _columns(entries, images, labels)
    except _FAULTS:
        images = _images_by_name(entries, images, data, path)
        entries = _alike(entries, images, labels, data, path)
        try:
            columns = _columns(entries, images, labels)
        except _FAULTS:
            raise DataError(_first_fault(entries, path, images, labels)) from None
    image, label, found, scores = columns
    found = _as_meant(found, image, data, path, boxes)
    detections = _by_image(image, label, found, scores, data)
    if isinstance(document, dict):
        return _marked(detections, document["images"], images)
    return detections


def listed_images(path: Path, data: Dataset, options: DataOptions = AS_FOUND) -> list[int] | None:
    """Which images of a data set a file of detections names, whether or not it has any in them.

    Args:
        path: of the file, as for `read_results`.
        data: the images.
        options: how the data set was opened.

    Returns:
        Their indices, in order; None of bare results, which name no image without a detection.

    Raises:
        DataError: the file can't be read.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        return None
    return sorted(set(_own_names(document, path, data, options)[0].values()))


def _images_by_name(
    entries: list[Any], images: Mapping[Any, int], data: Dataset, path: Path
) -> Mapping[Any, int]:
    """The images by the names of their files, where all entries name them so, not by their ids."""
    used = {e["image_id"] for e in entries if isinstance(e, dict) and _is_id(e.get("image_id"))}
    texts = agreeing_ids(images)
    if all(agreeing_id(key, images, texts) in images for key in used):
        return images
    names: dict[str, int] = {}
    for number, record in enumerate(data):
        for name in {record.path.name, record.path.stem, record.path.stem.lstrip("0") or "0"}:
            names[name] = -1 if name in names else number
    found = {key: names.get(str(key), -1) for key in used}
    if any(number < 0 for number in found.values()):
        return images
    log.warning("%s: image_id is the name of the image's file, not its id.", path.name)
    return found


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _alike(
    entries: list[Any],
    images: Mapping[Any, int],
    labels: Mapping[Any, int],
    data: Dataset,
    path: Path,
) -> list[Any]:
    """The entries as COCO writes results, of entries as tools write them; says what differs."""
    image_keys, label_keys = agreeing_ids(images), agreeing_ids(labels)
    heights = {key: data.records[number].height for key, number in images.items()}
    alike: list[Any] = []
    texts = outlines = 0
    for entry in entries:
        if not isinstance(entry, dict):
            alike.append(entry)
            continue
        new = dict(entry)
        for field, known, keys in (
            ("image_id", images, image_keys),
            ("category_id", labels, label_keys),
        ):
            if field in entry:
                new[field] = agreeing_id(entry[field], known, keys)
        box, score = entry.get("bbox"), entry.get("score")
        if isinstance(box, list) and any(isinstance(value, str) for value in box):
            numbers = [as_number(value) for value in box]
            new["bbox"] = box if None in numbers else numbers
        if isinstance(score, str) and as_number(score) is not None:
            new["score"] = as_number(score)
        texts += any(new[field] is not entry[field] for field in entry)
        key = new.get("image_id")
        drawn = box_of_segmentation(
            entry.get("segmentation"), heights.get(key, 0) if _is_id(key) else 0
        )
        if not box and drawn is not None:
            left, top, right, bottom = drawn
            new["bbox"] = [left, top, right - left, bottom - top]
            outlines += 1
        alike.append(new)
    if texts:
        log.warning("%s: ids or numbers are written as text (%d x).", path.name, texts)
    if outlines:
        log.warning("%s: the extent of the segmentation is the box (%d x).", path.name, outlines)
    return alike


def _image_ids(data: Dataset) -> dict[Any, int]:
    return {
        number + 1 if record.image_id is None else record.image_id: number
        for number, record in enumerate(data)
    }


def _own_names(
    document: dict[str, Any], path: Path, data: Dataset, options: DataOptions
) -> tuple[dict[Any, int], dict[Any, int]]:
    """Which image and which class each id of a file means that lists both, by their names."""
    by_path = {record.path.resolve(): number for number, record in enumerate(data)}
    by_name = {record.path.name: number for number, record in enumerate(data)}
    classes = {name: label for label, name in enumerate(data.classes)}
    images: dict[Any, int] = {}
    labels: dict[Any, int] = {}
    try:
        for image in document["images"]:
            file = path.parent / image["file_name"]
            number = by_path.get(file.resolve())
            if number is None and len(by_name) == len(data):
                number = by_name.get(file.name)
            if number is not None:
                images[image["id"]] = number
        for category in document["categories"]:
            name = options.new_name(category["name"])
            if name in classes:
                labels[category["id"]] = classes[name]
            elif options.only or name in options.ignore:
                labels[category["id"]] = LEFT_OUT
    except (KeyError, TypeError):
        raise DataError(
            f"{path}: its images or categories can't be read. Expected images with id and "
            "file_name, and categories with id and name."
        ) from None
    return images, labels


def _columns(
    entries: list[Any], images: Mapping[Any, int], labels: Mapping[Any, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Image, label, box (xyxy) and score of every entry.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: an entry is faulty.
    """
    image = np.array([images[entry["image_id"]] for entry in entries], np.int64)
    label = np.array([labels[entry["category_id"]] for entry in entries], np.int64)
    boxes = np.array([entry["bbox"] for entry in entries] or np.zeros((0, 4)), np.float64)
    scores = np.array([entry["score"] for entry in entries], np.float64)
    if boxes.shape != (len(entries), 4):
        raise ValueError("shape")
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] >= 0).all()):
        raise ValueError("boxes")
    if not (scores.shape == (len(entries),) and np.isfinite(scores).all()):
        raise ValueError("scores")
    boxes[:, 2:] += boxes[:, :2]
    return image, label, boxes.astype(np.float32), scores.astype(np.float32)


def _first_fault(
    entries: list[Any], path: Path, images: Mapping[Any, int], labels: Mapping[Any, int]
) -> str:
    """Where the first faulty entry is, what is wrong and what was expected."""
    for number, entry in enumerate(entries, 1):
        try:
            _columns([entry], images, labels)
        except _FAULTS:
            where = f"{path}, entry {number}"
            if not isinstance(entry, dict):
                return f"{where}: is {entry!r:.80}. Expected image_id, category_id, bbox and score."
            for name in ("image_id", "category_id", "bbox", "score"):
                if name not in entry:
                    return f"{where}: has no {name}. Expected image_id, category_id, bbox, score."
            for name, known in (("image_id", images), ("category_id", labels)):
                if not _among(entry[name], known):
                    return (
                        f"{where}: {name} {entry[name]!r} is not in the data set. Check that the "
                        "results belong to it."
                    )
            return (
                f"{where}: bbox {entry['bbox']!r:.80}, score {entry['score']!r:.40}. Expected "
                "[x, y, width, height] with sides of 0 or more, and a finite score."
            )
    return f"{path}: can't be read as results. Expected the same fields in every entry."


def _among(key: Any, known: Mapping[Any, int]) -> bool:
    try:
        return key in known
    except TypeError:
        return False


def _marked(
    detections: list[Detections], entries: list[Any], images: Mapping[Any, int]
) -> list[Detections]:
    """The detections with what `foveal predict` wrote of images where a limit left some out."""
    for entry in entries:
        score, number = entry.get("left_out_score"), images.get(entry["id"])
        if number is not None and isinstance(score, int | float) and 0 < score <= 1:
            detections[number] = replace(detections[number], left_out_score=float(score))
    return detections


def _as_meant(
    boxes: NDArray[np.float32],
    image: NDArray[np.int64],
    data: Dataset,
    path: Path,
    reading: str | None,
) -> NDArray[np.float32]:
    """The boxes in the reading that was asked for, else as they are unless they can't be right."""
    sizes = np.array([(r.width, r.height) * 2 for r in data], np.float64).reshape(-1, 4)
    limits = sizes[image]
    own = BoxReading("xywh")
    if reading is None:
        doubted = doubt(boxes.astype(np.float64), limits, own=own)
        if doubted is None:
            return boxes
        message = doubted.explain("--result-boxes")
        if doubted.certain:
            raise DataError(f"{path}: {message}")
        log.warning("%s: %s", path, message)
        return boxes
    other = parse_reading(reading, own)
    again = reread(boxes.astype(np.float64), limits, own=own, other=other).astype(np.float32)
    wrong = ~(np.isfinite(again).all(axis=1) & (again[:, 2:] >= again[:, :2]).all(axis=1))
    if wrong.any():
        raise DataError(
            f"{path}, entry {int(np.argmax(wrong)) + 1}: the box can't be {other.describe()}. "
            f"Expected all of them so: leave out --result-boxes {reading}, or say another."
        )
    return again


def _by_image(
    image: NDArray[np.int64],
    label: NDArray[np.int64],
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    data: Dataset,
) -> list[Detections]:
    order = np.lexsort((-scores, image))
    order = order[label[order] != LEFT_OUT]
    ends = np.searchsorted(image[order], np.arange(len(data) + 1))
    detections = []
    for number, record in enumerate(data):
        own = order[ends[number] : ends[number + 1]]
        detections.append(
            Detections(
                boxes[own],
                scores[own],
                label[own],
                classes=data.classes,
                width=record.width,
                height=record.height,
                path=record.path,
            )
        )
    return detections
