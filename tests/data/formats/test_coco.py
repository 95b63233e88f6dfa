"""COCO: ids with gaps, crowd, areas, outlines, splits of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.data.formats import coco
from foveal.errors import DataError


def lay(path: Path, annotations: list[dict[str, Any]], **changes: Any) -> Path:
    document = {
        "images": [
            {"id": 50, "file_name": "b.png", "width": 64, "height": 48},
            {"id": 2, "file_name": "a.png", "width": 32, "height": 16},
            {"id": 9, "file_name": "empty.png", "width": 8, "height": 8},
        ],
        "categories": [{"id": 90, "name": "late"}, {"id": 3, "name": "early"}],
        "annotations": annotations,
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_gaps_in_ids_are_closed_and_order_is_kept(tmp_path: Path) -> None:
    annotations = [
        {"id": 1, "image_id": 2, "category_id": 90, "bbox": [1, 2, 3, 4]},
        {"id": 5, "image_id": 50, "category_id": 3, "bbox": [0, 0, 64, 48]},
        {"id": 4, "image_id": 2, "category_id": 3, "bbox": [0.5, 0.25, 10, 10]},
    ]
    data = coco.read(lay(tmp_path / "a.json", annotations))
    assert data.classes == ("early", "late")
    assert [r.path.name for r in data] == ["b.png", "a.png", "empty.png"]
    assert [r.image_id for r in data] == [50, 2, 9]
    assert data.records[1].boxes.tolist() == [[1, 2, 4, 6], [0.5, 0.25, 10.5, 10.25]]
    assert data.records[1].labels.tolist() == [1, 0]
    assert len(data.records[2]) == 0
    assert data.records[1].areas is None


def test_crowd_and_ignore_become_regions(tmp_path: Path) -> None:
    box = {"image_id": 50, "category_id": 3, "bbox": [1, 2, 3, 4]}
    annotations = [
        {"id": 1, **box, "iscrowd": 1, "area": 5.5},
        {"id": 2, **box, "ignore": 1, "area": 12},
        {"id": 3, **box, "iscrowd": 0, "area": 12},
    ]
    record = coco.read(lay(tmp_path / "a.json", annotations)).records[0]
    assert record.ignored.tolist() == [True, True, False]
    assert record.flags["crowd"] == (True, False, False)
    assert record.areas is not None
    assert record.areas.tolist() == [5.5, 12, 12]


def test_outlines_and_areas_survive_writing(tmp_path: Path, picture: Callable[..., Path]) -> None:
    outline = [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0]]
    annotations = [
        {
            "id": 1,
            "image_id": 50,
            "category_id": 3,
            "bbox": [1, 2, 3, 4],
            "area": 6,
            "segmentation": outline,
            "attributes": {"stain": "H&E"},
        }
    ]
    for name, width, height in (("b.png", 64, 48), ("a.png", 32, 16), ("empty.png", 8, 8)):
        picture(tmp_path / name, width, height)
    data = coco.read(lay(tmp_path / "a.json", annotations))
    assert data.records[0].flags["segmentation"] == (outline,)
    (tmp_path / "out").mkdir()
    coco.write(data, tmp_path / "out")
    again = coco.read(tmp_path / "out")
    assert again.records[0].flags == data.records[0].flags
    assert again.records[0].areas.tolist() == [6]
    assert [r.image_id for r in again] == [50, 2, 9]
    assert json.loads((tmp_path / "out/annotations.json").read_text())["annotations"][0]["id"] == 1


def test_numbers_are_written_short_and_read_exactly(tmp_path: Path, picture: Callable) -> None:
    picture(tmp_path / "b.png", 640, 480)
    box = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [61.87, 276.25, 296.42, 103.18]}
    image = {"id": 1, "file_name": "b.png", "width": 640, "height": 480}
    data = coco.read(lay(tmp_path / "a.json", [box], images=[image]))
    (tmp_path / "out").mkdir()
    coco.write(data, tmp_path / "out")
    text = (tmp_path / "out/annotations.json").read_text()
    assert '"bbox": [61.87, 276.25, 296.42, 103.18]' in text
    again = coco.read(tmp_path / "out")
    np.testing.assert_array_equal(again.records[0].boxes, data.records[0].boxes)


def test_a_region_for_every_class_is_written_once_for_each(
    tmp_path: Path, make_dataset: Callable
) -> None:
    data = make_dataset([("a.png", 64, 48, [((1, 2, 3, 4), 2, False)])]).ignoring(["Plättchen"])
    (tmp_path / "out").mkdir()
    coco.write(data, tmp_path / "out")
    again = coco.read(tmp_path / "out")
    assert again.classes == ("cell", "cut cell")
    assert again.records[0].labels.tolist() == [0, 1]
    assert again.records[0].ignored.all()
    expected, found = data.target(0), again.target(0)
    assert found.labels.tolist() == expected.labels.tolist()
    assert found.boxes.tolist() == expected.boxes.tolist()


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("train.json", "train"),
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_train2017.json", "train"),
        ("train/_annotations.coco.json", "train"),
    ],
)
def test_a_split_is_found_in_a_folder(file: str, split: str, tmp_path: Path) -> None:
    lay(tmp_path / file, [])
    lay(tmp_path / file.replace("train", "val"), [])
    lay(tmp_path / file.replace("train.", "train_rotated."), [])
    assert coco.annotation_file(tmp_path, split) == tmp_path / file


def test_a_split_that_fits_twice_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path / "a_train.json", [])
    lay(tmp_path / "b_train.json", [])
    with pytest.raises(DataError, match=r"2 COCO files fit.*a_train\.json, b_train\.json"):
        coco.annotation_file(tmp_path, "train")


def test_images_are_found_beside_the_annotations_folder(tmp_path: Path, picture: Callable) -> None:
    image = picture(tmp_path / "val2017/b.png")
    file = lay(
        tmp_path / "annotations/instances_val2017.json",
        [],
        images=[{"id": 1, "file_name": "b.png", "width": 64, "height": 48}],
    )
    assert coco.read(file).records[0].path == image


def test_sizes_that_are_not_said_come_from_the_header(tmp_path: Path, picture: Callable) -> None:
    picture(tmp_path / "b.png", 33, 22)
    images = [{"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "gone.png"}]
    data = coco.read(lay(tmp_path / "a.json", [], images=images))
    assert [(r.width, r.height) for r in data] == [(33, 22), (0, 0)]


def test_boxes_that_leave_the_image_are_clipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [[-0.5, 2, 10, 10], [60, 40, 14, 18]]
    annotations = [
        {"id": i, "image_id": 50, "category_id": 3, "bbox": box} for i, box in enumerate(boxes, 1)
    ]
    data = coco.read(lay(tmp_path / "a.json", annotations))
    assert data.records[0].boxes.tolist() == [[0, 2, 9.5, 12], [60, 40, 64, 48]]
    assert "1 x box leaves image. Clipped to the image. First: a.json, annotation 2" in caplog.text
    kept = coco.read(tmp_path / "a.json", bad_boxes="keep")
    assert kept.records[0].boxes.tolist() == [[-0.5, 2, 9.5, 12], [60, 40, 74, 58]]
