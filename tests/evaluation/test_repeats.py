import math

import numpy as np
import pytest

from foveal.evaluation.bootstrap import student
from foveal.evaluation.repeats import draw_aps, estimate, mean_of_estimates
from foveal.structures import Detections, Target

T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 10: 2.228, 30: 2.042}
"""The 97.5 % points of Student's t, of any table."""


@pytest.mark.parametrize("freedom", T)
def test_student(freedom):
    assert student(freedom) == pytest.approx(T[freedom], abs=0.005)
    assert student(freedom + 0.5) <= student(freedom)


def test_one_training_has_the_images_part_alone():
    draws = np.array([0.4, 0.5, 0.6])
    one = estimate([0.5], [draws], images=11)
    assert (one.value, one.trainings, one.freedom) == (0.5, 1, 10)
    half = T[10] * 0.1
    assert (one.interval.low, one.interval.high) == pytest.approx(
        (0.5 - half, 0.5 + half), abs=1e-3
    )


def test_without_chance_in_the_images_the_seeds_part_remains():
    draws = np.full(9, 0.5)
    one = estimate([0.4, 0.5, 0.6], [draws] * 3, images=1000)
    half = T[2] * 0.1 / math.sqrt(3)
    assert one.freedom == pytest.approx(2)
    assert one.interval.high == pytest.approx(0.5 + half, abs=1e-3)
    assert (one.lowest, one.highest) == (0.4, 0.6)


def test_both_parts_together():
    draws = [np.array([0.3, 0.5, 0.7])] * 2  # variance 0.04
    one = estimate([0.4, 0.6], draws, images=31)  # variance 0.02 / 2
    assert one.variance == pytest.approx(0.05)
    assert one.freedom == pytest.approx(0.05**2 / (0.04**2 / 30 + 0.01**2 / 1))


@pytest.mark.parametrize(
    ("values", "draws", "images"),
    [
        ([], [], 100),
        ([math.nan], [np.full(3, 0.5)], 100),
        ([0.5], [np.full(3, math.nan)], 100),
        ([0.5], [np.array([0.4, 0.6])], 5),
        ([0.5, 0.6], [np.array([0.4, 0.6])] * 2, 0),
    ],
)
def test_no_interval_where_nothing_speaks_for_it(values, draws, images):
    one = estimate(values, draws, images=images)
    assert math.isnan(one.interval.low)
    assert math.isnan(mean_of_estimates([one]).interval.low)


def test_equal_draws_have_an_interval_of_no_width():
    one = estimate([0.0, 0.0], [np.zeros(4)] * 2, images=9)
    assert (one.interval.low, one.interval.high) == (0.0, 0.0)
    both = mean_of_estimates([one, one])
    assert (both.interval.low, both.interval.high) == (0.0, 0.0)


def test_the_mean_over_data_sets():
    first = estimate([0.1], [np.array([0.0, 0.1, 0.2])], images=11)
    second = estimate([0.3], [np.array([0.2, 0.3, 0.4])], images=11)
    both = mean_of_estimates([first, second])
    assert both.value == pytest.approx(0.2)
    assert both.variance == pytest.approx((0.01 + 0.01) / 4)
    assert both.freedom == pytest.approx(20)
    assert both.interval.high == pytest.approx(0.2 + student(20) * math.sqrt(0.005))
    assert math.isnan(mean_of_estimates([]).value)


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        image = generator.normal(0, 0.02)  # common to the trainings
        values = 0.5 + image + generator.normal(0, 0.03, size=3)
        shared = generator.normal(0, 0.02, size=100)
        draws = [value + shared for value in values]
        one = estimate(values.tolist(), draws, images=60)
        held += one.interval.low <= 0.5 <= one.interval.high
    assert 0.92 <= held / 400 <= 0.99


def make(images, *, score):
    box = np.array([[10, 10, 30, 30]], np.float32)
    label = np.zeros(1, np.int64)
    detections = [Detections(box, np.array([score], np.float32), label, ("cell",))] * images
    targets = [Target(box, label, np.zeros(1, bool), None)] * images
    return detections, targets


def test_draws_of_perfect_detections_and_of_none():
    detections, targets = make(7, score=0.9)
    draws = draw_aps(detections, targets, 1, resamples=5)
    assert draws.ap.tolist() == draws.ap50.tolist() == [1.0] * 5
    assert draws.images == 7
    none = [each[np.zeros(1, bool)] for each in detections]
    assert draw_aps(none, targets, 1, resamples=5).ap.tolist() == [0.0] * 5
    empty = [Target(t.boxes[:0], t.labels[:0], t.ignored[:0], None) for t in targets]
    nothing = draw_aps(detections, empty, 1, resamples=5)
    assert nothing.images == 0
    assert np.isnan(nothing.ap).all()
    assert len(draw_aps([], [], 1, resamples=5).ap) == 5


def test_two_detectors_on_the_same_images_have_the_same_draws():
    detections, targets = make(7, score=0.9)
    some = [each if index % 2 else each[np.zeros(1, bool)] for index, each in enumerate(detections)]
    first, second = (draw_aps(some, targets, 1, resamples=9) for _ in range(2))
    assert first.ap.tolist() == second.ap.tolist()
    assert first.ap.std() > 0
