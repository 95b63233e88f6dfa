"""Images that belong together: equal files, near-duplicates, and what is only flat."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from foveal.data.dataset import Dataset
from foveal.data.synthetic import draw_dataset
from foveal.experiments.copies import group_copies


@pytest.fixture
def data(tmp_path) -> Dataset:
    return draw_dataset(tmp_path, splits={"train": 3}, size=96, seed=4)["train"]


def test_copies_are_one_group_however_they_were_made(data):
    first, second, third = data.records
    image = cv2.imread(str(first.path))
    folder = first.path.parent
    shutil.copy(first.path, folder / "copy.jpg")
    assert cv2.imwrite(str(folder / "small.png"), cv2.resize(image, (64, 64)))
    assert cv2.imwrite(str(folder / "mirrored.jpg"), image[:, ::-1])
    for name in ("flat.png", "flat-again.png"):
        assert cv2.imwrite(str(folder / name), np.full((32, 32, 3), 90, np.uint8))
    assert cv2.imwrite(str(folder / "another-flat.png"), np.full((32, 32, 3), 91, np.uint8))
    names = (
        "copy.jpg",
        "small.png",
        "flat.png",
        "mirrored.jpg",
        "flat-again.png",
        "another-flat.png",
    )
    more = [replace(first, path=folder / name) for name in names]
    whole = replace(data, records=(*more[:3], third, first, *more[3:], second))
    assert group_copies(whole) == [[0, 1, 4, 5], [2, 6], [3], [7], [8]]


def test_others_are_alone(data):
    told = []
    assert group_copies(data, progress=lambda *done: told.append(done)) == [[0], [1], [2]]
    assert told[-1] == (3, 3)
    assert group_copies(data.take([])) == []
