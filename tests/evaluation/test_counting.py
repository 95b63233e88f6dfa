from __future__ import annotations

import numpy as np
import pytest

from foveal.evaluation.bootstrap import draw_weights
from foveal.evaluation.counting import choose_threshold, count_table, summarize_counts
from foveal.evaluation.evaluate import evaluate
from foveal.evaluation.matching import make_pool, match

NONE = np.zeros((0, 4), np.float32)


def test_counts_by_hand():
    true, predicted = np.array([2, 4, 6, 0]), np.array([3, 4, 4, 1])
    counts = summarize_counts(true, predicted, weights=draw_weights(4, draws=50, seed=0))
    assert counts.bias == 0
    assert counts.mean_absolute_error == 1
    assert counts.relative_error == pytest.approx(4 / 12)
    # Squared errors 1 + 0 + 4 + 1, squares around the mean 3: 1 + 1 + 9 + 9.
    assert counts.r2 == pytest.approx(1 - 6 / 20)
    assert -2 <= counts.bias_interval.low < 0 < counts.bias_interval.high <= 1


def test_counts_where_something_is_undefined():
    equal = summarize_counts(
        np.array([2, 2]), np.array([2, 1]), weights=np.zeros((0, 2), np.float32)
    )
    assert np.isnan(equal.r2)
    assert equal.bias == -0.5
    assert np.isnan(equal.bias_interval.low)
    none = summarize_counts(np.array([0, 0]), np.array([1, 0]), weights=np.ones((3, 2), np.float32))
    assert np.isnan(none.relative_error)
    nowhere = summarize_counts(
        np.zeros(0, int), np.zeros(0, int), weights=np.zeros((3, 0), np.float32)
    )
    assert np.isnan(nowhere.bias)
    assert np.isnan(nowhere.mean_absolute_error_interval.high)


def test_regions_to_ignore_count_neither_way(found, shown):
    box, region, inside = [0, 0, 10, 10], [40, 40, 90, 90], [50, 50, 60, 60]
    detections = [found((box, 0.9, 0), (inside, 0.8, 0), (inside, 0.7, 1), (box, 0.2, 0))]
    targets = [shown((box, 0), (region, 0, True))]
    pool = make_pool(detections, targets, classes=2, max_detections=100)
    true, predicted = count_table(pool, match(pool, ious=(0.5,)), score_threshold=0.5)
    assert true.tolist() == [[1], [0]]
    assert predicted.tolist() == [[1], [1]]


def brute_force(detections, targets, classes):
    """The best value over all thresholds, and the value at a threshold."""
    pool = make_pool(detections, targets, classes=len(classes), max_detections=100)
    matches = match(pool, ious=(0.5,))

    def value(score_threshold):
        kept = (pool.scores >= np.float32(score_threshold)) & ~matches.ignored[0]
        hits = (matches.true_positives[0] & kept).sum()
        return 2 * hits / max(kept.sum() + matches.counted.sum(), 1)

    return max(map(value, [*np.unique(pool.scores), 2.0])), value


@pytest.mark.parametrize("seed", range(8))
def test_the_chosen_threshold_is_the_best_of_all(draw, seed):
    case = draw(seed)
    best, value = brute_force(*case)
    assert value(choose_threshold(*case)) == pytest.approx(best)


def test_threshold_by_hand(found, shown):
    box, far = [0, 0, 10, 10], [50, 50, 60, 60]
    detections = [found((box, 0.8, 0), (far, 0.4, 0), (far, 0.2, 0))]
    assert choose_threshold(detections, [shown((box, 0))], ["a"]) == pytest.approx(0.6)


def test_threshold_without_detections_or_objects(found, shown):
    assert choose_threshold([found()], [shown(([0, 0, 5, 5], 0))], ["a"]) == 0.5
    assert choose_threshold([], [], ["a"]) == 0.5


def test_a_given_threshold_is_used_and_said(draw):
    case = draw(2)
    given = evaluate(*case, score_threshold=0.7, resamples=0)
    assert given.score_threshold == 0.7
    assert not given.threshold_chosen_here
    own = evaluate(*case, resamples=0)
    assert own.score_threshold == choose_threshold(*case)
    assert own.threshold_chosen_here
    assert own.f1 >= given.f1
