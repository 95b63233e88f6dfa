"""Result files in COCO's way, as detectors write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.data.formats.fuzzing.dice import Dice
from tests.data.formats.fuzzing.mutations import mutate
from tests.data.formats.fuzzing.properties import Failure
from tests.data.formats.fuzzing.scenes import Box, Written, box, scene
from tests.data.formats.fuzzing.texts import json_bytes, shuffled_keys
from tests.data.formats.fuzzing.watch import listening, watching

from foveal.data.dataset import Dataset, Record
from foveal.data.formats.coco_results import read_results
from foveal.errors import FovealError
from foveal.structures import Detections

_Found = tuple[Box, float, int]


def _make(dice: Dice, folder: Path) -> tuple[Written, Dataset, list[list[_Found]]]:
    """A result file, the data set that it belongs to, and what each image's results are."""
    shown = scene(dice)
    start = dice.pick((0, 1, 17))
    records, expected, entries = [], [], []
    for number, picture in enumerate(shown.pictures):
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
        size = picture.width, picture.height
        records.append(Record(folder / picture.name, *size, *empty, image_id=start + number))
        found: list[_Found] = []
        for rank in range(dice.pick((0, 1, 2, 5))):
            x1, y1, x2, y2 = _inside(dice, *size)
            score, label = round(0.9 - rank / 10, 3), dice.below(len(shown.classes))
            found.append(((x1, y1, x1 + (x2 - x1), y1 + (y2 - y1)), score, label))
            entry = {"image_id": start + number, "category_id": label + 1, "score": score}
            entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            entry |= {"area": 1.0, "id": len(entries), "iscrowd": 0} if dice.chance(4) else {}
            entries.append(shuffled_keys(dice, entry))
        expected.append(found)
    document: Any = dice.shuffled(entries)
    written = Written({"results.json": json_bytes(dice, document)}, {})
    return written, Dataset(tuple(records), shown.classes, folder), expected


def _inside(dice: Dice, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box(dice, width, height)
    if 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height:
        return x1, y1, x2, y2
    return 0.0, 0.0, float(width), float(height)


def _read(written: Written, data: Dataset, folder: Path) -> list[Detections]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    file.write_bytes(written.files["results.json"])
    labels = {label + 1: label for label in range(len(data.classes))}
    with listening(), watching(folder) as outside:
        detections = read_results(file, data, labels=labels)
    if outside:
        raise Failure("read outside", str(outside))
    return detections


def read_results_as_written(dice: Dice, folder: Path, _name: str) -> None:
    """Boxes, scores and classes of sound results are those that were written, best first."""
    written, data, expected = _make(dice, folder)
    try:
        found = _read(written, data, folder)
    except FovealError as error:
        raise Failure("results refused", str(error)) from error
    for detections, wanted in zip(found, expected, strict=True):
        boxes = np.array([b for b, _, _ in wanted], np.float64).reshape(-1, 4)
        if detections.labels.tolist() != [label for _, _, label in wanted]:
            raise Failure("labels differ", str(detections.labels.tolist()))
        if not np.allclose(detections.boxes, boxes, rtol=1e-5, atol=2e-3):
            raise Failure("boxes differ", f"{detections.boxes.tolist()}, not {boxes.tolist()}")
        if not np.allclose(detections.scores, [score for _, score, _ in wanted]):
            raise Failure("scores differ", str(detections.scores.tolist()))


def read_broken_results(dice: Dice, folder: Path, _name: str) -> None:
    """Whatever the file holds: finite boxes and scores, or an error of one line."""
    written, data, _ = _make(dice, folder)
    broken = mutate(dice, written)
    if "results.json" not in broken.files:
        return
    try:
        found = _read(broken, data, folder)
    except FovealError as error:
        if "\n" in str(error):
            raise Failure("not one line", str(error)) from error
        return
    for detections in found:
        if not np.isfinite(detections.boxes).all() or not np.isfinite(detections.scores).all():
            raise Failure("not finite", str(detections.boxes.tolist()))
        if not ((detections.labels >= 0) & (detections.labels < len(data.classes))).all():
            raise Failure("unsound label", str(detections.labels.tolist()))
