"""VIA: versions of its JSON, its CSV, shapes, and which attribute is the class."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.data.formats import read
from foveal.errors import DataError

RECT = {"name": "rect", "x": 1, "y": 2, "width": 10, "height": 12}


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(*regions: dict[str, Any], name: str = "a.png") -> dict[str, Any]:
    return {"filename": name, "size": 5, "regions": list(regions), "file_attributes": {}}


def lay(file: Path, document: Any) -> Path:
    file.write_text(json.dumps(document))
    return file


@pytest.fixture(autouse=True)
def images(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)


def test_versions_and_tables_say_the_same(tmp_path: Path) -> None:
    two = entry(region(RECT, label="red"), region(RECT | {"x": 3}, label="blue"))
    none = entry(name="b.png")
    annotations = {"a.png5": two, "b.png5": none}
    first = {"a.png5": {**two, "regions": dict(enumerate(two["regions"]))}, "b.png5": none}
    table = [
        ["filename", "file_size", "file_attributes", "region_count", "region_id",
         "region_shape_attributes", "region_attributes"],
        *(["a.png", 5, "{}", 2, i, *map(json.dumps, each.values())]
          for i, each in enumerate(two["regions"])),
        ["b.png", 5, "{}", 0, 0, "{}", "{}"],
    ]  # fmt: skip
    with (tmp_path / "via.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(table)
    table[0][0] = "#filename"
    with (tmp_path / "via1.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(table)
    for path in (
        lay(tmp_path / "json2.json", annotations),
        lay(tmp_path / "json1.json", first),
        lay(tmp_path / "project.json", {"_via_settings": {}, "_via_img_metadata": annotations}),
        tmp_path / "via.csv",
        tmp_path / "via1.csv",
    ):
        data = read(path)
        assert data.classes == ("blue", "red"), path
        assert [record.boxes.tolist() for record in data] == [[[1, 2, 11, 14], [3, 2, 13, 14]], []]
        assert data.records[0].labels.tolist() == [1, 0]


def test_makesense_writes_it_too(tmp_path: Path) -> None:
    corners = {"all_points_x": [5, 9, 7, 5], "all_points_y": [5, 6, 20, 5]}
    shape = {
        "shape_attributes": {"name": "polygon", **corners},
        "region_attributes": {"label": "x"},
    }
    image = {"fileref": "", "size": 5, "filename": "a.png", "base64_img_data": ""}
    document = {"a.png": image | {"file_attributes": {}, "regions": {"0": shape}}}
    data = read(lay(tmp_path / "labels.json", document))
    assert data.classes == ("x",)
    assert data.records[0].boxes.tolist() == [[5, 5, 9, 20]]


def test_shapes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corners = {"all_points_x": [5, 9, 7], "all_points_y": [5, 6, 20]}
    ellipse = {"name": "ellipse", "cx": 30, "cy": 20, "rx": 10, "ry": 5}
    shapes = [
        {"name": "circle", "cx": 20, "cy": 20, "r": 5},
        ellipse,
        ellipse | {"theta": math.pi / 2},
        {"name": "polygon", **corners},
        {"name": "polyline", **corners},
        {"name": "point", "cx": 1, "cy": 2},
    ]
    lay(tmp_path / "a.json", {"a.png5": entry(*(region(shape, kind="x") for shape in shapes))})
    boxes = read(tmp_path).records[0].boxes.tolist()
    expected = [[15, 15, 25, 25], [20, 15, 40, 25], [25, 10, 35, 30], [5, 5, 9, 20]]
    assert boxes == [pytest.approx(box) for box in expected]
    assert "2 x no box. Left out" in caplog.text


def test_the_class_is_the_likeliest_attribute_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    regions = [region(RECT, comment=f"number {i}", Type="red") for i in range(3)]
    lay(tmp_path / "a.json", {"a.png5": entry(*regions, region(RECT, Type="blue"))})
    assert read(tmp_path).classes == ("blue", "red")
    assert "The class is the region attribute 'Type' (others: 'comment')" in caplog.text
    caplog.clear()
    lay(tmp_path / "a.json", {"a.png5": entry(region(RECT, stain="red", ignored="true"))})
    data = read(tmp_path)
    assert (data.classes, data.records[0].ignored.tolist()) == (("red",), [True])
    assert not caplog.records


def test_options_fix_the_order_and_a_checkbox_names_what_is_set(tmp_path: Path) -> None:
    options = {"late": "", "early": ""}
    project = {
        "_via_img_metadata": {"a.png5": entry(region(RECT, kind={"late": False, "early": True}))},
        "_via_attributes": {"region": {"kind": {"type": "checkbox", "options": options}}},
    }
    data = read(lay(tmp_path / "a.json", project))
    assert data.classes == ("late", "early")
    assert data.records[0].labels.tolist() == [1]


def test_regions_without_attributes_are_one_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = read(lay(tmp_path / "a.json", {"a.png5": entry(region(RECT))}))
    assert data.classes == ("object",)
    assert "all are called 'object'" in caplog.text


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        ([region({"name": "rect", "x": 1})], "image 1, region 1: the shape is"),
        ([region({"name": "star"})], "image 1, region 1: the shape is"),
        (["x"], "image 1, region 1: the region is 'x'"),
        ([region(RECT, label="a"), region(RECT)], "image 1, region 2: the object has no class"),
    ],
)
def test_a_broken_region_is_named(regions: list, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read(lay(tmp_path / "a.json", {"a.png5": entry(*regions)}))


def test_a_broken_cell_is_named(tmp_path: Path) -> None:
    head = "filename,region_shape_attributes,region_attributes\n"
    (tmp_path / "a.csv").write_text(head + "a.png,{x},{}\n")
    with pytest.raises(DataError, match=r"a\.csv, line 2: '\{x\}' is not the JSON of an object"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("region_shape_attributes\n")
    with pytest.raises(DataError, match="no column filename"):
        read(tmp_path / "a.csv")
