from __future__ import annotations

import numpy as np
import pytest

from foveal.evaluation.bootstrap import draw_weights, interval, weighted_class_aps
from foveal.evaluation.coco_metrics import make_range_table
from foveal.evaluation.evaluate import evaluate
from foveal.evaluation.matching import make_pool


def table_of(detections, targets, classes):
    pool = make_pool(detections, targets, classes=len(classes), max_detections=100)
    return pool, make_range_table(pool)


@pytest.mark.parametrize("seed", range(6))
def test_weights_of_one_give_cocos_aps(draw, seed):
    pool, table = table_of(*draw(seed))
    aps = weighted_class_aps(pool, table.matches, np.ones((2, pool.images), np.float32))
    for draw_aps in aps:
        np.testing.assert_allclose(draw_aps, table.precisions.mean(axis=2), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_a_weight_is_a_number_of_copies(draw, seed):
    detections, targets, classes = draw(seed, distinct=True)
    pool, table = table_of(detections, targets, classes)
    weights = draw_weights(len(targets), draws=3, seed=seed)
    aps = weighted_class_aps(pool, table.matches, weights)
    for row, expected in zip(weights, aps, strict=True):
        copies = np.repeat(np.arange(len(targets)), row.astype(int))
        _, drawn = table_of([detections[i] for i in copies], [targets[i] for i in copies], classes)
        np.testing.assert_allclose(drawn.precisions.mean(axis=2), expected, atol=1e-12)


def test_small_pieces_give_the_same(draw, monkeypatch):
    pool, table = table_of(*draw(3))
    weights = draw_weights(pool.images, draws=20, seed=0)
    whole = weighted_class_aps(pool, table.matches, weights)
    monkeypatch.setattr("foveal.evaluation.bootstrap.CELLS", 50)
    np.testing.assert_array_equal(weighted_class_aps(pool, table.matches, weights), whole)


def test_draws_are_seeded_and_keep_the_number_of_images():
    weights = draw_weights(7, draws=5, seed=1)
    assert weights.shape == (5, 7)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, draw_weights(7, draws=5, seed=1))
    assert (weights != draw_weights(7, draws=5, seed=2)).any()
    assert draw_weights(0, draws=5, seed=1).shape == (5, 0)


def test_interval_is_the_middle_of_what_is_defined():
    values = np.append(np.arange(1001) / 1000, np.nan)
    assert (interval(values).low, interval(values).high) == pytest.approx((0.025, 0.975))
    assert np.isnan(interval(np.array([np.nan])).low)
    assert np.isnan(interval(np.zeros(0)).high)


def test_evaluate_gives_intervals_around_its_numbers(draw):
    case = draw(4, images=30)
    result = evaluate(*case, resamples=200, seed=3)
    for value, around in (
        (result.ap, result.ap_interval),
        (result.ap50, result.ap50_interval),
        (result.counts.bias, result.counts.bias_interval),
        (result.counts.mean_absolute_error, result.counts.mean_absolute_error_interval),
        (result.per_class[0].coco.ap, result.per_class[0].ap_interval),
        (result.per_class[0].coco.ap50, result.per_class[0].ap50_interval),
    ):
        assert around.low < value < around.high
    assert evaluate(*case, resamples=200, seed=3).ap_interval == result.ap_interval
    assert evaluate(*case, resamples=200, seed=4).ap_interval != result.ap_interval
    assert np.isnan(evaluate(*case, resamples=0).ap_interval.low)


def test_more_images_make_it_surer(draw):
    few = evaluate(*draw(4, images=8), resamples=200).ap50_interval
    many = evaluate(*draw(4, images=120), resamples=200).ap50_interval
    assert many.high - many.low < 0.6 * (few.high - few.low)
