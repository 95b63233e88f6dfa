"""Objects that get no anchor are counted before a training begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.training.conftest import tiny_settings

from foveal.data.dataset import Dataset, Record
from foveal.training import unassigned_objects
from foveal.training.unassigned_objects import describe_unassigned_objects

ONE = ("anchors.scales=[1]", "anchors.ratios=[1]")


def images(*boxes, ignored=False):
    records = tuple(
        Record(
            Path(f"/nowhere/{number}.jpg"),
            64,
            64,
            np.asarray(each, np.float32).reshape(-1, 4),
            np.zeros(len(each), np.int64),
            np.full(len(each), ignored),
        )
        for number, each in enumerate(boxes)
    )
    return Dataset(records, ("ship",), Path("/nowhere"))


TINY = [[22, 6, 24, 9], [20, 20, 50, 50]]


@pytest.mark.parametrize("method", ["iou", "atss", "task_aligned", "fcos"])
def test_a_tiny_object_is_said_unless_it_is_given_an_anchor(method):
    settings = tiny_settings(f"assignment.method={method}", *ONE)
    assert describe_unassigned_objects(images(TINY, []), settings) == []
    strict = tiny_settings(
        f"assignment.method={method}", "assignment.allow_low_quality_matches=false", *ONE
    )
    (told,) = describe_unassigned_objects(images(TINY, []), strict)
    assert told.startswith("1 of 2 objects in 1 training image get no anchor (assignment.method")
    assert f"'{method}'" in told
    assert "--set assignment.allow_low_quality_matches=true" in told


def test_a_box_labeled_twice_by_the_iou_rule():
    (told,) = describe_unassigned_objects(images([TINY[1]] * 2), tiny_settings(*ONE))
    assert "assignment.method=atss gives one" in told
    assert "labeled twice" in told
    adaptive = tiny_settings("assignment.method=atss", *ONE)
    assert describe_unassigned_objects(images([TINY[1]] * 2), adaptive) == []


def test_no_objects_regions_to_ignore_and_a_sample_of_many(monkeypatch):
    strict = tiny_settings("assignment.allow_low_quality_matches=false", *ONE)
    assert describe_unassigned_objects(images([], []), strict) == []
    assert describe_unassigned_objects(images(), strict) == []
    assert describe_unassigned_objects(images(TINY, ignored=True), strict) == []
    monkeypatch.setattr(unassigned_objects, "MAX_IMAGES", 2)
    (told,) = describe_unassigned_objects(images(*[TINY] * 5), strict)
    assert told.startswith("2 of 4 objects in 2 training images")
