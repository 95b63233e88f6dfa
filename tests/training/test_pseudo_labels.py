"""From which score on detections are labels, and what becomes of the others: by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import Dataset, Record
from foveal.structures import Detections, Target
from foveal.training.pseudo_labels import (
    SureScore,
    describe_pseudo_labels,
    describe_sure_scores,
    label_images,
    least_score,
    sure_scores,
)

CLASSES = ("red", "white")


def detected(rows: list[tuple[float, float, int]], **more: float) -> Detections:
    """Detections 10 pixels wide, each (left edge, score, label)."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    labels = np.array([label for *_, label in rows], np.int64)
    return Detections(boxes, scores, labels, classes=CLASSES, width=500, height=20, **more)


def shown(rows: list[tuple[float, int]], ignored: list[bool] | None = None) -> Target:
    boxes = np.array([[x, 0, x + 10, 10] for x, _ in rows], np.float32).reshape(-1, 4)
    labels = np.array([label for _, label in rows], np.int64)
    return Target(boxes, labels, np.array(ignored or [False] * len(rows), np.bool_))


def test_the_lowest_score_that_reaches_the_precision_by_hand() -> None:
    # Of red right, right, wrong, right ...: 1, 1, 2/3, 3/4, 4/5 and, with a last wrong one, 4/6.
    found = detected(
        [(0, 0.9, 0), (20, 0.8, 0), (300, 0.7, 0), (40, 0.6, 0), (60, 0.5, 0), (400, 0.4, 0)]
    )
    target = shown([(0, 0), (20, 0), (40, 0), (60, 0), (80, 1)])

    def red(precision: float) -> SureScore:
        return sure_scores([found], [target], CLASSES, precision=precision)[0]

    assert red(0.9) == SureScore("red", pytest.approx(0.8), 2, 2)
    assert red(0.8) == SureScore("red", pytest.approx(0.5), 5, 4)
    assert red(0.6) == SureScore("red", pytest.approx(0.4), 6, 4)
    assert sure_scores([found], [target], CLASSES)[1] == SureScore("white", None)


def test_equal_scores_are_taken_together() -> None:
    found = detected([(0, 0.9, 0), (300, 0.9, 0), (20, 0.5, 0)])
    assert sure_scores([found], [shown([(0, 0), (20, 0)])], CLASSES)[0].score is None


def test_a_class_that_is_never_right_and_images_without_anything() -> None:
    nothing, empty = detected([]), shown([])
    assert [each.score for each in sure_scores([nothing], [empty], CLASSES)] == [None, None]
    assert [each.score for each in sure_scores([], [], CLASSES)] == [None, None]
    wrong = detected([(0, 0.9, 0)])
    assert sure_scores([wrong], [empty], CLASSES)[0].score is None


def test_what_lies_in_a_region_to_ignore_is_neither() -> None:
    found = detected([(0, 0.9, 0), (100, 0.8, 0)])
    sure = sure_scores([found], [shown([(0, 0), (100, 0)], [False, True])], CLASSES)
    assert sure[0] == SureScore("red", pytest.approx(0.9), 1, 1)


SURE = (SureScore("red", 0.6, 30, 28), SureScore("white", None))


def images(count: int) -> Dataset:
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    records = tuple(Record(Path(f"/nowhere/{n}.jpg"), 0, 0, *nothing) for n in range(count))
    return Dataset(records, CLASSES, Path("/nowhere"))


def test_sure_ones_become_labels_and_others_regions_to_ignore_by_hand() -> None:
    first = detected([(0, 0.9, 0), (20, 0.8, 1), (40, 0.6, 0), (60, 0.5, 0), (80, 0.05, 0)])
    unsure = detected([(0, 0.5, 0), (20, 0.99, 1)])
    made = label_images(images(3), [first, unsure, detected([])], SURE, ignored_from=0.1)
    assert [record.path.name for record in made.data] == ["0.jpg"]
    record = made.data.records[0]
    assert record.boxes[:, 0].tolist() == [0, 20, 40, 60]
    assert record.labels.tolist() == [0, 1, 0, 0]
    assert record.ignored.tolist() == [False, True, False, True]
    assert (record.width, record.height) == (500, 20)
    assert record.flags["score"] == (0.9, 0.8, 0.6, 0.5)
    assert (made.counts, made.uncertain, made.nothing_sure, made.capped) == ((2, 0), 2, 2, 0)
    assert "2 labels in 1 unlabeled image (2 red), and 2 regions to ignore." in (
        describe_pseudo_labels(made)
    )
    assert "2 images in which nothing is sure are left out" in describe_pseudo_labels(made)


def test_a_label_is_one_however_low_its_score() -> None:
    sure = (SureScore("red", 0.05, 9, 9), SureScore("white", None))
    found = detected([(0, 0.06, 0), (20, 0.06, 1)], left_out_score=0.05)
    made = label_images(images(1), [found], sure, ignored_from=0.1)
    assert made.data.records[0].labels.tolist() == [0]
    assert made.capped == 1
    assert "more was found than the limit" in describe_pseudo_labels(made)
    assert [least_score(each, ignored_from=0.1) for each in (sure, SURE, ())] == [0.05, 0.1, 0.1]


def test_nothing_is_labeled_without_images_or_without_a_sure_class() -> None:
    made = label_images(images(0), [], SURE, ignored_from=0.1)
    assert (len(made.data), made.counts, made.nothing_sure) == (0, (0, 0), 0)
    never = (SureScore("red", None), SureScore("white", None))
    made = label_images(images(1), [detected([(0, 0.99, 0)])], never, ignored_from=0.1)
    assert (len(made.data), made.counts, made.nothing_sure) == (0, (0, 0), 1)


def test_the_scores_in_words() -> None:
    lines = describe_sure_scores(SURE)
    assert "red from 0.60 (28 of 30 right)" in lines[0]
    assert "No score of white reaches 90%" in lines[1].replace(" %", "%")
    assert len(lines) == 2
    assert "decide about red" in describe_sure_scores([SureScore("red", 0.4, 3, 3)])[1]
