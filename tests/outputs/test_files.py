"""Detections in files: what COCO tools, spreadsheets and foveal itself read back."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foveal
from foveal.errors import FovealError
from foveal.geometry.georeference import Georeference
from foveal.outputs import files
from foveal.outputs.files import to_supervision, write_coco, write_counts, write_csv
from foveal.structures import Detections

CLASSES = ("normal", "infected, ring")


def detections(boxes: list[list[float]], labels: list[int], path: Path | None = None) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, len(boxes), dtype=np.float32),
        np.array(labels, np.int64),
        classes=CLASSES,
        width=40,
        height=30,
        path=path,
    )


@pytest.fixture
def found(tmp_path: Path) -> list[Detections]:
    paths = [tmp_path / "images" / f"smear {index}.png" for index in range(3)]
    paths[0].parent.mkdir()
    for path in paths:
        Image.new("RGB", (40, 30)).save(path)
    return [
        detections([[1, 2, 11.5, 22.25], [0, 0, 40, 30]], [1, 0], paths[0]),
        detections([], [], paths[1]),
        detections([[5, 5, 6, 6]], [0], paths[2]),
    ]


@pytest.mark.parametrize("name", ["detections.json", "detections.csv"])
@pytest.mark.parametrize(
    "image", [b"h\xf6fe.png", b"[red].png", b'a;"b", c.png', b"=1+1.png", b"new\nline.png"]
)
def test_an_image_of_any_name_is_found_again(tmp_path: Path, image: bytes, name: str) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + image))
    try:
        Image.new("RGB", (40, 30)).save(path)
    except OSError:
        pytest.skip("this file system takes no such names")
    write = write_coco if name.endswith("json") else write_csv
    write(tmp_path / name, [detections([[1, 2, 11, 22]], [1], path)])
    assert (tmp_path / name).read_text(encoding="utf-8")
    (record,) = foveal.read(tmp_path / name)
    assert record.path == path
    write_counts(tmp_path / "counts.csv", [detections([], [], path)])
    assert (tmp_path / "counts.csv").read_text(encoding="utf-8")


def test_coco_by_hand(found, tmp_path):
    write_coco(tmp_path / "detections.json", found)
    document = json.loads((tmp_path / "detections.json").read_text())
    assert document["images"][0] == {
        "id": 1,
        "file_name": "images/smear 0.png",
        "width": 40,
        "height": 30,
        "capped": False,
    }
    assert document["categories"] == [
        {"id": 1, "name": "normal"},
        {"id": 2, "name": "infected, ring"},
    ]
    assert document["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [1.0, 2.0, 10.5, 20.25],
        "area": 212.62,
        "iscrowd": 0,
        "score": 0.9,
    }
    assert [each["image_id"] for each in document["annotations"]] == [1, 1, 3]


def test_pycocotools_reads_it_as_data_set_and_as_results(found, tmp_path):
    from pycocotools.coco import COCO

    path = tmp_path / "detections.json"
    write_coco(path, found, image_ids=[7, 8, 9], category_ids=[1, 90])
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        results = truth.loadRes(json.loads(path.read_text())["annotations"])
    assert results.getImgIds() == [7, 8, 9]
    loaded = results.loadAnns(results.getAnnIds(imgIds=7))
    assert [(each["category_id"], each["score"]) for each in loaded] == [(90, 0.9), (1, 0.5)]


@pytest.mark.parametrize(("write", "name"), [(write_coco, "found.json"), (write_csv, "found.csv")])
def test_foveal_reads_its_own_detections(found, tmp_path, write, name):
    write(tmp_path / name, found)
    data = foveal.read(tmp_path / name)
    by_path = {record.path.name: record for record in data.records}
    first = by_path["smear 0.png"]
    np.testing.assert_allclose(first.boxes, found[0].boxes, atol=0.005)
    assert [data.classes[label] for label in first.labels] == found[0].names
    assert set(data.classes) == set(CLASSES)


def test_csv_by_hand(found, tmp_path):
    write_csv(tmp_path / "detections.csv", found)
    lines = (tmp_path / "detections.csv").read_text().splitlines()
    assert lines[0] == "image,xmin,ymin,xmax,ymax,label,score,width,height,capped"
    assert lines[1] == 'images/smear 0.png,1.00,2.00,11.50,22.25,"infected, ring",0.9,40,30,false'
    assert len(lines) == 4


def test_counts_have_a_line_for_images_without_objects(found, tmp_path):
    write_counts(tmp_path / "counts.csv", found)
    with (tmp_path / "counts.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert lines == [
        ["image", "normal", "infected, ring", "total", "capped"],
        ["smear 0.png", "1", "1", "2", "false"],
        ["smear 1.png", "0", "0", "0", "false"],
        ["smear 2.png", "1", "0", "1", "false"],
    ]


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("", ["smears/a/1.png", "smears/b/1.png", "image 2"]),
        ("smears", ["a/1.png", "b/1.png", "image 2"]),
        ("smears/a", ["a/1.png", "b/1.png", "image 2"]),
        (None, ["a/1.png", "b/1.png", "image 2"]),
    ],
)
def test_counts_name_images_from_the_folder_that_holds_them(tmp_path, folder, names):
    paths = [tmp_path / "smears/a/1.png", tmp_path / "smears/b/1.png", None]
    found = [detections([], [], path) for path in paths]
    given = None if folder is None else tmp_path / folder
    write_counts(tmp_path / "counts.csv", found, folder=given)
    with (tmp_path / "counts.csv").open(newline="") as file:
        assert [line["image"] for line in csv.DictReader(file)] == names


def test_images_that_reached_the_limit_are_marked_in_every_file(found, tmp_path):
    found[0] = replace(found[0], left_out_score=0.45)
    write_coco(tmp_path / "found.json", found)
    images = json.loads((tmp_path / "found.json").read_text())["images"]
    assert [image["capped"] for image in images] == [True, False, False]
    assert images[0]["left_out_score"] == 0.45
    for write, expected in ((write_csv, "true true false"), (write_counts, "true false false")):
        write(tmp_path / "found.csv", found)
        with (tmp_path / "found.csv").open(newline="") as file:
            assert " ".join(line["capped"] for line in csv.DictReader(file)) == expected


def test_images_without_a_file_are_numbered(tmp_path):
    write_counts(tmp_path / "counts.csv", [detections([], [])])
    assert "image 0,0,0,0,false" in (tmp_path / "counts.csv").read_text()


def test_no_images_at_all(tmp_path):
    for number, write in enumerate((write_coco, write_csv, write_counts)):
        write(tmp_path / str(number), [])
    assert json.loads((tmp_path / "0").read_text())["annotations"] == []


@pytest.mark.parametrize("write", [write_coco, write_csv, write_counts])
def test_a_place_that_can_not_be_written_is_named(found, tmp_path, write):
    (tmp_path / "no folder").touch()
    with pytest.raises(FovealError, match=r"no folder/x: can't be written"):
        write(tmp_path / "no folder" / "x", found)


@pytest.mark.parametrize("index", [0, 1])
def test_supervision_takes_them(found, index):
    taken = to_supervision(found[index])
    assert len(taken) == len(found[index])
    np.testing.assert_array_equal(taken.xyxy, found[index].boxes)
    np.testing.assert_array_equal(taken.confidence, found[index].scores)
    assert list(taken["class_name"]) == found[index].names


def test_the_ending_says_the_format(found, tmp_path):
    foveal.write(found, tmp_path / "a.json")
    write_coco(tmp_path / "b.json", found)
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    foveal.write(found[0], str(tmp_path / "one.CSV"))
    assert len((tmp_path / "one.CSV").read_text().splitlines()) == 3
    with pytest.raises(FovealError, match=r"one\.png: its ending says no format"):
        foveal.write(found[0], tmp_path / "one.png")


@pytest.fixture
def data(found: list[Detections], tmp_path: Path) -> foveal.Dataset:
    write_csv(tmp_path / "found.csv", found)
    return foveal.read(tmp_path / "found.csv")


def same(data: foveal.Dataset, other: foveal.Dataset) -> bool:
    return data.classes == other.classes and all(
        (a.path, a.boxes.tolist(), a.labels.tolist())
        == (b.path, b.boxes.tolist(), b.labels.tolist())
        for a, b in zip(data, other, strict=True)
    )


def test_a_data_set_is_written_as_one_file_that_names_the_images(data, tmp_path):
    path = tmp_path / "elsewhere" / "cells.json"
    foveal.write(data, path)
    assert [file.name for file in path.parent.iterdir()] == ["cells.json"]
    with contextlib.chdir(tmp_path):
        assert same(foveal.read(path), data)
    foveal.write(data[:0], path)
    assert json.loads(path.read_text())["images"] == []


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_a_data_set_is_written_as_a_folder_with_its_images(data, tmp_path, name):
    foveal.write(data, tmp_path / "new", name)
    again = foveal.read(tmp_path / "new")
    assert again.classes == data.classes
    assert [len(record) for record in again] == [len(record) for record in data]
    assert all(record.path.is_relative_to(tmp_path / "new") for record in again)


def test_what_can_not_be_written_is_said(data, found, tmp_path):
    with pytest.raises(FovealError, match=r"new: in which format .* --to coco \(in Python format="):
        foveal.write(data, tmp_path / "new")
    with pytest.raises(FovealError, match="There is no format 'cooc'"):
        foveal.write(data, tmp_path / "new", "cooc")
    with pytest.raises(FovealError, match="a Record can't be written"):
        foveal.write(list(data), tmp_path / "new.json")
    with pytest.raises(FovealError, match="not as 'coco'"):
        foveal.write(found, tmp_path / "new.json", "coco")
    assert not (tmp_path / "new").exists()


def test_counts_through_the_public_name(found, tmp_path):
    foveal.write(found, tmp_path / "counts.csv", counts=True)
    write_counts(tmp_path / "same.csv", found)
    assert (tmp_path / "counts.csv").read_text() == (tmp_path / "same.csv").read_text()
    with pytest.raises(FovealError, match=r"Expected \.csv for counts"):
        foveal.write(found, tmp_path / "counts.json", counts=True)


def test_coco_of_many_parts_is_what_json_writes(found, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_ROWS_AT_ONCE", 1)
    for name, images in (("a.json", found), ("none.json", found[1:2])):
        write_coco(tmp_path / name, images)
        text = (tmp_path / name).read_text()
        assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=1) + "\n"


def test_a_table_of_images_on_a_map_has_their_corners_there(found, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_ROWS_AT_ONCE", 1)
    place = Georeference("EPSG:32617", (8.0, -6.0, 500_000.0, -6.0, -8.0, 4_000_000.0))
    found[0] = replace(found[0], georeference=place)
    path = tmp_path / "found.csv"
    foveal.write(found, path)
    with path.open(newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first)[-4:] == ["map_x", "map_y", "crs", "wkt"]
    assert [third[name] for name in list(third)[-4:]] == [""] * 4
    assert second["wkt"] == (
        "POLYGON ((500000.0 4000000.0, 499820.0 3999760.0, 500140.0 3999520.0, "
        "500320.0 3999760.0, 500000.0 4000000.0))"
    )
    center = place.to_map(np.array([20, 15]))
    assert [float(second["map_x"]), float(second["map_y"])] == pytest.approx(center.tolist())
    assert (first["crs"], first["label"]) == ("EPSG:32617", CLASSES[1])
    by_name = {record.path.name: record for record in foveal.read(path)}
    np.testing.assert_allclose(by_name["smear 0.png"].boxes, found[0].boxes, atol=0.005)


def test_gdal_shows_the_table(found, tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    shapely = pytest.importorskip("shapely")
    place = Georeference("EPSG:4326", (1e-4, 0.0, 10.0, 0.0, -1e-4, 50.0))
    write_csv(tmp_path / "found.csv", [replace(found[0], georeference=place)])
    polygons = shapely.from_wkb(pyogrio.raw.read(tmp_path / "found.csv")[2])
    expected = place.corners(found[0].boxes)
    assert shapely.bounds(polygons) == pytest.approx(
        np.hstack([expected.min(axis=1), expected.max(axis=1)]), abs=1e-6
    )
