"""Counts and measures of a data set, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import Dataset, Record
from foveal.data.statistics import measure_dataset, stack_objects


def make_record(
    name: str, boxes: list[list[float]], labels: list[int], ignored: list[bool] | None = None
) -> Record:
    return Record(
        path=Path("/data") / name,
        width=100,
        height=80,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        ignored=np.array(ignored or [False] * len(boxes), bool),
    )


def test_objects_are_counted_by_class_and_image() -> None:
    data = Dataset(
        (
            make_record("a.png", [[0, 0, 10, 40], [0, 0, 20, 20], [5, 5, 5, 9]], [0, 1, 0]),
            make_record("b.png", [[0, 0, 30, 20], [0, 0, 9, 9]], [0, 0], [False, True]),
            make_record("c.png", [], []),
        ),
        ("cat", "dog", "bird"),
        Path("/data"),
        "pets",
    )

    found = measure_dataset(data)

    assert (found.images, found.objects, found.ignored, found.without_objects) == (3, 3, 1, 1)
    assert found.most_objects == 2
    assert found.objects_per_image == 1
    cat, dog, bird = found.classes
    assert (cat.objects, cat.images, cat.width, cat.height) == (2, 2, 20, 30)
    assert (dog.objects, dog.images) == (1, 1)
    assert bird.objects == 0
    assert np.isnan(bird.width)
    assert found.sides[2] == pytest.approx(20)
    assert found.ratios[2] == pytest.approx(1)
    assert found.image_sizes == ((100, 80, 3),)


def test_a_data_set_of_nothing_has_zeros() -> None:
    found = measure_dataset(Dataset((), (), Path("/data")))

    assert (found.images, found.objects, found.objects_per_image) == (0, 0, 0.0)
    assert found.sides == found.ratios == found.image_sizes == ()


def test_stacked_objects_know_their_image_and_number() -> None:
    data = Dataset(
        (
            make_record("a.png", [[0, 0, 1, 1]] * 2, [0, 0]),
            make_record("b.png", [], []),
            make_record("c.png", [[0, 0, 2, 2]], [0]),
        ),
        ("x",),
        Path("/data"),
    )

    objects = stack_objects(data)

    assert objects.images.tolist() == [0, 0, 2]
    assert objects.numbers.tolist() == [0, 1, 0]
