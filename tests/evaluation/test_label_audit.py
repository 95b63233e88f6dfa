"""Which labels are disputed, by hand: a few cells whose detections are as sure as they say."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.errors import DataError
from foveal.evaluation.label_audit import Dispute, LabelAudit, audit_labels
from foveal.structures import Detections, Target

CELLS = [(20.0 * n, 0.0, 20.0 * n + 10, 10.0) for n in range(8)]
"""Cells that are apart from one another."""


def target(boxes, labels=None, ignored=()):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels, np.int64)
    regions = np.isin(np.arange(len(boxes)), ignored)
    return Target(boxes, labels, regions)


def found(boxes, scores=None, labels=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.full(len(boxes), 0.9) if scores is None else np.array(scores)
    labels = np.zeros(len(boxes), np.int64) if labels is None else np.array(labels, np.int64)
    return Detections(boxes, scores.astype(np.float32), labels)


def audit(detections, targets, classes=2) -> LabelAudit:
    return audit_labels(detections, targets, classes=classes)


def test_labels_that_fit_are_hardly_disputed():
    every = audit([found(CELLS)], [target(CELLS)])
    assert every.labels == 8
    assert len(every.above(0.2)) == 0


def test_an_object_without_a_label():
    first = audit([found(CELLS)], [target(CELLS[:-1])])[0]
    assert first.kind is Dispute.MISSING
    assert first.score > 0.7
    assert (first.index, first.label, first.box) == (None, None, None)
    assert first.suggested_label == 0
    assert first.suggested_box.tolist() == list(CELLS[-1])
    assert first.detection_score == pytest.approx(0.9)


def test_a_label_without_an_object():
    first = audit([found(CELLS[:-1])], [target(CELLS)])[0]
    assert (first.kind, first.index, first.label) == (Dispute.NOTHING_THERE, 7, 0)
    assert first.score == 1
    assert first.removes
    assert (first.suggested_label, first.suggested_box, first.detection_score) == (None,) * 3


def test_a_label_of_another_class_keeps_its_box():
    near = [(x, y, right + 1, bottom) for x, y, right, bottom in CELLS]
    first = audit([found(near)], [target(CELLS, [0, 0, 1, 0, 0, 0, 0, 0])])[0]
    assert (first.kind, first.index, first.label) == (Dispute.OTHER_CLASS, 2, 1)
    assert first.score > 0.7
    assert first.suggested_label == 0
    assert first.suggested_box.tolist() == list(CELLS[2])
    assert first.detection_box.tolist() == list(near[2])


def test_two_classes_that_the_model_wavers_between_are_hardly_disputed():
    both = found([CELLS[0], CELLS[0]], [0.6, 0.55], [0, 1])
    sure = found([CELLS[0], CELLS[0]], [0.9, 0.05], [0, 1])
    wrong = target([CELLS[0]], [1])
    assert audit([both], [wrong])[0].score < audit([sure], [wrong])[0].score - 0.2


@pytest.mark.parametrize("shift", [3.5, 5.0])
def test_a_box_that_went_astray_is_one_dispute(shift):
    boxes = [*CELLS[:-1], tuple(side + shift * (1 - n % 2) for n, side in enumerate(CELLS[-1]))]
    every = audit([found(CELLS)], [target(boxes)]).above(0.2)
    assert [(one.kind, one.index) for one in every] == [(Dispute.LOOSE_BOX, 7)]
    assert every[0].suggested_box.tolist() == list(CELLS[-1])


def test_two_labels_on_one_object():
    twice = (0.5, 0.0, 10.5, 10.0)
    every = audit([found(CELLS)], [target([*CELLS, twice])]).above(0.2)
    assert [(one.kind, one.index) for one in every] == [(Dispute.DOUBLE, 8)]
    # Where a detection stands for each of the two, they are two objects.
    apart = [(0.0, 0.0, 10.0, 10.0), (3.0, 0.0, 13.0, 10.0)]
    assert len(audit([found(apart)], [target(apart)]).above(0.2)) == 0
    assert audit([found([])], [target(apart)]).counts()[Dispute.DOUBLE] == 1


def test_of_two_labels_at_a_place_that_of_the_other_class_is_spare():
    every = audit([found(CELLS)], [target([CELLS[0], *CELLS], [1, *[0] * 8])])
    assert (every[0].kind, every[0].index) == (Dispute.DOUBLE, 0)


def test_regions_to_ignore_are_neither_audited_nor_missing():
    region = (0.0, 0.0, 60.0, 10.0)
    every = audit([found(CELLS)], [target([region, *CELLS[3:]], [1, *[0] * 5], ignored=[0])])
    assert every.labels == 5
    assert len(every.above(0.2)) == 0
    lonely = audit([found([])], [target([region], ignored=[0])])
    assert (lonely.labels, len(lonely)) == (0, 0)


def test_indices_are_those_of_the_target_and_of_the_detections_as_given():
    region = (300.0, 0.0, 310.0, 10.0)
    detections = found([CELLS[1], CELLS[0]], [0.3, 0.8])
    every = audit([found([]), detections], [target([]), target([region, CELLS[1]], ignored=[0])])
    missing = next(one for one in every if one.kind is Dispute.MISSING)
    assert missing.image == 1
    assert missing.detection_score == pytest.approx(0.8)
    assert missing.detection_box.tolist() == list(CELLS[0])
    assert [one.index for one in every if one.index is not None] == [1]


def test_guesses_at_one_object_are_one_place():
    guesses = found([CELLS[0], CELLS[0], CELLS[0]], [0.9, 0.8, 0.7], [0, 1, 0])
    every = audit([guesses], [target([])])
    assert every.counts()[Dispute.MISSING] == 1
    assert every[0].detection_score == pytest.approx(0.9)


@pytest.mark.parametrize("images", [0, 1, 3])
def test_no_objects_and_no_detections(images):
    every = audit([found([])] * images, [target([])] * images)
    assert (every.labels, len(every), list(every)) == (0, 0, [])
    assert set(every.counts().values()) == {0}


def test_what_is_disputed_very_often_is_worth_less():
    """A class that half of the labels leave out is a habit; a label in the open is not."""
    detections = [found(CELLS)] * 20
    targets = [target(CELLS[:4])] * 19 + [target([*CELLS, (500, 0, 510, 10)])]
    every = audit(detections, targets)
    assert every[0].kind is Dispute.NOTHING_THERE
    scores = every.scores[every.kinds == list(Dispute).index(Dispute.MISSING)]
    assert scores[0] > 10 * scores[-1]
    assert (np.diff(every.scores) <= 0).all()


def test_scores_are_read_as_how_often_detections_are_right():
    """Two models that find the same, one with low scores, dispute alike."""
    many = [(20.0 * n, 0.0, 20.0 * n + 10, 10.0) for n in range(400)]
    targets = [target(many[:-1])]
    shy, bold = (audit([found(many, [score] * 400)], targets)[0] for score in (0.3, 0.9))
    assert shy.kind is bold.kind is Dispute.MISSING
    assert shy.score == pytest.approx(bold.score, abs=0.1)
    assert shy.score > 0.9


@pytest.mark.parametrize(
    ("detections", "targets", "message"),
    [
        ([], [target([])], "detections of 0 images"),
        ([found(CELLS[:1], labels=[5])], [target([])], "label 5 is unknown"),
        ([found([])], [target(CELLS[:1], [2])], "label 2 is unknown"),
    ],
)
def test_what_does_not_belong_together(detections, targets, message):
    with pytest.raises(DataError, match=message):
        audit(detections, targets)


def test_best_and_above():
    every = audit([found(CELLS[:6])], [target(CELLS)])
    assert [len(every.best(n)) for n in (0, 1, 99)] == [0, 1, len(every)]
    assert every.best(1)[0].index == every[0].index
    assert len(every.above(0.9)) == 2


def test_how_many_labels_the_model_sees():
    every = audit([found(CELLS[:2])], [target(CELLS)])
    assert (every.seen, every.labels) == (2, 8)
    assert every.best(0).seen == 2
    assert audit([found(CELLS, labels=[1] * 8)], [target(CELLS)]).seen == 0
