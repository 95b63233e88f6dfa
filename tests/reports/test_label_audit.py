"""The page of an audit: what a crop shows, and of large images nothing else is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import Dataset, Record
from foveal.evaluation.label_audit import Dispute, audit_labels
from foveal.reports import label_audit
from foveal.reports.label_audit import in_words, summary_of, weakness_of, write_audit_report
from foveal.structures import Detections

SIDE = 900


@pytest.fixture
def data(tmp_path) -> Dataset:
    """A large image with a label at its corner, which is a cell of another class, and no other."""
    Image.fromarray(np.full((SIDE, SIDE), 90, np.uint8)).save(tmp_path / "large.png")
    record = Record(
        tmp_path / "large.png",
        SIDE,
        SIDE,
        np.array([[SIDE - 40, SIDE - 30, SIDE, SIDE]], np.float32),
        np.array([1]),
        np.array([False]),
    )
    return Dataset((record,), ("cell", "<dot>"), tmp_path)


def suggestions(data, *, count=1):
    """That label is a cell, and there is one more."""
    boxes = np.array([[SIDE - 40, SIDE - 30, SIDE, SIDE], [0, 0, 50, 30]][:count], np.float32)
    found = Detections(boxes, np.full(count, 0.9), np.zeros(count), classes=data.classes)
    return audit_labels([found], data.targets, classes=2)


def test_a_crop_is_a_square_around_both_boxes_inside_the_image(data):
    for box in ([0, 0, 30, 20], [SIDE - 40, SIDE - 30, SIDE, SIDE], [400, 300, 480, 330]):
        left, top, right, bottom = label_audit._window(np.array([box], np.float32), SIDE, SIDE)
        assert right - left == bottom - top < 200
        assert 0 <= left <= box[0] < box[2] <= right <= SIDE
        assert 0 <= top <= box[1] < box[3] <= bottom <= SIDE
    whole = np.array([[0, 0, 90, 20]], np.float32)
    assert label_audit._window(whole, 90, 20) == (0, 0, 90, 20)


def test_the_page_has_a_crop_for_each_suggestion(data, tmp_path):
    every = suggestions(data, count=2)
    assert {one.kind for one in every} == {Dispute.OTHER_CLASS, Dispute.MISSING}
    write_audit_report(tmp_path / "page.html", every, data, source="a model")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == 2
    assert "&lt;dot&gt;, or rather cell. large.png" in page
    assert "http" not in page.replace("http-equiv", "")
    write_audit_report(tmp_path / "page.html", every, data, source="a model", pictures=1)
    assert "The first 1 of 2 suggestions" in (tmp_path / "page.html").read_text()


def test_a_page_without_suggestions(data, tmp_path):
    none = suggestions(data).best(0)
    assert summary_of(none) == "No label is disputed among 1 label."
    write_audit_report(tmp_path / "page.html", none, data, source="a model", caution="Mind it.")
    page = (tmp_path / "page.html").read_text()
    assert "<img " not in page
    assert "Mind it." in page


def test_words_for_every_kind(data):
    (one,) = suggestions(data)
    words = {kind: in_words(replace(one, kind=kind), data) for kind in Dispute}
    assert len(set(words.values())) == len(Dispute)
    assert words[Dispute.LOOSE_BOX] == "<dot>, in another box"


def test_a_model_that_sees_little_says_little(data):
    assert "sees only 0 of 1 label: it is too weak" in weakness_of(suggestions(data))
    record = data.records[0]
    seen = Detections(record.boxes, np.array([0.9]), record.labels, classes=data.classes)
    assert weakness_of(audit_labels([seen], data.targets, classes=2)) == ""
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0), classes=data.classes)
    empty = data.records[0].select(np.array([False]))
    none = audit_labels([nothing], replace(data, records=(empty,)).targets, classes=2)
    assert weakness_of(none) == "", "no label is left unseen"
