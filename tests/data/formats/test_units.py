"""Boxes in another convention or unit: recognized, said, read as told; honest data are let be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from foveal.data.checks.diagnose import diagnose
from foveal.data.checks.subject import InputGrid
from foveal.data.formats import read
from foveal.data.formats.issues import AnnotationIssue
from foveal.data.formats.units import BoxReading, doubt, parse_reading, reread
from foveal.data.opening import (
    AS_FOUND,
    DataOptions,
    open_data,
    open_together,
    read_for_doctor,
)
from foveal.errors import DataError

WIDTH, HEIGHT = 320, 240
LIMITS = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float64)


def boxes(count: int = 40) -> np.ndarray:
    """Sound boxes all over the image, xyxy in pixels."""
    dice = np.random.default_rng(0)
    sides = dice.uniform(20, 60, (count, 2))
    corner = dice.uniform(0, 1, (count, 2)) * (LIMITS[:2] - sides)
    return np.concatenate([corner, corner + sides], axis=1)


def numbers(reading: str) -> np.ndarray:
    """What a file of another reading holds for these boxes."""
    convention, _, unit = reading.partition("+")
    scale = {"": 1.0, "shares": LIMITS, "percent": LIMITS / 100}[unit]
    x1, y1, x2, y2 = (boxes() / scale).T
    columns = {
        "xyxy": (x1, y1, x2, y2),
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
        "yxyx": (y1, x1, y2, x2),
    }[convention]
    return np.stack(columns, axis=1)


def lay(folder: Path, name: str, rows: np.ndarray, picture: Callable) -> Path:
    """A file of a format that holds these numbers as its boxes."""
    picture(folder / "a.png", WIDTH, HEIGHT)
    if name == "coco":
        document = {
            "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": 1, "bbox": row}
                for i, row in enumerate(rows.tolist(), 1)
            ],
        }
        (folder / "a.json").write_text(json.dumps(document))
    elif name == "csv":
        lines = [f"a.png,{','.join(map(str, row))},x" for row in rows.tolist()]
        header = "image_path,xmin,ymin,xmax,ymax,label"
        (folder / "a.csv").write_text("\n".join([header, *lines]))
    elif name == "voc":
        corners = ("xmin", "ymin", "xmax", "ymax")
        objects = "".join(
            "<object><name>x</name><bndbox>"
            + "".join(f"<{k}>{v}</{k}>" for k, v in zip(corners, row, strict=True))
            + "</bndbox></object>"
            for row in rows.tolist()
        )
        (folder / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    elif name == "yolo":
        (folder / "classes.txt").write_text("x\n")
        (folder / "a.txt").write_text("".join(f"0 {' '.join(map(str, r))}\n" for r in rows))
    elif name == "kitti":
        lines = [f"x 0 0 0 {' '.join(map(str, row))} 1 1 1 1 1 1 1\n" for row in rows.tolist()]
        (folder / "label_2").mkdir()
        (folder / "label_2/a.txt").write_text("".join(lines))
    return folder


CASES = [
    ("coco", "xyxy"), ("coco", "cxcywh"), ("coco", "xywh+shares"), ("coco", "xyxy+shares"),
    ("csv", "xywh"), ("csv", "xyxy+shares"), ("csv", "yxyx"), ("csv", "cxcywh+shares"),
    ("voc", "xywh"), ("voc", "xyxy+shares"), ("kitti", "xywh"), ("kitti", "xyxy+shares"),
    ("yolo", "xyxy+shares"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "reading"), CASES)
def test_other_readings_stop_and_are_read_as_told(
    name: str, reading: str, tmp_path: Path, picture: Callable
) -> None:
    folder = lay(tmp_path, name, numbers(reading), picture)
    with pytest.raises(DataError, match="--boxes ") as caught:
        read(folder)
    assert f"--boxes {reading}" in str(caught.value) or f" or {reading}" in str(caught.value)
    (record,) = read(folder, boxes=reading)
    np.testing.assert_allclose(record.boxes, boxes(), atol=1e-3)


@pytest.mark.parametrize("name", ["coco", "csv", "voc", "yolo", "kitti"])
def test_honest_data_are_let_be(
    name: str, tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"coco": "xywh", "yolo": "cxcywh+shares"}.get(name, "xyxy")
    (record,) = read(lay(tmp_path, name, numbers(own), picture))
    np.testing.assert_allclose(record.boxes, boxes(), atol=1e-3)
    assert not caplog.records


def test_percent_is_a_doubt(
    tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    folder = lay(tmp_path, "csv", numbers("xyxy+percent"), picture)
    read(folder)
    assert "--boxes xyxy+percent" in caplog.text
    (record,) = read(folder, boxes="percent")
    np.testing.assert_allclose(record.boxes, boxes(), atol=1e-3)


def test_the_doctor_says_it_in_place_of_sizes(tmp_path: Path, picture: Callable) -> None:
    folder = lay(tmp_path, "coco", numbers("xywh+shares"), picture)
    (reading,) = read_for_doctor([(folder, AS_FOUND)])
    findings = diagnose(reading, grid=InputGrid(None)).findings
    assert findings[0].kind == "boxes read otherwise"
    assert "--boxes xywh+shares" in findings[0].places[0]
    assert "object too small" not in {finding.kind for finding in findings}


def test_every_way_of_opening_reads_as_told(tmp_path: Path, picture: Callable) -> None:
    folder = lay(tmp_path, "coco", numbers("xyxy"), picture)
    options = DataOptions(boxes="xyxy")
    (together,) = open_together([(folder, options)])
    (reading,) = read_for_doctor([(folder, options)])
    for data in (open_data(folder, options), together, reading.dataset):
        np.testing.assert_allclose(data.records[0].boxes, boxes(), atol=1e-3)
    assert not reading.problems


def table(rows: list[list[float]], size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple:
    found = np.array(rows, np.float64).reshape(-1, 4)
    return found, np.tile(np.array(size * 2, np.float64), (len(found), 1))


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        ([], (WIDTH, HEIGHT)),
        ([[0, 0, 1, 1]] * 9, (WIDTH, HEIGHT)),  # placeholders
        ([[0, 0, WIDTH, HEIGHT]] * 9, (WIDTH, HEIGHT)),  # boxes that fill the image
        ([[0.2, 0.3, 0.8, 0.9]] * 9, (1, 1)),  # an image of one pixel
        ([[1, 1, 9, 9]] * 30, (10, 10)),
        ([[10, 20, 60, 70]] * 30, (WIDTH, HEIGHT)),  # all in one corner
        ([[10, 20, 400, 300]] * 30, (WIDTH, HEIGHT)),  # larger than the image in any reading
        ([[300, 200, 340, 250]] + [[10, 10, 60, 60]] * 30, (WIDTH, HEIGHT)),  # one leaves it
        ([[0.1, 0.1, 0.5, 0.5]] * 9, (0, 0)),  # nothing known of the image
    ],
)
def test_no_false_alarm(rows: list[list[float]], size: tuple[int, int]) -> None:
    for convention in ("xyxy", "xywh"):
        assert doubt(*table(rows, size), own=BoxReading(convention)) is None


def test_a_single_box_of_shares_is_certain() -> None:
    found = doubt(*table([[0.125, 0.25, 0.375, 0.58]]), own=BoxReading("xywh"))
    assert found is not None
    assert found.certain
    assert found.others[0] == BoxReading("xywh", "shares")


@pytest.mark.parametrize("text", ["xywh", "shares", "cxcywh+percent", "PIXELS"])
def test_readings_are_written_and_read(text: str) -> None:
    reading = parse_reading(text, BoxReading("xywh"))
    assert parse_reading(str(reading)) == reading


@pytest.mark.parametrize("text", ["corners", "xyxy+", "", "xyxy shares"])
def test_a_reading_that_is_none(text: str) -> None:
    with pytest.raises(DataError, match=r"--boxes .*Expected one of xyxy, xywh, cxcywh, yxyx"):
        parse_reading(text)


@pytest.mark.parametrize("own", ["xyxy", "xywh", "cxcywh", "yxyx+shares", "xywh+percent"])
def test_reading_back_gives_the_same(own: str) -> None:
    first, other = parse_reading(own), parse_reading("cxcywh+shares")
    limits = np.tile(LIMITS, (40, 1))
    there = reread(boxes(), limits, own=first, other=other)
    np.testing.assert_allclose(reread(there, limits, own=other, other=first), boxes(), atol=1e-9)


def test_boxes_of_an_image_that_is_missing_have_no_place(tmp_path, picture, caplog) -> None:
    """That there is no size is no mistake of the box: the missing image is told elsewhere."""
    picture(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    table.write_text("image,x,y,w,h,class\na.png,10,20,30,40,x\ngone.png,10,20,30,40,x\n")
    problems: list[AnnotationIssue] = []
    dataset = read(table, boxes="xywh+percent", problems=problems)
    assert problems == []
    assert [len(record.boxes) for record in dataset] == [1, 0]
    assert "t.csv, line 3, gone.png" in caplog.text
    assert "they are left out" in caplog.text
