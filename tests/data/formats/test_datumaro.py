"""Datumaro: kinds of annotation, subsets, and what CVAT exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.data.dataset import ANY_CLASS
from foveal.data.formats import read
from foveal.errors import DataError


def lay(
    file: Path, *annotations: dict[str, Any], labels: tuple[str, ...] = ("red", "blue")
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "info": {},
        "categories": {"label": {"labels": [{"name": n, "parent": ""} for n in labels]}},
        "items": [
            {
                "id": "a",
                "annotations": list(annotations),
                "image": {"path": "a.png", "size": [48, 64]},
                "media": {"path": ""},
            }
        ],
    }
    file.write_text(json.dumps(document))
    return file


def item(kind: str, label: Any = 0, **fields: Any) -> dict[str, Any]:
    return {"id": 0, "type": kind, "attributes": {}, "group": 0, "label_id": label, **fields}


def test_kinds_of_annotation(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(
        tmp_path / "annotations/default.json",
        item("bbox", bbox=[1, 2, 10, 12]),
        item("polygon", "1", points=[5, 5, 9, 6, 7, 20]),
        item("mask", rle={"counts": [48 * 3 + 4, 5], "size": [48, 64]}),
        item("ellipse", points=[10, 10, 20, 30]),
        item("rotated_bbox", bbox=[20, 20, 10, 20, 90]),
        item("bbox", bbox=[10, 15, 20, 10], attributes={"rotation": 90.0}),
        item("bbox", bbox=[1, 2, 10, 12], attributes={"is_crowd": True}),
        item("points", points=[1, 2]),
        item("label"),
        item("bbox", 2, bbox=[1, 2, 3, 4]),
        labels=("red", "blue", "__ignore__"),
    )
    data = read(tmp_path)
    assert data.classes == ("red", "blue")
    (record,) = data
    expected = [
        [1, 2, 11, 14],
        [5, 5, 9, 20],
        [3, 4, 4, 9],
        [10, 10, 20, 30],
        [10, 15, 30, 25],
        [15, 10, 25, 30],
        [1, 2, 11, 14],
        [1, 2, 4, 6],
    ]
    assert record.boxes.tolist() == [pytest.approx(box) for box in expected]
    assert record.labels.tolist() == [0, 1, 0, 0, 0, 0, 0, ANY_CLASS]
    assert record.ignored.tolist() == [False] * 6 + [True, True]
    assert (record.width, record.height, record.image_id) == (64, 48, "a")
    assert "1 x no box. Left out" in caplog.text
    assert "turned: the extent of each is its box (1 x" in caplog.text


def test_images_lie_in_the_folder_of_their_subset(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    images = [picture(tmp_path / "images" / split / "a.png") for split in ("train", "val")]
    for split in ("train", "val"):
        lay(tmp_path / "annotations" / f"{split}.json", item("bbox", bbox=[1, 2, 10, 12]))
    assert [read(f"{tmp_path}:{split}").paths[0] for split in ("train", "val")] == images


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (item("bbox", 7, bbox=[1, 2, 3, 4]), "label_id 7 has no name. Expected 0 to 1"),
        (item("bbox", True, bbox=[1, 2, 3, 4]), "label_id True has no name"),
        (item("bbox", bbox=[1, 2, 3]), "the bbox can't be read"),
        (item("bbox", bbox="x"), "the bbox can't be read"),
        (item("polygon", points=[1, 2, 3]), "the polygon can't be read"),
        (item("mask"), "the mask can't be read"),
    ],
)
def test_a_broken_annotation_is_named(annotation: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(lay(tmp_path / "a.json", annotation))
    assert "item 1, annotation 1" in str(caught.value)
