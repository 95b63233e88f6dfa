"""CVAT: kinds of shape, turned boxes, subsets, attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.formats import read

LABELS = (
    "<meta><task><labels><label><name>dog</name></label><label><name>ant</name></label>"
    "</labels></task></meta>"
)
BOX = '<box label="ant" xtl="1" ytl="2" xbr="11" ybr="14.50" occluded="1"/>'


def lay(folder: Path, shapes: str, subset: str = "", meta: str = LABELS) -> Path:
    image = f'<image id="4" name="x/a.png" width="64" height="48" {subset}>{shapes}</image>'
    path = folder / "annotations.xml"
    path.write_text(f'<?xml version="1.0"?><annotations>{meta}{image}</annotations>')
    return path


def test_kinds_of_shape(tmp_path: Path) -> None:
    shapes = (
        BOX
        + '<box label="ant" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>'
        + '<polygon label="dog" points="5.0,5.0;9,6;7,20"/>'
        + '<ellipse label="dog" cx="20" cy="20" rx="5" ry="3"/>'
        + '<mask label="dog" left="1" top="2" width="3" height="4" rle="1"/>'
    )
    data = read(lay(tmp_path, shapes))
    assert data.classes == ("dog", "ant")
    record = data.records[0]
    boxes = [[1, 2, 11, 14.5], [15, 5, 25, 25], [5, 5, 9, 20], [15, 17, 25, 23], [1, 2, 4, 6]]
    np.testing.assert_allclose(record.boxes, boxes, atol=1e-5)
    assert record.labels.tolist() == [1, 1, 0, 0, 0]
    assert record.flags["occluded"] == (True, False, False, False, False)


def test_subsets_and_attributes(tmp_path: Path) -> None:
    mark = '<attribute name="ignored">true</attribute>'
    shapes = f'<box label="ant" xtl="1" ytl="2" xbr="3" ybr="4">{mark}</box><tag label="dog"/>'
    lay(tmp_path, shapes, 'subset="train"')
    assert read(f"{tmp_path}:train").records[0].ignored.tolist() == [True]


def test_points_are_left_out_and_names_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = read(lay(tmp_path, BOX + '<points label="ant" points="1,2"/>', meta=""))
    assert data.classes == ("ant",)
    assert [len(record) for record in data] == [1]
    assert "a points has no box" in caplog.text
