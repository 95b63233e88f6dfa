from __future__ import annotations

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.evaluation.matching import make_pool, match, match_any_class

BOX, NEAR, FAR = [0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]


def pool_of(detections, targets, classes=2, max_detections=100):
    return make_pool(detections, targets, classes=classes, max_detections=max_detections)


def test_the_better_score_takes_the_object(found, shown):
    pool = pool_of([found((BOX, 0.5, 0), (NEAR, 0.9, 0))], [shown((BOX, 0))])
    assert pool.scores.tolist() == pytest.approx([0.9, 0.5])
    matches = match(pool, ious=(0.5, 0.9))
    # At the IoU 0.9 the better score does not fit, and leaves the object to the other.
    assert matches.matched.tolist() == [[0, -1], [-1, 0]]
    assert matches.true_positives.tolist() == [[True, False], [False, True]]
    assert matches.false_positives.tolist() == [[False, True], [True, False]]


def test_the_largest_overlap_is_chosen_and_classes_stay_apart(found, shown):
    target = shown((NEAR, 0), (BOX, 0), (BOX, 1))
    pool = pool_of([found((BOX, 0.9, 0), (BOX, 0.8, 1), (BOX, 0.7, 0))], [target])
    assert match(pool, ious=(0.5,)).matched.tolist() == [[1, 2, 0]]


def test_images_stay_apart(found, shown):
    pool = pool_of(
        [found((BOX, 0.9, 0)), found(), found((BOX, 0.8, 0))],
        [shown((FAR, 0)), shown(), shown((BOX, 0))],
    )
    assert pool.image.tolist() == [0, 2]
    assert match(pool, ious=(0.5,)).matched.tolist() == [[-1, 1]]


def test_a_region_to_ignore_takes_what_lies_in_it(found, shown):
    region = [0, 0, 100, 100]
    target = shown((BOX, 0), (region, 0, True))
    half_outside = [94, 0, 106, 10]
    pool = pool_of(
        [found((BOX, 0.9, 0), (FAR, 0.8, 0), (FAR, 0.7, 0), (half_outside, 0.6, 0), (FAR, 0.5, 1))],
        [target],
    )
    matches = match(pool, ious=(0.5,))
    # The object itself comes before the region around it; the other class is not concerned.
    assert matches.true_positives.tolist() == [[True, False, False, False, False]]
    assert matches.ignored.tolist() == [[False, True, True, True, False]]
    assert matches.false_positives.tolist() == [[False, False, False, False, True]]
    assert matches.counted.tolist() == [True, False]


def test_a_detection_with_less_than_half_in_a_region_counts(found, shown):
    pool = pool_of([found(([6, 0, 16, 10], 0.9, 0))], [shown((BOX, 0, True))])
    assert match(pool, ious=(0.5,)).false_positives.tolist() == [[True]]


def test_areas_out_of_range_are_skipped(found, shown):
    pool = pool_of([found((BOX, 0.9, 0), (FAR, 0.8, 0))], [shown((BOX, 0))])
    large = match(pool, ious=(0.5,), low=101)
    assert large.ignored.all()
    assert not large.counted.any()
    exact = match(pool, ious=(0.5,), low=100, high=100)
    assert exact.true_positives.tolist() == [[True, False]]


def test_only_the_best_of_each_image_and_class_take_part(found, shown):
    detections = found((BOX, 0.1, 0), (BOX, 0.9, 0), (BOX, 0.5, 0), (BOX, 0.2, 1))
    pool = pool_of([detections], [shown()], max_detections=2)
    assert pool.scores.tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert pool.rank.tolist() == [0, 1, 0]
    assert pool.of_class(0).tolist() == [0, 1]
    assert pool.of_class(1).tolist() == [2]


def test_match_any_class_crosses_classes_and_uses_each_object_once(found, shown):
    pool = pool_of(
        [found((BOX, 0.9, 1), (NEAR, 0.8, 1), (FAR, 0.7, 0))], [shown((BOX, 0), (FAR, 1))]
    )
    everything = np.ones(3, bool)
    chosen = match_any_class(pool, everything, np.ones(2, bool), iou=0.5)
    assert chosen.tolist() == [0, -1, 1]
    none = match_any_class(pool, everything, np.zeros(2, bool), iou=0.5)
    assert none.tolist() == [-1, -1, -1]


def test_boxes_without_area_match_nothing_and_warn_of_nothing(found, shown):
    point = [5, 5, 5, 5]
    pool = pool_of([found((point, 0.9, 0))], [shown((point, 0), (BOX, 0, True))])
    assert match(pool, ious=(0.5,)).matched.tolist() == [[-1]]


def test_another_number_of_images_is_an_error(found, shown):
    with pytest.raises(DataError, match="detections of 1 images and annotations of 2"):
        pool_of([found()], [shown(), shown()])


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_outside_the_classes_is_an_error(found, shown, label):
    with pytest.raises(DataError, match=rf"image 1, detections: label {label} .* 0 to 1"):
        pool_of([found(), found((BOX, 0.5, label))], [shown(), shown()])
    with pytest.raises(DataError, match=rf"image 0, annotations: label {label}"):
        pool_of([found()], [shown((BOX, label))])
