"""What an audit suggests, as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import foveal
from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.evaluation.label_audit import audit_labels
from foveal.outputs.label_suggestions import (
    corrected,
    rows_of_audit,
    write_suggestion_table,
    write_suggestions,
)
from foveal.structures import Detections

CELLS = [(20.0 * n, 0.0, 20.0 * n + 10, 10.0) for n in range(10)]
MOVED = (104.0, 0.0, 114.0, 10.0)
BOXES = [CELLS[9], CELLS[0], CELLS[1], *CELLS[3:5], MOVED, CELLS[6], CELLS[6], CELLS[7]]
"""A region to ignore, a cell, one of another class, cells, one moved, one twice, one not there."""
LABELS = [ANY_CLASS, 0, 1, 0, 0, 0, 0, 0, 0]


@pytest.fixture
def data(tmp_path) -> Dataset:
    record = Record(
        path=tmp_path / "images" / "a.png",
        width=200,
        height=20,
        boxes=np.array(BOXES, np.float32),
        labels=np.array(LABELS, np.int64),
        ignored=np.arange(len(BOXES)) == 0,
        areas=np.full(len(BOXES), 50.0),
        flags={
            "difficult": (False,) * len(BOXES),
            "segmentation": tuple([list(box)] for box in BOXES),
        },
        image_id=7,
    )
    empty = Record(
        path=tmp_path / "images" / "b.png",
        width=200,
        height=20,
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        ignored=np.zeros(0, np.bool_),
        image_id=3,
    )
    return Dataset((record, empty), ("cell", "dot"), tmp_path)


@pytest.fixture
def suggestions(data):
    """All kinds of them: the model sees cells 0 to 6, the third of which has no label."""
    seen = Detections(
        np.array(CELLS[:7], np.float32),
        np.full(7, 0.9, np.float32),
        np.zeros(7, np.int64),
        classes=data.classes,
    )
    nothing = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0), classes=data.classes)
    return audit_labels([seen, nothing], data.targets, classes=2).above(0.3)


def test_rows_name_the_labels_of_the_record(data, suggestions, tmp_path):
    rows = {row.kind: row for row in rows_of_audit(suggestions, data, tmp_path)}
    assert {kind: row.label_index for kind, row in rows.items()} == {
        "missing": None,
        "nothing there": 8,
        "other class": 2,
        "loose box": 5,
        "double": 7,
    }
    assert rows["missing"].bbox is None
    assert rows["missing"].suggested_bbox == (40, 0, 10, 10)
    assert rows["other class"].label == "dot"
    assert rows["other class"].suggested_label == "cell"
    assert rows["double"].suggested_label is rows["double"].suggested_bbox is None
    assert rows["loose box"].image == "images/a.png"


def test_all_suggestions_taken_over(data, suggestions):
    record, empty = corrected(data, suggestions).records
    assert empty == data.records[1] or len(empty) == 0
    assert sorted(record.boxes[~record.ignored].tolist()) == [list(box) for box in CELLS[:7]]
    assert record.labels.tolist() == [ANY_CLASS, *[0] * 7]
    assert record.ignored.tolist() == [True, *[False] * 7]
    loose = record.boxes.tolist().index(list(CELLS[5]))
    assert record.areas is not None
    assert record.areas[loose] == 100
    assert record.flags["segmentation"][loose] is None
    assert record.flags["attributes"][loose]["kind"] == "loose box"
    assert record.flags["attributes"][1] is None
    assert record.flags["difficult"][-1] is False
    assert len(data.records[0]) == len(BOXES), "the data stay as they are"


def test_files_can_be_read(data, suggestions, tmp_path):
    file, table = tmp_path / "suggestions.json", tmp_path / "suggestions.csv"
    write_suggestions(file, suggestions, data, left_out=4)
    write_suggestion_table(table, suggestions, data)
    document = json.loads(file.read_text())
    assert (document["schema"], document["audited_labels"], document["left_out"]) == (
        "foveal-audit",
        8,
        4,
    )
    assert [image["id"] for image in document["images"]] == [7, 3]
    assert sum(document["by_kind"].values()) == len(document["suggestions"]) == 5
    numbers = {
        one["attributes"]["suggestion"]
        for one in document["annotations"]
        if "suggestion" in one.get("attributes", {})
    }
    gone = {"nothing there", "double"}
    assert numbers == {s["number"] for s in document["suggestions"] if s["kind"] not in gone}
    again = foveal.read(file)
    assert [len(record) for record in again] == [9, 0], "the region once for each class"
    with table.open() as stream:
        lines = list(csv.DictReader(stream))
    assert [line["kind"] for line in lines] == [s["kind"] for s in document["suggestions"]]
    missing = next(line for line in lines if line["kind"] == "missing")
    assert (missing["xmin"], missing["suggested_xmin"], missing["suggested_xmax"]) == (
        "",
        "40.0",
        "50.0",
    )


def test_nothing_is_suggested(data, suggestions, tmp_path):
    none = suggestions.best(0)
    write_suggestions(tmp_path / "none.json", none, data)
    write_suggestion_table(tmp_path / "none.csv", none, data)
    assert json.loads((tmp_path / "none.json").read_text())["suggestions"] == []
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1
    assert Path(corrected(data, none).records[0].path) == data.records[0].path
