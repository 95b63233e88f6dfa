"""Labeled images that are one page of several: told, chosen, and written by themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.checks.diagnose import diagnose
from foveal.data.formats import read, write
from foveal.data.formats.issues import AnnotationIssue
from foveal.data.images.reading import read_image
from foveal.data.opening import DataOptions, open_data, read_for_doctor
from foveal.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two stacks of 3 pages and a plain picture, one box each."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    pages = [Image.new("RGB", (40, 30), (value, 0, 0)) for value in (10, 90, 200)]
    for number, name in enumerate(("a.tif", "b.TIFF")):
        pages[0].putpixel((0, 0), (number, 0, 0))
        pages[0].save(folder / "images" / name, "TIFF", save_all=True, append_images=pages[1:])
    pages[1].save(folder / "images/c.png")
    names = ("a.tif", "b.TIFF", "c.png")
    images = [{"id": i, "file_name": n, "width": 40, "height": 30} for i, n in enumerate(names, 1)]
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, 20, 20]} for i in (1, 2, 3)]
    document = {
        "images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]
    }  # fmt: skip
    (folder / "ann.json").write_text(json.dumps(document))
    return folder


def test_the_first_page_is_taken_and_it_is_said_once(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = read(data)
    assert [record.path.name for record in dataset] == ["a.tif", "b.TIFF", "c.png"]
    assert len(caplog.records) == 1
    assert "2 files hold several images (a.tif: 3 pages): the first page" in caplog.text
    assert "--page N takes another" in caplog.text


def test_a_page_is_chosen(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = open_data(data, DataOptions(page=3))
    assert [record.path.name for record in dataset] == ["a.tif[3]", "b.TIFF[3]", "c.png"]
    assert [int(read_image(record.path)[9, 9, 0]) for record in dataset] == [200, 200, 90]
    assert dataset[1].image.shape == (30, 40, 3)
    assert caplog.text == ""
    with pytest.raises(DataError, match="--page 0"):
        read(data, page=0)


def test_the_doctor_tells_and_finds_no_page_missing_or_twice(data: Path) -> None:
    found = {
        each.kind: each
        for each in diagnose(
            *read_for_doctor([(data, DataOptions())]), skip=["flat_images"]
        ).findings
    }
    assert list(found) == ["stack of pages"]
    assert found["stack of pages"].count == 2
    assert found["stack of pages"].places[0] == "a.tif, image: 3 pages"
    chosen = read_for_doctor([(data, DataOptions(page=2))])
    assert diagnose(*chosen, images=True, skip=["flat_images"]).findings == ()
    absent = read_for_doctor([(data, DataOptions(page=4))])
    broken = {each.kind: each for each in diagnose(*absent, images=True).findings}
    assert "has no page 4" in broken["broken image"].places[0]


def test_collected_where_problems_are(data: Path) -> None:
    problems: list[AnnotationIssue] = []
    read(data, problems=problems)
    assert [problem.kind for problem in problems] == ["stack of pages"] * 2


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "csv"])
def test_a_chosen_page_is_written_by_itself(data: Path, tmp_path: Path, name: str) -> None:
    dataset = read(data, page=2)
    write(dataset, tmp_path / "out", name)
    again = read(tmp_path / "out")
    assert sorted(record.path.name for record in again) == ["a-2.tif", "b-2.tif", "c.png"]
    assert all((read_image(record.path)[9, 9] == (90, 0, 0)).all() for record in again)
    assert np.concatenate([record.boxes for record in again]).tolist() == [[5, 5, 25, 25]] * 3


@pytest.mark.parametrize("folder", ["", "images/"])
def test_annotations_may_name_pages(data: Path, folder: str) -> None:
    text = (data / "ann.json").read_text()
    text = text.replace("a.tif", f"{folder}a.tif[3]").replace("c.png", "absent.tif[2]")
    (data / "ann.json").write_text(text)
    first, _, absent = read(data, page=2)
    assert first.path == data / "images/a.tif[3]"
    assert (read_image(first.path)[9, 9] == (200, 0, 0)).all()
    assert not absent.path.exists()


def test_what_predict_wrote_about_pages_is_read_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.outputs.files import write_coco, write_csv
    from foveal.structures import Detections

    found = [
        Detections(
            np.float32([[1, 1, 9, 9]]), np.float32([0.5]), np.zeros(1, np.int64), ("cell",), 40, 30,
            data / f"images/a.tif[{page}]",
        )
        for page in (1, 3)
    ]  # fmt: skip
    monkeypatch.chdir(data.parent)
    out = data.parent / "found"
    out.mkdir()
    write_coco(out / "detections.json", found)
    write_csv(out / "detections.csv", found)
    moved = data.parent / "far/away"
    shutil.copytree(out, moved)
    for name in ("detections.json", "detections.csv"):
        again = read(out / name)
        assert [record.path for record in again] == [each.path for each in found]
        again = read(moved / name, images=data / "images")
        assert [record.path for record in again] == [each.path for each in found]
