from pathlib import Path

import numpy as np

from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.training.missing_objects import describe_missing_objects, objects_by_class


def images(*labels, ignored=False, classes=("red", "blue", "green")):
    records = tuple(
        Record(
            Path(f"/nowhere/{number}.jpg"),
            64,
            64,
            np.tile(np.asarray([[1, 2, 30, 40]], np.float32), (len(each), 1)),
            np.asarray(each, np.int64),
            np.full(len(each), ignored),
        )
        for number, each in enumerate(labels)
    )
    return Dataset(records, classes, Path("/nowhere"))


FULL = images([0, 1], [2])


def test_nothing_is_missing():
    assert describe_missing_objects(FULL, FULL) == []


def test_regions_to_ignore_are_no_objects():
    assert objects_by_class(images([0, 1, ANY_CLASS], ignored=True)).tolist() == [0, 0, 0]
    assert objects_by_class(images([0, 0, ANY_CLASS], [])).tolist() == [2, 0, 0]
    assert objects_by_class(images()).tolist() == [0, 0, 0]


def test_no_object_at_all_is_said_of_both():
    trained, measured = describe_missing_objects(images([], []), images([]))
    assert "no object in the 2 training images" in trained
    assert "no object in the 1 validation image:" in measured


def test_classes_without_objects_are_named_once():
    (trained,) = describe_missing_objects(images([0]), images([0]))
    assert "no object of blue, green (2 of 3 classes)" in trained
    trained, measured = describe_missing_objects(images([0, 2]), images([0]))
    assert "no object of blue (1 of 3 classes)" in trained
    assert "no object of green (1 of 3 classes)" in measured
    (measured,) = describe_missing_objects(FULL, images([0, 1]))
    assert measured.startswith("The validation images have no object of green")
