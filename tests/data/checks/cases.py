"""Small data sets for the tests of checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from foveal.data.checks.findings import Diagnosis, Finding
from foveal.data.dataset import Dataset, Record
from foveal.data.opening import Reading


def make_image(path: Path, *, color: int = 0, width: int = 64, height: int = 48) -> Path:
    """Squares of 4 pixels in random colors; which ones, `color` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(color).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST).save(path)
    return path


def enlarge(path: Path, copy: Path) -> Path:
    """A near-duplicate: the image, twice as large."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    image = Image.open(path)
    image.resize((2 * image.width, 2 * image.height)).save(copy)
    return copy


def make_record(
    path: Path, boxes: object = (), labels: object = None, *, size: tuple[int, int] = (64, 48)
) -> Record:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    kinds = np.zeros(len(array), np.int64) if labels is None else np.array(labels, np.int64)
    return Record(path, *size, array, kinds, np.zeros(len(array), bool))


def make_reading(
    root: Path, records: list[Record], classes: tuple[str, ...] = ("cell",), name: str = "data"
) -> Reading:
    return Reading(Dataset(tuple(records), classes, root, name))


def healthy(root: Path, count: int = 3, *, first_color: int = 0) -> list[Record]:
    return [
        make_record(
            make_image(root / f"{index}.png", color=first_color + index),
            [[4, 4, 30, 30], [30, 10, 60, 40 - index]],
        )
        for index in range(count)
    ]


def find(diagnosis: Diagnosis, kind: str) -> Finding:
    found = [finding for finding in diagnosis.findings if finding.kind == kind]
    assert len(found) == 1, [finding.kind for finding in diagnosis.findings]
    return found[0]


def kinds(diagnosis: Diagnosis) -> set[str]:
    return {finding.kind for finding in diagnosis.findings}
