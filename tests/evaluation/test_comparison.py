"""Two detectors on the same images: against a slow reference, and what must hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.evaluation.bootstrap import draw_weights, expanded_interval
from foveal.evaluation.comparison import Difference, compare, compare_ap, images_needed
from foveal.evaluation.evaluate import evaluate
from foveal.evaluation.results import Interval
from foveal.structures import Detections, Target

DRAWS = 12


@pytest.fixture(scope="module")
def pair(draw):
    """Two detectors on the same images: the second has lost some detections, others are moved."""
    first, targets, classes = draw(3, images=12, distinct=True)
    generator = np.random.default_rng(0)
    second = []
    for found in first:
        kept = found.select(generator.random(len(found)) < 0.8)
        moved = kept.boxes + generator.integers(-1, 2, kept.boxes.shape).astype(np.float32)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        second.append(replace(kept, boxes=moved))
    return first, second, targets, classes


@pytest.fixture(scope="module")
def compared(pair):
    return compare(*pair, score_thresholds=(0.3, 0.4), resamples=DRAWS, seed=5)


def test_numbers_are_those_of_an_evaluation(pair, compared):
    *sides, targets, classes = pair
    one, other = (
        evaluate(found, targets, classes, score_threshold=threshold, resamples=0)
        for found, threshold in zip(sides, (0.3, 0.4), strict=True)
    )
    for difference, values in (
        (compared.ap, (one.ap, other.ap)),
        (compared.ap50, (one.ap50, other.ap50)),
        (compared.ap75, (one.ap75, other.ap75)),
        (compared.recall, (one.recall, other.recall)),
        (compared.precision, (one.precision, other.precision)),
        (compared.f1, (one.f1, other.f1)),
        (
            compared.count_error,
            (one.counts.mean_absolute_error, other.counts.mean_absolute_error),
        ),
        (compared.count_bias, (one.counts.bias, other.counts.bias)),
        *(
            (ours.ap, (mine.coco.ap, his.coco.ap))
            for ours, mine, his in zip(
                compared.per_class, one.per_class, other.per_class, strict=True
            )
        ),
        *(
            (ours.count_error, (mine.counts.mean_absolute_error, his.counts.mean_absolute_error))
            for ours, mine, his in zip(
                compared.per_class, one.per_class, other.per_class, strict=True
            )
        ),
        *(
            (ours.ap, (mine.ap, his.ap))
            for ours, mine, his in zip(compared.by_size, one.by_size, other.by_size, strict=True)
        ),
    ):
        assert (difference.first, difference.second) == pytest.approx(values, nan_ok=True)
    assert compared.errors[1] == other.errors
    assert (compared.images, compared.objects) == (12, one.objects)


def test_intervals_are_those_of_images_copied_and_evaluated_anew(pair, compared):
    first, second, targets, classes = pair
    names = ("ap", "ap50", "ap75", "recall", "precision", "f1")
    drawn: dict[str, list[float]] = {}
    for row in draw_weights(len(targets), draws=DRAWS, seed=5):
        copies = np.repeat(np.arange(len(targets)), row.astype(int))
        one, other = (
            evaluate(
                [found[i] for i in copies],
                [targets[i] for i in copies],
                classes,
                score_threshold=threshold,
                resamples=0,
            )
            for found, threshold in ((first, 0.3), (second, 0.4))
        )
        values = {name: getattr(other, name) - getattr(one, name) for name in names}
        values["count_error"] = other.counts.mean_absolute_error - one.counts.mean_absolute_error
        for place, (mine, his) in enumerate(zip(one.by_size, other.by_size, strict=True)):
            values[f"size {place}"] = his.ap - mine.ap
        for place, (mine, his) in enumerate(zip(one.per_class, other.per_class, strict=True)):
            values[f"class {place}"] = his.coco.ap50 - mine.coco.ap50
        for name, value in values.items():
            drawn.setdefault(name, []).append(value)
    found = {name: getattr(compared, name) for name in (*names, "count_error")}
    found |= {f"size {place}": one.ap for place, one in enumerate(compared.by_size)}
    found |= {f"class {place}": one.ap50 for place, one in enumerate(compared.per_class)}
    for name, difference in found.items():
        expected = expanded_interval(np.array(drawn[name]), images=difference.images)
        assert (difference.interval.low, difference.interval.high) == pytest.approx(
            (expected.low, expected.high), abs=1e-9, nan_ok=True
        ), name


def test_ap_alone_is_the_same(pair, compared):
    assert compare_ap(*pair, resamples=DRAWS, seed=5) == compared.ap


def test_the_other_way_round_is_the_negative(pair, compared):
    first, second, targets, classes = pair
    other = compare(
        second, first, targets, classes, score_thresholds=(0.4, 0.3), resamples=DRAWS, seed=5
    )
    assert other.ap.value == -compared.ap.value
    assert other.ap.interval.low == pytest.approx(-compared.ap.interval.high)
    assert [one.index for one in other.most_different] == [
        one.index for one in compared.most_different
    ]


def test_a_detector_beside_itself(pair):
    first, _, targets, classes = pair
    same = compare(first, first, targets, classes, resamples=DRAWS)
    assert same.ap.value == 0
    assert same.ap.interval == Interval(0, 0)
    assert not same.ap.is_shown
    assert images_needed(same.ap) is None
    assert same.most_different == ()
    assert same.different_images == 0
    assert same.thresholds_chosen_here == (True, True)


def test_detections_of_another_number_of_images(pair):
    first, second, targets, classes = pair
    with pytest.raises(DataError, match="detections of 11 images"):
        compare(first, second[:-1], targets, classes, resamples=DRAWS)


@pytest.mark.parametrize("images", [0, 3])
def test_nothing_there(images):
    found = [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))]
    none = compare(
        found * images, found * images, [Target.empty()] * images, ("cell",), resamples=DRAWS
    )
    assert (none.images, none.objects, none.detections) == (images, 0, (0, 0))
    assert math.isnan(none.ap.value)
    assert math.isnan(none.per_class[0].ap.interval.low)
    assert not none.ap.is_shown
    assert none.ap.better is None


def square(left: float, score: float) -> Detections:
    return Detections(
        np.array([[left, 0, left + 20, 20]], np.float32),
        np.array([score], np.float32),
        np.zeros(1, np.int64),
    )


def target() -> Target:
    return Target(
        np.array([[0, 0, 20, 20]], np.float32), np.zeros(1, np.int64), np.zeros(1, np.bool_)
    )


def test_where_one_alone_finds_objects():
    """By hand: eight images of one object, the second finds it in all, the first in the last."""
    first = [square(100, 0.9)] * 7 + [square(0, 0.9)]
    second = [square(0, 0.9)] * 8
    result = compare(
        first, second, [target()] * 8, ("cell",), score_thresholds=(0.5, 0.5), resamples=200
    )
    assert (result.recall.first, result.recall.second) == (1 / 8, 1)
    assert result.recall.better == "second"
    assert result.ap50.value > 0
    assert result.ap50.is_shown
    assert result.count_error.value == 0
    assert result.different_images == 7
    assert [one.index for one in result.most_different] == [0, 1, 2, 3, 4, 5, 6]
    worst = result.most_different[0]
    assert (worst.only_first, worst.only_second) == (0, 1)
    assert (worst.first.errors, worst.second.errors) == (2, 0)


def test_of_five_images_nothing_can_be_said():
    result = compare([square(100, 0.9)] * 5, [square(0, 0.9)] * 5, [target()] * 5, ("cell",))
    assert result.ap.value == 1
    assert math.isnan(result.ap.interval.low)
    assert not result.ap.is_shown


def test_few_images_have_wider_intervals():
    values = np.random.default_rng(0).normal(size=40_000)
    # A normal statistic's: t of 9 degrees of freedom times the root of 10 / 9.
    ten = expanded_interval(values, images=10)
    assert ten.high == pytest.approx(2.262 * math.sqrt(10 / 9), abs=0.07)
    assert ten.low == pytest.approx(-ten.high, abs=0.1)
    six = expanded_interval(values, images=6)
    assert six.high == pytest.approx(2.571 * math.sqrt(6 / 5), abs=0.12)
    assert expanded_interval(values, images=10_000).high == pytest.approx(1.96, abs=0.03)


def test_errors_are_better_where_they_are_fewer():
    worse = Difference(1.0, 2.0, Interval(0.5, 1.5), 50, higher_is_better=False)
    assert worse.better == "first"
    assert replace(worse, higher_is_better=True).better == "second"
    assert replace(worse, higher_is_better=None).better is None
    assert replace(worse, interval=Interval(-0.1, 2)).better is None


def test_images_that_would_show_a_difference():
    # Interval 3.92 standard errors wide: 0.0392 of 100 images; 2.8 of 0.005 are the difference.
    seen = Difference(0.5, 0.514, Interval(-0.0056, 0.0336), 100)
    assert images_needed(seen) == pytest.approx(400, abs=1)
    assert images_needed(replace(seen, interval=Interval(0.01, 0.02))) is None
