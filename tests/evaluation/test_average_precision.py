from __future__ import annotations

import numpy as np
import pytest

from foveal.evaluation.average_precision import (
    best_threshold,
    class_voc_aps,
    f1_after,
    make_curve,
    precision_at_recalls,
    voc_ap,
)
from foveal.evaluation.matching import make_pool

YES, NO = True, False


def verdicts(*true_positives):
    true_positives = np.array(true_positives, bool)
    return true_positives, ~true_positives


def test_precision_at_recalls_by_hand():
    true_positives, false_positives = verdicts(YES, NO, YES)
    sampled = precision_at_recalls(true_positives[None], false_positives[None], 2)[0]
    # Recall 0.5 at precision 1 (51 samples), then recall 1 at 2 / 3 (50 samples).
    assert sampled.tolist() == pytest.approx([1.0] * 51 + [2 / 3] * 50)
    sampled = precision_at_recalls(true_positives[None], false_positives[None], 4)[0]
    assert sampled.tolist() == pytest.approx([1.0] * 26 + [2 / 3] * 25 + [0.0] * 50)
    assert np.isnan(precision_at_recalls(true_positives[None], false_positives[None], 0)).all()
    assert (precision_at_recalls(np.zeros((2, 0), bool), np.zeros((2, 0), bool), 3) == 0).all()


def test_voc_ap_by_hand():
    # Recalls 0 to 0.5 have precision 1 (6 of 11), 0.6 to 1 have 2 / 3 (5 of 11).
    old, new = voc_ap(*verdicts(YES, NO, YES), 2)
    assert old == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert new == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert voc_ap(*verdicts(NO, NO), 3) == (0, 0)
    assert voc_ap(*verdicts(), 3) == (0, 0)
    assert np.isnan(voc_ap(*verdicts(YES), 0)).all()


def test_voc_ap_when_a_recall_is_met_exactly():
    # 3 of 10 objects: 0.0, 0.1, 0.2 and 0.3 are reached, whatever the rounding of 3 / 10.
    assert voc_ap(*verdicts(YES, YES, YES), 10)[0] == pytest.approx(4 / 11)
    assert voc_ap(*verdicts(*[YES] * 7), 10)[0] == pytest.approx(8 / 11)


def test_voc_skips_difficult_objects_and_counts_second_finds_as_wrong(found, shown):
    box, far, loose = [0, 0, 10, 10], [50, 50, 60, 60], [200, 200, 210, 210]
    targets = [shown((box, 0), (far, 0, True))]
    rows = [(box, 0.9, 0), (far, 0.8, 0), (far, 0.7, 0), (box, 0.6, 0)]
    aps = class_voc_aps(make_pool([found(*rows)], targets, classes=2, max_detections=100))
    assert aps[0].tolist() == [1, 1]
    assert np.isnan(aps[1]).all()
    # A better-scored second find halves nothing; one before the find of another object does.
    targets = [shown((box, 0), (loose, 0))]
    rows = [(box, 0.9, 0), (box, 0.8, 0), (loose, 0.7, 0)]
    aps = class_voc_aps(make_pool([found(*rows)], targets, classes=1, max_detections=100))
    assert aps[0, 1] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_voc_belongs_to_the_nearest_object_even_if_that_is_taken(found, shown):
    # COCO would give the second detection the other object, VOC does not.
    first, second = [0, 0, 10, 10], [0, 4, 10, 14]
    near_first = [0, 1, 10, 11]
    pool = make_pool(
        [found((first, 0.9, 0), (near_first, 0.8, 0))],
        [shown((first, 0), (second, 0))],
        classes=1,
        max_detections=100,
    )
    assert class_voc_aps(pool)[0, 1] == pytest.approx(0.5)


def test_voc_without_anything(found, shown):
    aps = class_voc_aps(make_pool([found()], [shown()], classes=2, max_detections=100))
    assert aps.shape == (2, 2)
    assert np.isnan(aps).all()
    aps = class_voc_aps(
        make_pool([found()], [shown(([0, 0, 5, 5], 1))], classes=2, max_detections=100)
    )
    assert aps[1].tolist() == [0, 0]


def test_curve_by_hand():
    true_positives, false_positives = verdicts(YES, NO, YES)
    curve = make_curve(true_positives, false_positives, np.array([0.9, 0.5, 0.3], np.float32), 2)
    at = {round(float(t), 2): i for i, t in enumerate(curve.thresholds)}
    assert np.isnan(curve.precision_at[at[0.95]])
    assert curve.f1_at[at[0.95]] == 0
    assert curve.precision_at[at[0.9]] == 1
    assert curve.recall_at[at[0.9]] == 0.5
    assert curve.precision_at[at[0.5]] == 0.5
    assert curve.precision_at[at[0.3]] == pytest.approx(2 / 3)
    assert curve.f1_at[at[0.0]] == pytest.approx(2 * 2 / (3 + 2))
    assert curve.best_f1 == pytest.approx(0.8)
    assert curve.best_threshold == pytest.approx(0.15)
    empty = make_curve(true_positives, false_positives, np.array([0.9, 0.5, 0.3], np.float32), 0)
    assert len(empty.recall) == 0
    assert np.isnan(empty.best_f1)


def test_curve_leaves_out_what_is_skipped():
    true_positives, false_positives = np.array([NO, YES]), np.array([NO, NO])
    curve = make_curve(true_positives, false_positives, np.array([0.9, 0.5], np.float32), 1)
    assert curve.best_f1 == 1
    assert np.nanmin(curve.precision_at) == 1


def test_best_threshold_keeps_equal_scores_together():
    scores = np.array([0.9, 0.6, 0.6, 0.2], np.float32)
    value = np.array([0.0, 0.2, 0.9, 0.8, 0.1])
    # Keeping two would be best, but the second and third have the same score.
    assert best_threshold(scores, value) == pytest.approx(0.4)
    assert best_threshold(scores, np.array([1.0, 0, 0, 0, 0])) == pytest.approx(0.95)
    assert best_threshold(scores, np.array([0.0, 0, 0, 0, 1])) == pytest.approx(0.1)
    assert best_threshold(np.array([1.0], np.float32), np.array([1.0, 0.0])) > 1
    assert best_threshold(np.zeros(0, np.float32), np.zeros(1)) == 0.5


def test_f1_after_by_hand():
    assert f1_after(np.array([YES, NO]), 1).tolist() == pytest.approx([0, 1, 2 / 3])
    assert f1_after(np.array([NO]), 0).tolist() == [0, 0]
