"""Label Studio: JSON and JSON-MIN, shapes in percent, tasks annotated once, twice or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.data.formats import read
from foveal.errors import DataError

RECTANGLE = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0}


def result(value: dict[str, Any], *labels: str, **fields: Any) -> dict[str, Any]:
    value = value | ({"rectanglelabels": list(labels)} if labels else {})
    return {"original_width": 64, "original_height": 48, "type": "x", "value": value} | fields


def task(*annotations: Any, key: int = 1, image: str = "a.png", **fields: Any) -> dict[str, Any]:
    return {"id": key, "data": {"image": image}, "annotations": list(annotations)} | fields


def done(*results: Any, **fields: Any) -> dict[str, Any]:
    return {"id": 9, "result": list(results), "was_cancelled": False} | fields


def lay(file: Path, *tasks: Any) -> Path:
    file.write_text(json.dumps(list(tasks)))
    return file


@pytest.fixture(autouse=True)
def image(tmp_path: Path, picture: Callable[..., Path]) -> Path:
    return picture(tmp_path / "images/a.png")


def test_shapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shapes = [
        RECTANGLE,
        RECTANGLE | {"rotation": 90, "x": 75},
        {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "rotation": 0},
        {"points": [[25, 25], [75, 25], [50, 100]], "closed": True},
        {"format": "rle", "rle": [1, 2, 3]},
        {"x": 50, "y": 50, "width": 1},
        {"vertices": []},
        {"choices": ["blurred"]},
    ]
    results = [result(shape, "red", id=f"r{i}") for i, shape in enumerate(shapes)]
    data = read(lay(tmp_path / "p.json", task(done(*results))))
    assert data.classes == ("red",)
    assert data.records[0].boxes.tolist() == [
        [16, 12, 48, 36],
        pytest.approx([24, 12, 48, 44]),
        [16, 12, 48, 36],
        [16, 12, 48, 48],
    ]
    assert "3 x no box. Left out" in caplog.text


def test_shape_and_label_may_be_two_results_of_one_region(tmp_path: Path) -> None:
    results = [
        result(RECTANGLE, id="r1", type="rectangle"),
        result({**RECTANGLE, "labels": ["red"]}, id="r1", type="labels"),
        result(RECTANGLE, "blue", id="r2", meta={"text": ["ignored"]}),
    ]
    record = read(lay(tmp_path / "p.json", task(done(*results)))).records[0]
    assert record.boxes.tolist() == [[16, 12, 48, 36]] * 2
    assert record.labels.tolist() == [1, 0]
    assert record.ignored.tolist() == [False, True]


def test_a_choice_for_a_region_is_its_class_where_it_has_no_label(tmp_path: Path) -> None:
    results = [
        result(RECTANGLE, id="r1", type="rectangle"),
        result({**RECTANGLE, "choices": ["red"]}, id="r1", type="choices"),
        result({"choices": ["blurred"]}, id="r2", type="choices"),
    ]
    data = read(lay(tmp_path / "p.json", task(done(*results))))
    assert data.classes == ("red",)
    assert [len(record) for record in data] == [1]


def test_one_annotation_of_a_task_counts(
    tmp_path: Path, picture: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b.png", "c.png", "d.png"):
        picture(tmp_path / "images" / name)
    file = lay(
        tmp_path / "p.json",
        task(done(result(RECTANGLE, "no"), was_cancelled=True), done(result(RECTANGLE, "first")),
             done(result(RECTANGLE, "second"))),
        task(done(result(RECTANGLE, "third")), done(result(RECTANGLE, "truth"), ground_truth=True),
             key=2, image="b.png"),
        task(done(was_cancelled=True), key=3, image="c.png"),
        task(done(), key=4, image="d.png"),
        {"id": 5, "data": {"image": "e.png"}, "predictions": [done(result(RECTANGLE, "guess"))]},
        task(key=6, image="f.png", completions=[]),
    )  # fmt: skip
    data = read(file)
    assert [record.path.name for record in data] == ["a.png", "b.png", "d.png"]
    assert data.classes == ("first", "truth")
    assert [len(record) for record in data] == [1, 1, 0]
    assert [record.image_id for record in data] == [1, 2, 4]
    assert "one is read: ground truth, else the first completed (2 x, first: p.json, task 1)" in (
        caplog.text
    )
    assert "Tasks without a completed annotation are left out (3 x" in caplog.text


def test_json_min(tmp_path: Path, image: Path, caplog: pytest.LogCaptureFixture) -> None:
    shape = RECTANGLE | {"rectanglelabels": ["red"], "original_width": 64, "original_height": 48}
    entry = {"image": "/data/upload/1/3f2a1b9c-a.png", "id": 1, "annotator": 1, "annotation_id": 4}
    other = entry | {"label": [shape, shape], "annotation_id": 5}
    data = read(lay(tmp_path / "p.json", entry | {"label": [shape]}, other))
    assert data.paths == [image]
    assert data.records[0].boxes.tolist() == [[16, 12, 48, 36]]
    assert "Of several annotations of a task" in caplog.text
    data = read(lay(tmp_path / "p.json", entry))
    assert [len(record) for record in data] == [0]


@pytest.mark.parametrize(
    "name",
    [
        "/data/local-files/?d=images/a.png",
        "/data/upload/3/0a1b2c3d-a.png",
        "s3://bucket/x/a.png",
        "https://example.org/x/a.png?X-Amz-Signature=5",
    ],
)
@pytest.mark.parametrize("field", ["image", "scan"])
def test_names_of_images(name: str, field: str, tmp_path: Path, image: Path) -> None:
    entry = task(done(result(RECTANGLE, "red"))) | {"data": {"note": "text", field: name}}
    assert read(lay(tmp_path / "p.json", entry)).paths == [image]


def test_sizes_that_are_not_said_come_from_the_image(tmp_path: Path) -> None:
    bare = {"value": RECTANGLE | {"rectanglelabels": ["red"]}}
    record = read(lay(tmp_path / "p.json", task(done(bare)))).records[0]
    assert record.boxes.tolist() == [[16, 12, 48, 36]]
    with pytest.raises(DataError, match="neither original_width nor the image says"):
        read(lay(tmp_path / "p.json", task(done(bare), image="gone.png")))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (task(done(result({"x": "left", "width": 3, "height": 4}, "red"))), "task 1, region 1"),
        (task(done(result({"points": [[1]]}, "red"))), "task 1, region 1: the shape is"),
        (task(done("x")), "task 1, result 1: the entry is 'x'"),
        (task(done()) | {"data": {"text": "hello"}}, "task 1: its data name no image"),
        (task(annotations=3), 'task 1: "annotations" is 3'),
        (task(done(result(RECTANGLE, "red", original_width=-1))), "original_width is '-1'"),
    ],
)
def test_a_broken_task_is_named(entry: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(lay(tmp_path / "p.json", entry), "label_studio")
