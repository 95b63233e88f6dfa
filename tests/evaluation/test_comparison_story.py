from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foveal.evaluation.comparison import Difference, compare
from foveal.evaluation.comparison_story import doubts, shown_as, verdict
from foveal.evaluation.results import Interval
from foveal.structures import Detections, Target

NAMES = ("old", "new")


@pytest.fixture(scope="module")
def compared():
    boxes = np.array([[0, 0, 20, 20]], np.float32)
    target = Target(boxes, np.zeros(1, np.int64), np.zeros(1, np.bool_))
    found = Detections(boxes, np.ones(1, np.float32), np.zeros(1, np.int64))
    return compare([found] * 72, [found] * 72, [target] * 72, ("cell",), resamples=2)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(0.5, 0.52, Interval(0.01, 0.03), 72), "new is better than old"),
        (Difference(0.5, 0.48, Interval(-0.03, -0.01), 72), "by 0.020 (0.010 to 0.030, 95%"),
        (Difference(0.5, 0.48, Interval(-0.03, -0.01), 72), "old is better than new"),
        (
            Difference(0.5, 0.504, Interval(-0.012, 0.021), 72),
            "No difference can be shown on 72 images: the AP of new less that of old is +0.004, "
            "and by chance alone it may be anything from −0.012 to +0.021 (95% interval). If it is "
            "as large as it looks, some 2,600 images",
        ),
        (Difference(0.5, 0.5 + 1e-9, Interval(-0.1, 0.1), 72), "More images would hardly show"),
        (Difference(0.5, 0.9, Interval(float("nan"), float("nan")), 4), "in 4 of them"),
    ],
)
def test_the_verdict(compared, difference, words):
    changed = replace(compared, ap=difference, different_images=9)
    assert words in verdict(changed, NAMES)


def test_without_images_or_objects(compared):
    assert "no images" in verdict(replace(compared, images=0), NAMES)
    assert "no objects" in verdict(replace(compared, objects=0), NAMES)


def test_doubts_only_where_there_is_cause(compared):
    fair = replace(compared, thresholds_chosen_here=(True, True))
    assert doubts(fair, NAMES) == []
    assert "12 images are few" in doubts(replace(fair, images=12), NAMES)[0]
    unequal = replace(fair, thresholds_chosen_here=(False, True))
    assert "favor new a little" in doubts(unequal, NAMES)[0]
    many = replace(fair, per_class=fair.per_class * 40)
    assert "Of 40 classes about 2 would" in doubts(many, NAMES)[0]
    empty = doubts(replace(fair, images_without_objects=8), NAMES)
    assert "8 of 72 images have no annotated object" in empty[0]
    assert "3 of old are beyond" in doubts(replace(fair, beyond_limit=(3, 0)), NAMES)[0]


def test_in_a_word(compared):
    assert shown_as(Difference(1.0, 2.0, Interval(0.5, 1), 9, False), NAMES) == "old better"
    assert shown_as(Difference(1.0, 2.0, Interval(0.5, 1), 9, None), NAMES) == "shown"
    assert shown_as(Difference(1.0, 2.0, Interval(-0.5, 1), 9), NAMES) == "not shown"
