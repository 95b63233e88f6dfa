from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foveal.data.dataset import Dataset, Record
from foveal.data.formats import read
from foveal.data.formats.coco_results import LEFT_OUT, category_labels, read_results
from foveal.data.opening import DataOptions, open_data
from foveal.errors import DataError

GOOD = {"image_id": 20, "category_id": 9, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.fixture
def truth(tmp_path) -> Path:
    path = tmp_path / "truth.json"
    document = {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 80}
            for number in (20, 10)
        ],
        "categories": [{"id": 9, "name": "cell"}, {"id": 4, "name": "dot"}],
        "annotations": [],
    }
    path.write_text(json.dumps(document))
    return path


def write(folder: Path, value: object) -> Path:
    path = folder / "results.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def load(truth: Path, value: object):
    data = read(truth)
    labels = category_labels(truth, data.classes)
    return read_results(write(truth.parent, value), data, labels=labels)


def load_as(truth: Path, value: object, boxes: str):
    data = read(truth)
    labels = category_labels(truth, data.classes)
    return read_results(write(truth.parent, value), data, labels=labels, boxes=boxes)


def test_ids_are_those_of_the_data_set(truth):
    found = load(
        truth,
        [
            {**GOOD, "score": 0.25},
            {**GOOD, "category_id": 4, "score": 0.75},
            {**GOOD, "image_id": 10, "bbox": [0.5, 0, 10.25, 20]},
        ],
    )
    # Images as in the file, classes by the order of their ids: dot (4), cell (9).
    first, second = found
    assert first.classes == ("dot", "cell")
    assert (first.path.name, first.width, first.height) == ("20.jpg", 100, 80)
    assert first.labels.tolist() == [0, 1]
    assert first.scores.tolist() == [0.75, 0.25]
    assert first.boxes.tolist() == [[1, 2, 4, 6]] * 2
    assert second.boxes.tolist() == [[0.5, 0, 10.75, 20]]
    assert (first.boxes.dtype, first.scores.dtype, first.labels.dtype) == (
        np.float32,
        np.float32,
        np.int64,
    )


def test_no_results_at_all(truth):
    assert [len(found) for found in load(truth, [])] == [0, 0]


def test_categories_that_are_left_out_are_dropped(truth):
    data = read(truth).ignoring(["dot"])
    labels = category_labels(truth, data.classes)
    assert labels == {9: 0, 4: LEFT_OUT}
    path = write(truth.parent, [GOOD, {**GOOD, "category_id": 4}])
    assert [len(found) for found in read_results(path, data, labels=labels)] == [1, 0]


def test_other_formats_have_ids_from_one(tmp_path):
    (tmp_path / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax,label\na.jpg,1,1,5,5,cell\n")
    assert category_labels(tmp_path / "boxes.csv", ["cell", "dot"]) == {1: 0, 2: 1}
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    records = tuple(Record(tmp_path / name, 9, 9, *empty) for name in ("a.jpg", "b.jpg"))
    path = write(tmp_path, [{**GOOD, "image_id": 2, "category_id": 1}])
    found = read_results(path, Dataset(records, ("cell",), tmp_path), labels={1: 0})
    assert [len(each) for each in found] == [0, 1]


def test_what_predict_writes_is_matched_by_name(truth):
    from foveal.outputs.files import write_coco

    detections = load(truth, [GOOD, {**GOOD, "image_id": 10, "category_id": 4}])
    detections[0] = replace(detections[0], left_out_score=0.4)
    backwards = [replace(found, classes=("dot", "cell")) for found in reversed(detections)]
    path = truth.parent / "detections.json"
    write_coco(path, backwards)
    data = read(truth)
    again = read_results(path, data, labels={})
    for one, other in zip(detections, again, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.left_out_score == other.left_out_score


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        (DataOptions(rename={"cell": "dot"}), {9: 0, 4: 0}),
        (DataOptions(rename={"cell": "spot"}, only=("spot",)), {9: 0, 4: LEFT_OUT}),
        (DataOptions(rename={"cell": "spot"}, ignore=("spot",)), {9: LEFT_OUT, 4: 0}),
    ],
)
def test_categories_are_renamed_and_chosen_as_the_data_sets_classes_were(truth, options, labels):
    data = open_data(truth, options)
    assert category_labels(truth, data.classes, options) == labels
    document = json.loads(truth.read_text())
    document["annotations"] = [{**GOOD, "category_id": number} for number in (9, 4)]
    path = write(truth.parent, document)  # names its own classes
    found = read_results(path, data, labels={}, options=options)
    assert found[0].labels.tolist() == [label for label in labels.values() if label != LEFT_OUT]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "is empty"),
        ("[{", "is not JSON"),
        ({"results": []}, "holds no results. Expected a list"),
        ([GOOD, 7], "entry 2: is 7"),
        ([GOOD, {**GOOD, "image_id": 21}], "entry 2: image_id 21 is not in the data set"),
        ([{**GOOD, "image_id": [20]}], r"entry 1: image_id \[20\] is not in"),
        ([{**GOOD, "category_id": 1}], "entry 1: category_id 1 is not in the data set"),
        ([{"image_id": 20, "category_id": 9, "score": 1}], "entry 1: has no bbox"),
        ([GOOD, {**GOOD, "bbox": [1, 2, 3]}], r"entry 2: bbox \[1, 2, 3\]"),
        ([{**GOOD, "bbox": [1, 2, -3, 4]}], "sides of 0 or more"),
        ([{**GOOD, "bbox": "1 2 3 4"}], "entry 1: bbox '1 2 3 4'"),
        ([{**GOOD, "bbox": [[1, 2, 3, 4]]}], "entry 1: bbox"),
        ([{**GOOD, "score": None}], "score None"),
        ([{**GOOD, "score": "high"}], "score 'high'"),
        ('[{"image_id": 20, "category_id": 9, "bbox": [1, 2, 3, 4], "score": NaN}]', "score nan"),
        ({"annotations": [], "images": [{}]}, "images or categories can't be read"),
    ],
)
def test_faults_are_named(truth, value, message):
    with pytest.raises(DataError, match=message):
        load(truth, value)


def test_ids_and_numbers_may_be_text(truth, caplog):
    text = {"image_id": "20", "category_id": "9", "bbox": ["1", "2", "3", "4"], "score": "0.5"}
    first, second = load(truth, [text, GOOD])
    assert first.boxes.tolist() == [[1, 2, 4, 6]] * 2
    assert len(second) == 0
    assert "written as text (1 x)" in caplog.text


def test_a_mask_alone_gives_its_extent(truth, caplog):
    entry = {k: v for k, v in GOOD.items() if k != "bbox"}
    outlines = [[[1, 2, 4, 2, 4, 6]], {"counts": [82, 4, 76, 4, 76, 4, 74], "size": [80, 4]}]
    first, _ = load(truth, [entry | {"segmentation": outline} for outline in outlines])
    assert first.boxes.tolist() == [[1, 2, 4, 6]] * 2
    assert "the extent of the segmentation is the box (2 x)" in caplog.text


def test_images_may_be_named_by_their_files_if_all_are(truth, caplog):
    named = [{**GOOD, "image_id": name} for name in ("20.jpg", "10.jpg")]
    assert [len(found) for found in load(truth, named)] == [1, 1]
    assert "image_id is the name of the image's file" in caplog.text
    with pytest.raises(DataError, match=r"entry 1: image_id '20\.jpg' is not in the data set"):
        load(truth, [*named, {**GOOD, "image_id": "30.jpg"}])


CORNERS = [
    {**GOOD, "bbox": [60 + i, 40, 90 + i, 70], "image_id": 10 + 10 * (i % 2)} for i in range(9)
]


def test_corners_are_recognized_and_read_as_told(truth):
    with pytest.raises(DataError, match=r"9 of 9 boxes can't be .*--result-boxes xyxy") as caught:
        load(truth, CORNERS)
    assert "results.json" in str(caught.value)
    data = read(truth)
    labels = category_labels(truth, data.classes)
    path = truth.parent / "results.json"
    found = read_results(path, data, labels=labels, boxes="xyxy")
    assert found[1].boxes[0].tolist() == [60, 40, 90, 70]
    assert read_results(path, data, labels=labels, boxes="xywh")[1].boxes[0, 2] == 60 + 90
    with pytest.raises(DataError, match="entry 1: the box can't be two corners with y before x"):
        load_as(truth, [{**GOOD, "bbox": [5, 5, 9, 2]}], "yxyx")


def test_shares_in_results_are_recognized(truth):
    with pytest.raises(DataError, match=r"--result-boxes xywh\+shares"):
        load(truth, [{**GOOD, "bbox": [0.1, 0.2, 0.3, 0.4]}] * 6)
    (first, _) = load_as(truth, [{**GOOD, "bbox": [0.1, 0.2, 0.3, 0.4]}], "shares")
    assert first.boxes.tolist() == [pytest.approx([10, 16, 40, 48])]


def test_results_that_leave_their_images_a_little_are_let_be(truth):
    (first, _) = load(truth, [{**GOOD, "bbox": [90 - i, 70, 12, 12]} for i in range(9)])
    assert len(first) == 9
