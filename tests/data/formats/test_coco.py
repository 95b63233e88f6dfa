"""COCO: ids with gaps, crowd, areas, outlines, splits of a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.data.formats import coco
from foveal.data.formats.issues import IssuePolicy
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
    kept = coco.read(tmp_path / "a.json", policy=IssuePolicy("keep"))
    assert kept.records[0].boxes.tolist() == [[-0.5, 2, 9.5, 12], [60, 40, 74, 58]]


def test_a_box_that_cvat_turned_is_read_as_its_extent(
    tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "b.png", 160, 120)
    image = [{"id": 50, "file_name": "b.png", "width": 160, "height": 120}]
    box = {"image_id": 50, "category_id": 3, "bbox": [20, 30, 60, 20], "area": 1200}
    turns = [{"rotation": 45.0, "occluded": False}, {"rotation": "90"}, {"rotation": 0.0}, {}]
    annotations = [{"id": i, **box, "attributes": turn} for i, turn in enumerate(turns, 1)]
    annotations += [{"id": 9, **box, "attributes": {"rotation": "upright"}}]
    annotations += [
        {"id": 8, **box, "attributes": {"rotation": 30}, "segmentation": [[5, 6, 70, 8, 9, 90]]}
    ]
    data = coco.read(lay(tmp_path / "a.json", annotations, images=image))
    half = 40 / np.sqrt(2)
    expected = [
        [50 - half, 40 - half, 50 + half, 40 + half],
        [40, 10, 60, 70],
        [20, 30, 80, 50],
        [20, 30, 80, 50],
        [20, 30, 80, 50],
        [5, 6, 70, 90],
    ]
    np.testing.assert_allclose(data.records[0].boxes, expected, atol=1e-5)
    assert data.records[0].areas is not None
    assert data.records[0].areas.tolist() == [1200] * 6
    assert (
        caplog.text.count("the extent of each is its box (3 x, first: a.json, annotation 1)") == 1
    )
    (tmp_path / "out").mkdir()
    coco.write(data, tmp_path / "out")
    again = coco.read(tmp_path / "out")
    np.testing.assert_array_equal(again.records[0].boxes, data.records[0].boxes)


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[20, 30, 60, 30, 60, 40]], [20, 30, 60, 40]),
        ([20, 30, 60, 30, 60, 40], [20, 30, 60, 40]),
        ({"counts": [5, 3], "size": [48, 64]}, [0, 5, 1, 8]),
        ({"counts": [5, 3]}, [0, 5, 1, 8]),
        ({"counts": "53", "size": [48, 64]}, [0, 5, 1, 8]),
    ],
)
@pytest.mark.parametrize("bbox", [{}, {"bbox": []}, {"bbox": None}])
def test_without_a_bbox_the_segmentation_gives_the_box(
    segmentation: Any, box: list, bbox: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    annotation = {"id": 1, "image_id": 50, "category_id": 3, "segmentation": segmentation}
    data = coco.read(lay(tmp_path / "a.json", [annotation | bbox]))
    assert data.records[0].boxes.tolist() == [box]
    assert "Objects without a bbox have a segmentation" in caplog.text


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"bbox": []}, "bbox is [] and no segmentation"),
        ({"bbox": None, "segmentation": []}, "bbox is None and no segmentation"),
        ({"keypoints": [1, 2, 2]}, "only keypoints"),
        ({"segmentation": [[1, 2, 3]]}, "no outline and no mask"),
    ],
)
def test_an_object_without_a_box_is_told_and_the_others_stay(
    fields: dict, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = {"id": 1, "image_id": 50, "category_id": 3, "bbox": [1, 2, 3, 4]}
    bad = {"id": 2, "image_id": 50, "category_id": 3, **fields}
    file = lay(tmp_path / "a.json", [sound, bad])
    data = coco.read(file)
    assert data.records[0].boxes.tolist() == [[1, 2, 4, 6]]
    assert "1 x no box. Left out. First: a.json, annotation 2" in caplog.text
    assert why in caplog.text
    problems: list = []
    assert len(coco.read(file, policy=IssuePolicy(problems=problems)).records[0]) == 1
    assert [problem.kind for problem in problems] == ["no box"]
    with pytest.raises(DataError, match="annotation 2"):
        coco.read(file, policy=IssuePolicy("stop"))


def test_ids_and_numbers_as_text_are_matched_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = {"image_id": "50", "category_id": "3", "bbox": ["1", "2.5", "3", "4"], "area": "12"}
    annotations = [{"id": 1, **box}, {"id": 2, **box}, {"id": 3, **box, "image_id": 2.0}]
    data = coco.read(lay(tmp_path / "a.json", annotations))
    assert [len(record) for record in data] == [2, 1, 0]
    assert data.records[0].boxes.tolist() == [[1, 2.5, 4, 6.5]] * 2
    assert "image_id is written otherwise" in caplog.text
    assert "than the id that it means (2 x, first: a.json, annotation 1)" in caplog.text
    assert len(caplog.records) == 3
    numbers = [{"id": "50", "file_name": "b.png", "width": "64", "height": "48"}]
    sound = {"id": 1, "image_id": 50, "category_id": 3, "bbox": [1, 2, 3, 4]}
    data = coco.read(lay(tmp_path / "a.json", [sound], images=numbers))
    assert (data.records[0].width, len(data.records[0])) == (64, 1)


def test_an_id_that_two_entries_could_mean_is_not_guessed(tmp_path: Path) -> None:
    images = [
        {"id": key, "file_name": f"{key!r}.png", "width": 64, "height": 48} for key in (1, "1")
    ]
    sound = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
    other = {"image_id": "1", "category_id": 3, "bbox": [5, 6, 7, 8]}
    data = coco.read(lay(tmp_path / "a.json", [sound, other], images=images))
    assert [record.boxes.tolist() for record in data] == [[[1, 2, 4, 6]], [[5, 6, 12, 14]]]
    with pytest.raises(DataError, match=r"image_id ' 1' is not the id .*\(the first are: 1, '1'\)"):
        coco.read(lay(tmp_path / "a.json", [other | {"image_id": " 1"}], images=images))


def test_lists_may_be_objects_keyed_by_id(tmp_path: Path) -> None:
    document = {
        "images": {"7": {"file_name": "a.png", "width": 64, "height": 48}},
        "categories": {"10": "late", "9": {"name": "early", "supercategory": "time"}},
        "annotations": {"x": {"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4]}},
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    data = coco.read(tmp_path / "a.json")
    assert data.classes == ("early", "late")
    assert data.records[0].labels.tolist() == [0]


@pytest.mark.parametrize("field", ["coco_url", "flickr_url", "path", "url"])
def test_an_image_without_file_name_is_found_by_another_field(
    field: str, tmp_path: Path, picture: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    image = picture(tmp_path / "images/000000001.png")
    entry = {"id": 1, field: "http://images.example.org/train2017/000000001.png"}
    data = coco.read(lay(tmp_path / "a.json", [], images=[entry]))
    assert data.paths == [image]
    assert f'are found by their "{field}" (1 x' in caplog.text
