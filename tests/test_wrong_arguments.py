"""What is public says what it expects where it gets a value of another kind."""

from __future__ import annotations

import numpy as np
import pytest

import foveal

NOTHING = foveal.Target(np.zeros((0, 4)), np.zeros(0), np.zeros(0))
FOUND = foveal.Detections([[0, 0, 5, 5]], [0.5], [0], ("cell",))
EMPTY = foveal.Dataset((), ("cell",), ".")

WRONG = {
    "Dataset, records": (lambda: foveal.Dataset(["a"], ("a",), "."), "Expected Record"),
    "Dataset, classes": (lambda: foveal.Dataset((), "cell", "."), "Expected a tuple of names"),
    "Detections": (lambda: foveal.Detections([[0, 0, 5]], [0.5], [0]), "expected [N, 4]"),
    "Detector, data": (lambda: foveal.Detector(7), "Expected a path"),
    "Detector, settings": (lambda: foveal.Detector(EMPTY, settings="light"), "preset='light'"),
    "Detector, size": (lambda: foveal.Detector(EMPTY, size="big"), "expected whole pixels"),
    "Detector, scales": (lambda: foveal.Detector(EMPTY, scales=1.0), "list such as [1.0]"),
    "Detector, ignore": (lambda: foveal.Detector(EMPTY, ignore="dot"), "ignore=['dot']"),
    "ModelCard": (lambda: foveal.ModelCard("cell"), "Expected a tuple of names"),
    "Sample": (lambda: foveal.Sample([[1]], NOTHING), "Expected a numpy array"),
    "Target": (lambda: foveal.Target([[0, 0, 5, 5]], [], []), "labels [0]"),
    "draw": (lambda: foveal.draw("a.png", FOUND), "Expected Detections"),
    "load": (lambda: foveal.load(None), "Expected the path of a model file"),
    "read": (lambda: foveal.read(["a", "b"]), "Expected a path"),
    "show": (lambda: foveal.show(7), "Expected a data set"),
    "to_supervision": (lambda: foveal.to_supervision([FOUND]), "one by one"),
    "write, path": (lambda: foveal.write("found.csv", FOUND), "Expected a path"),
    "write, detections": (lambda: foveal.write(None, "found.csv"), "Expected detections"),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_is_expected_is_said(which):
    call, said = WRONG[which]
    with pytest.raises(foveal.FovealError) as error:
        call()
    assert said in str(error.value)


def test_lists_are_taken_where_arrays_are_meant():
    target = foveal.Target([[0, 0, 5, 5], [1, 1, 2, 2]], [0, 1], [False, True])
    assert target.boxes.dtype == np.float32
    assert target.select(~target.ignored).labels.tolist() == [0]
