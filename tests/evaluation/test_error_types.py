from __future__ import annotations

import numpy as np
import pytest

from foveal.evaluation.coco_metrics import make_range_table
from foveal.evaluation.error_types import find_confusion, find_errors
from foveal.evaluation.matching import make_pool, match

ONE, TWO = [0, 0, 10, 10], [100, 0, 110, 10]
BADLY_TWO = [100, 0, 110, 4]
AWAY = [300, 300, 310, 310]
KINDS = ("wrong_class", "localization", "both", "duplicate", "background", "missed")


def errors_of(detections, target, classes=1, score_threshold=0.5):
    pool = make_pool([detections], [target], classes=classes, max_detections=100)
    return find_errors(pool, match(pool, ious=(0.5,)), score_threshold=score_threshold)


def numbers(errors):
    return {kind: getattr(errors, kind).number for kind in KINDS if getattr(errors, kind).number}


def costs(errors):
    return {
        kind: getattr(errors, kind).cost for kind in KINDS if getattr(errors, kind).cost > 1e-12
    }


def test_a_badly_placed_box(found, shown):
    errors = errors_of(found((ONE, 0.9, 0), (BADLY_TWO, 0.8, 0)), shown((ONE, 0), (TWO, 0)))
    assert numbers(errors) == {"localization": 1}
    # Half of the recall has precision 1: 51 of 101 samples; mended, all have.
    assert errors.ap50 == pytest.approx(51 / 101)
    assert costs(errors) == pytest.approx({"localization": 50 / 101})
    assert errors.false_negative == pytest.approx(50 / 101)
    assert errors.false_positive == 0


def test_only_the_best_of_two_badly_placed_boxes_is_mended(found, shown):
    worse = [100, 0, 110, 3]
    rows = [(worse, 0.9, 0), (BADLY_TWO, 0.8, 0), (ONE, 0.7, 0)]
    errors = errors_of(found(*rows), shown((ONE, 0), (TWO, 0)))
    assert numbers(errors) == {"localization": 2}
    assert errors.localization.cost == pytest.approx(1 - errors.ap50)


def test_an_object_found_twice(found, shown):
    rows = [(ONE, 0.9, 0), (ONE, 0.8, 0), (TWO, 0.7, 0)]
    errors = errors_of(found(*rows), shown((ONE, 0), (TWO, 0)))
    assert numbers(errors) == {"duplicate": 1}
    assert costs(errors) == pytest.approx({"duplicate": 50 / 3 / 101})
    assert errors.false_positive == pytest.approx(50 / 3 / 101)


def test_a_detection_of_nothing(found, shown):
    rows = [(ONE, 0.9, 0), (AWAY, 0.8, 0), (TWO, 0.7, 0)]
    errors = errors_of(found(*rows), shown((ONE, 0), (TWO, 0)))
    assert numbers(errors) == {"background": 1}
    assert costs(errors) == pytest.approx({"background": 50 / 3 / 101})


def test_the_wrong_class(found, shown):
    errors = errors_of(found((ONE, 0.9, 1), (TWO, 0.8, 1)), shown((ONE, 0), (TWO, 1)), classes=2)
    assert numbers(errors) == {"wrong_class": 1}
    # Class 0 has AP 0, class 1 has 1 / 2; mended, both have 1.
    assert errors.ap50 == pytest.approx(0.25)
    assert costs(errors) == pytest.approx({"wrong_class": 0.75})


def test_a_wrong_class_on_an_object_that_is_found_already_just_goes(found, shown):
    rows = [(ONE, 0.9, 1), (TWO, 0.8, 1), (ONE, 0.7, 0)]
    errors = errors_of(found(*rows), shown((ONE, 0), (TWO, 1)), classes=2)
    assert numbers(errors) == {"wrong_class": 1}
    assert costs(errors) == pytest.approx({"wrong_class": 0.25})


def test_wrong_class_and_place(found, shown):
    rows = [(BADLY_TWO, 0.9, 1), (ONE, 0.8, 1)]
    errors = errors_of(found(*rows), shown((TWO, 0), (ONE, 1)), classes=2)
    assert numbers(errors) == {"both": 1, "missed": 1}
    # Without it class 1 has 1 for 1 / 2; without its missed object class 0 has 1 for 0.
    assert costs(errors) == pytest.approx({"both": 0.25, "missed": 0.5})


def test_missed_objects(found, shown):
    errors = errors_of(found((ONE, 0.9, 0)), shown((ONE, 0), (TWO, 0)))
    assert numbers(errors) == {"missed": 1}
    assert costs(errors) == pytest.approx({"missed": 50 / 101})
    nothing = errors_of(found(), shown((ONE, 0), (TWO, 0)))
    assert costs(nothing) == {"missed": 1}
    assert nothing.missed.number == 2


def test_numbers_at_the_threshold(found, shown):
    rows = [(ONE, 0.9, 0), (BADLY_TWO, 0.4, 0), (AWAY, 0.3, 0)]
    errors = errors_of(found(*rows), shown((ONE, 0), (TWO, 0)), score_threshold=0.5)
    assert (errors.localization.number, errors.localization.number_at_threshold) == (1, 0)
    assert (errors.background.number, errors.background.number_at_threshold) == (1, 0)
    assert (errors.missed.number, errors.missed.number_at_threshold) == (0, 1)


def test_regions_to_ignore_make_no_errors(found, shown):
    target = shown((ONE, 0), ([290, 290, 330, 330], 0, True))
    errors = errors_of(found((ONE, 0.9, 0), (AWAY, 0.8, 0)), target)
    assert numbers(errors) == {}
    assert errors.ap50 == 1


def test_without_objects_everything_is_background_and_costs_are_undefined(found, shown):
    errors = errors_of(found((ONE, 0.9, 0)), shown())
    assert numbers(errors) == {"background": 1}
    assert np.isnan(errors.ap50)
    assert np.isnan(errors.background.cost)


@pytest.mark.parametrize("seed", range(8))
def test_laws(draw, seed):
    detections, targets, classes = draw(seed)
    pool = make_pool(detections, targets, classes=len(classes), max_detections=100)
    table = make_range_table(pool)
    errors = find_errors(pool, table.matches, score_threshold=0.5)
    assert errors.ap50 == pytest.approx(np.nanmean(table.ap50s))
    of_detections = sum(getattr(errors, kind).number for kind in KINDS[:-1])
    assert of_detections == table.matches.false_positives[0].sum()
    lost = int(table.matches.counted.sum() - table.matches.true_positives[0].sum())
    assert errors.missed.number <= lost
    assert all(0 <= getattr(errors, kind).cost <= 1 - errors.ap50 + 1e-12 for kind in KINDS)
    assert errors.false_positive >= max(errors.background.cost, errors.duplicate.cost) - 1e-12
    confusion = find_confusion(pool, table.matches, classes, score_threshold=0.5).matrix
    kept = pool.scores >= 0.5
    # Rows hold the objects of each class, columns the detections that count.
    objects = pool.objects_of_class(table.matches.counted)
    assert confusion[:-1].sum(axis=1).tolist() == objects.tolist()
    counted = np.bincount(pool.labels[kept & ~table.matches.ignored[0]], minlength=len(classes))
    assert confusion[:, :-1].sum(axis=0).tolist() == counted.tolist()
    assert np.trace(confusion) == (table.matches.true_positives[0] & kept).sum()


def test_confusion_by_hand(found, shown):
    region = [290, 290, 330, 330]
    rows = [
        (ONE, 0.9, 1),  # the wrong class
        (TWO, 0.8, 1),  # right
        (TWO, 0.7, 0),  # of an object that is found already: background
        (AWAY, 0.6, 0),  # in a region to ignore
        (ONE, 0.4, 0),  # below the threshold
    ]
    target = shown((ONE, 0), (TWO, 1), ([200, 0, 210, 10], 1), (region, 0, True))
    pool = make_pool([found(*rows)], [target], classes=2, max_detections=100)
    confusion = find_confusion(pool, match(pool, ious=(0.5,)), ("a", "b"), score_threshold=0.5)
    assert confusion.names == ("a", "b", "background")
    assert confusion.matrix.tolist() == [[0, 1, 0], [0, 1, 1], [1, 0, 0]]
