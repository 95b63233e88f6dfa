"""Data sets written and read again: the same records, whatever the format."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.pictures import place_picture
from tests.data.formats.fuzzing.properties import Failure, expect_sound
from tests.data.formats.fuzzing.scenes import Picture, Scene, kept, scene
from tests.data.formats.fuzzing.watch import listening, watching

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.data.formats import read, write
from foveal.data.formats.detect import find_format
from foveal.data.formats.writing import image_names
from foveal.errors import DataError

_SHARES = ("yolo", "openimages", "label_studio")
"""Formats that write shares of the image's size, which may be a rounding off."""


def write_and_read(dice: Dice, folder: Path, name: str) -> None:
    """What is written is read again, by its format's name or found by looking."""
    shutil.rmtree(folder, ignore_errors=True)
    source = folder.parent / "source"
    shutil.rmtree(source, ignore_errors=True)
    data = _dataset(scene(dice), source, any_class=dice.chance(3))
    splits = {"train": list(range(len(data)))} if dice.chance(3) else None
    with listening() as said:
        try:
            write(data, folder, name, splits=splits, images=dice.pick(("copy", "link")))
        except DataError as error:
            if "can't hold the class name" not in str(error):
                raise Failure("not written", str(error)) from error
            return
    if name == "yolo" and any(record.ignored.any() for record in data) and not said:
        raise Failure("silent", "regions to ignore are left out without a word")
    address = f"{folder}:train" if splits else str(folder)
    chosen = name if dice.chance(2) else None
    with listening(), watching(folder) as outside:
        found = read(address, chosen)
    if [path for path in outside if not path.startswith(str(source))]:
        raise Failure("read outside", str(outside))
    expect_sound(found, folder)
    if find_format(folder) != name:
        raise Failure("another format", f"{find_format(folder)} instead of {name}")
    _expect_same(found, data, name)


def _dataset(shown: Scene, source: Path, *, any_class: bool) -> Dataset:
    records = []
    for number, picture in enumerate(shown.pictures):
        path = source / picture.name
        place_picture(path, picture.width, picture.height)
        records.append(_record(picture, path, shown.classes, any_class and number == 0))
    return Dataset(tuple(records), shown.classes, source, "made up")


def _record(picture: Picture, path: Path, classes: tuple[str, ...], any_class: bool) -> Record:
    boxes, labels, ignored = [], [], []
    for item in picture.items:
        box, _ = kept(item, picture.width, picture.height)
        if box is not None:
            boxes.append(box)
            labels.append(classes.index(item.name or ""))
            ignored.append(item.ignored)
    if any_class and boxes:
        labels[-1], ignored[-1] = ANY_CLASS, True
    return Record(
        path,
        picture.width,
        picture.height,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(ignored, np.bool_),
    )


def _expect_same(found: Dataset, data: Dataset, name: str) -> None:
    if found.classes != data.classes:
        raise Failure("classes differ", f"{found.classes} instead of {data.classes}")
    by_name = {record.path.name: record for record in found}
    with listening():  # it tells of images under other names a second time
        names = image_names(data.records)
    if by_name.keys() != set(names) or len(found) != len(data):
        raise Failure("images differ", f"{sorted(by_name)} instead of {sorted(names)}")
    for written, record in zip(names, data, strict=True):
        other = by_name[written]
        boxes, labels, ignored = _as_the_format_holds(record, name, len(data.classes))
        if (other.width, other.height) != (record.width, record.height):
            raise Failure("sizes differ", f"{other.width} x {other.height}")
        if other.labels.tolist() != labels or other.ignored.tolist() != ignored:
            raise Failure(
                "labels differ",
                f"{other.labels.tolist()} {other.ignored.tolist()} instead of {labels} {ignored}",
            )
        step = 1e-3 if name in _SHARES else 0.0
        if not np.allclose(other.boxes, boxes, rtol=0, atol=step):
            raise Failure("boxes differ", f"{other.boxes.tolist()} instead of {boxes.tolist()}")


def _as_the_format_holds(
    record: Record, name: str, classes: int
) -> tuple[np.ndarray, list[int], list[bool]]:
    """Boxes, labels and regions to ignore, as far as a format can say them."""
    boxes, labels, ignored = record.boxes, record.labels.copy(), record.ignored
    if name == "yolo":
        return boxes[~ignored], labels[~ignored].tolist(), [False] * int((~ignored).sum())
    if name == "kitti":
        labels[ignored] = ANY_CLASS
    if name == "coco":  # a region of every class is written once for each
        repeats = np.where(labels == ANY_CLASS, classes, 1)
        order = np.repeat(np.arange(len(labels)), repeats)
        numbers = np.arange(len(order)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        labels = np.where(labels[order] == ANY_CLASS, numbers, labels[order])
        boxes, ignored = boxes[order], ignored[order]
    return boxes, labels.tolist(), ignored.tolist()
