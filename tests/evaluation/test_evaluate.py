from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from foveal.evaluation.evaluate import evaluate, limit_of
from foveal.evaluation.results import Evaluation
from foveal.structures import Detections, Target

ONE, TWO, AWAY = [0, 0, 10, 10], [100, 0, 140, 40], [300, 300, 400, 410]


def floats_of(value):
    """Every number of a result, with arrays laid flat."""
    if is_dataclass(value):
        for field in fields(value):
            yield from floats_of(getattr(value, field.name))
    elif isinstance(value, tuple):
        for each in value:
            yield from floats_of(each)
    elif isinstance(value, np.ndarray):
        yield from value.ravel().tolist()
    elif isinstance(value, float | int):
        yield float(value)


def test_a_small_case_by_hand(found, shown):
    detections = [
        replace(found((ONE, 0.9, 0), (TWO, 0.3, 1)), path=Path("a.jpg")),
        replace(found((AWAY, 0.8, 0), (ONE, 0.7, 1)), path=Path("b.jpg")),
        found(),
    ]
    targets = [shown((ONE, 0), (TWO, 1)), shown((ONE, 0), ([250, 250, 290, 290], 1, True)), shown()]
    result = evaluate(detections, targets, ["cell", "dot"], score_threshold=0.5, resamples=0)
    assert (result.images, result.objects, result.detections, result.max_detections) == (
        3,
        3,
        4,
        100,
    )
    assert result.classes == ("cell", "dot")
    # Kept: right, wrong (nothing there), wrong (class); three objects.
    assert result.precision == pytest.approx(1 / 3)
    assert result.recall == pytest.approx(1 / 3)
    assert result.f1 == pytest.approx(1 / 3)
    assert result.counts.true.tolist() == [2, 1, 0]
    assert result.counts.predicted.tolist() == [1, 2, 0]
    cell, dot = result.per_class
    assert (cell.name, cell.images, cell.objects) == ("cell", 2, 2)
    assert (cell.precision, cell.recall, cell.f1) == (0.5, 0.5, 0.5)
    assert (dot.precision, dot.recall, dot.f1) == (0, 0, 0)
    assert (dot.images, dot.objects) == (1, 1)
    assert dot.counts.predicted.tolist() == [0, 1, 0]
    assert result.confusion.matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 0, 0]]
    first, second = result.hardest
    assert (first.index, first.errors, first.path) == (1, 3, Path("b.jpg"))
    assert first.false_positives.labels.tolist() == [0, 1]
    assert first.false_positives.scores.tolist() == pytest.approx([0.8, 0.7])
    assert first.false_negatives.boxes.tolist() == [ONE]
    assert first.false_negatives.labels.tolist() == [0]
    assert first.ignored.tolist() == [[250, 250, 290, 290]]
    assert (second.index, second.errors) == (0, 1)
    assert second.true_positives.boxes.tolist() == [ONE]
    assert second.false_negatives.labels.tolist() == [1]


def test_sizes(found, shown):
    detections = [found((ONE, 0.9, 0), (TWO, 0.8, 0))]
    result = evaluate(detections, [shown((ONE, 0), (TWO, 0), (AWAY, 0))], ["a"], resamples=0)
    by_name = {size.name: (size.objects, size.ap50) for size in result.by_size}
    assert list(by_name) == ["under 16 px", "16 to 32 px", "32 to 96 px", "over 96 px"]
    assert by_name["under 16 px"] == (1, pytest.approx(1))
    assert by_name["32 to 96 px"] == (1, pytest.approx(1))
    assert by_name["over 96 px"] == (1, 0)
    assert by_name["16 to 32 px"][0] == 0
    assert np.isnan(by_name["16 to 32 px"][1])
    assert sum(size.objects for size in result.by_size) == result.objects


def test_calibration_by_hand(found, shown):
    rows = [(ONE, 0.95, 0), (TWO, 0.85, 0), (AWAY, 0.81, 0), ([500, 0, 505, 5], 1.0, 0)]
    result = evaluate([found(*rows)], [shown((ONE, 0), (TWO, 0))], ["a"], resamples=0)
    calibration = result.calibration
    assert calibration.numbers.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 2, 2]
    assert calibration.precisions[8:].tolist() == [0.5, 0.5]
    assert calibration.mean_scores[8:].tolist() == pytest.approx([0.83, 0.975])
    assert np.isnan(calibration.precisions[:8]).all()
    assert calibration.error == pytest.approx((0.33 + 0.475) / 2)


def test_only_so_many_hard_images_and_none_without_errors(draw, found, shown):
    case = draw(1)
    everything = evaluate(*case, resamples=0).hardest
    errors = [image.errors for image in everything]
    assert errors == sorted(errors, reverse=True)
    assert [i.index for i in evaluate(*case, resamples=0, hardest=3).hardest] == [
        i.index for i in everything[:3]
    ]
    perfect = evaluate([found((ONE, 0.9, 0))], [shown((ONE, 0))], ["a"], resamples=0)
    assert perfect.hardest == ()


@pytest.mark.parametrize("images", [0, 3])
@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("classes", [[], ["a", "b"]])
def test_nothing_found_or_nothing_there(found, shown, images, objects, classes):
    target = shown((ONE, 0), (TWO, 1)) if objects and classes else Target.empty()
    result = evaluate([found()] * images, [target] * images, classes, resamples=5)
    assert isinstance(result, Evaluation)
    some = images and objects and classes
    assert result.ap50 == 0 if some else np.isnan(result.ap50)
    assert result.objects == (2 * images if some else 0)
    assert np.isnan(result.precision)


def test_detections_only(found):
    result = evaluate(
        [found((ONE, 0.9, 0))], [Target.empty()], ["a"], score_threshold=0.5, resamples=5
    )
    assert np.isnan(result.ap)
    assert np.isnan(result.recall)
    assert result.errors.background.number == 1
    assert result.confusion.matrix.tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_detections_in_an_image_does_not_matter(draw, seed):
    detections, targets, classes = draw(seed, distinct=True)
    generator = np.random.default_rng(0)
    shuffled = [found.select(generator.permutation(len(found))) for found in detections]
    one = evaluate(detections, targets, classes, resamples=20)
    other = evaluate(shuffled, targets, classes, resamples=20)
    np.testing.assert_array_equal(list(floats_of(one)), list(floats_of(other)))


@pytest.mark.parametrize("seed", range(3))
def test_where_everything_else_is_to_be_ignored_nothing_is_wrong(draw, seed):
    detections, targets, classes = draw(seed)
    # A box without area lies in nothing.
    detections = [d.select((d.boxes[:, 2:] > d.boxes[:, :2]).all(axis=1)) for d in detections]
    whole = [
        Target(
            np.concatenate([t.boxes, np.tile([[-99, -99, 999, 999]], (len(classes), 1))]).astype(
                np.float32
            ),
            np.concatenate([t.labels, np.arange(len(classes))]),
            np.concatenate([t.ignored, np.ones(len(classes), bool)]),
        )
        for t in targets
    ]
    result = evaluate(detections, whole, classes, resamples=0)
    assert result.precision == 1
    assert result.errors.background.number == 0
    assert result.confusion.matrix[-1].sum() == 0
    assert (result.counts.predicted <= result.counts.true).all()


def test_results_can_not_be_changed(draw):
    result = evaluate(*draw(0), resamples=0)
    with pytest.raises(AttributeError):
        result.score_threshold = 1.0


def test_what_is_given_stays_as_it_is(draw):
    detections, targets, classes = draw(0)
    before = [d.boxes.copy() for d in detections] + [t.boxes.copy() for t in targets]
    evaluate(detections, targets, classes, resamples=3)
    after = [d.boxes for d in detections] + [t.boxes for t in targets]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(isinstance(d, Detections) for d in detections)


def test_cocos_limit_is_cocos_alone(found, shown):
    """Two objects and three detections, of which COCO's numbers take the best one."""
    detections = [found((ONE, 0.9, 0), (TWO, 0.8, 0), (AWAY, 0.7, 0)), found()]
    targets = [shown((ONE, 0), (TWO, 0)), shown()]
    limited, whole = (
        evaluate(detections, targets, ["cell"], score_threshold=0.5, max_detections=limit)
        for limit in (1, 3)
    )
    assert (limited.beyond_limit, limited.beyond_limit_images, limited.detections) == (2, 1, 3)
    assert limited.coco.ar_max == limited.coco.ar_1 == 0.5
    assert limited.ap50 < whole.ap50
    assert limited.ap50_interval != whole.ap50_interval
    assert (whole.beyond_limit, whole.beyond_limit_images) == (0, 0)
    for one in (limited, whole):
        assert one.counts.predicted.tolist() == [3, 0]
        assert (one.recall, one.per_class[0].recall, one.voc2012) == (1, 1, 1)
        assert one.hardest[0].false_positives.boxes.tolist() == [AWAY]


def test_images_are_capped_where_what_was_left_out_would_count(found, shown):
    detections = [
        replace(found((ONE, 0.9, 0)), left_out_score=0.5, path=Path("a.jpg")),
        replace(found((ONE, 0.9, 0)), left_out_score=0.4),
        found(),
    ]
    targets = [shown((ONE, 0)), shown(), shown()]
    result = evaluate(detections, targets, ["cell"], score_threshold=0.5, resamples=0)
    assert [(image.index, image.name) for image in result.capped] == [(0, "a.jpg")]
    result = evaluate(detections, targets, ["cell"], score_threshold=0.2, resamples=0)
    assert [image.name for image in result.capped] == ["a.jpg", "image 1"]


def test_the_limit_leaves_nothing_out_of_what_windows_found():
    few, many = (
        Detections(np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.zeros(n, np.int64))
        for n in (3, 250)
    )
    assert limit_of([], 100) == 100
    assert limit_of([few], 100) == 100
    assert limit_of([few, many], 100) == 250
