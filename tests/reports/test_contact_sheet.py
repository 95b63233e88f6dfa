"""Sheets of data sets: which images, what is said, what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.reports.results import smears

import foveal
from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.errors import DataError, FovealError, SettingsError
from foveal.reports.contact_sheet import make_data_sheet, side_for, write_sheet

CLASSES = ("normal", "infected", "platelet")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    return smears(tmp_path_factory.mktemp("data"), classes=CLASSES)


def scene(path: Path, *, boxes: list[list[float]], bands: int, dtype: type) -> Record:
    pixels = np.random.default_rng(0).integers(0, 200, (1200, 1400, bands)).astype(dtype)
    if bands > 4:
        import tifffile

        tifffile.imwrite(path, np.moveaxis(pixels, 2, 0), planarconfig="separate")
    else:
        cv2.imwrite(str(path), pixels)
    return Record(
        path,
        1400,
        1200,
        np.float32(boxes).reshape(-1, 4),
        np.zeros(len(boxes), np.int64),
        np.zeros(len(boxes), np.bool_),
    )


def test_what_is_shown_is_said(data: Dataset) -> None:
    sheet = make_data_sheet(data, count=4, side=64)
    assert len(sheet.tiles) == 4
    assert sheet.lines[0] == "4 of 6 images, drawn by seed 0, the rarest classes first."
    assert make_data_sheet(data, side=64).lines == ("All 6 images, the rarest classes first.",)
    names = [name for name, *_ in sheet.classes]
    objects = [number for _, number, _, _ in sheet.classes]
    assert objects == sorted(objects)
    assert [row.meaning.split(":")[0] for row in sheet.key] == names
    assert all("160 x 160 px" in tile.caption for tile in sheet.tiles)


def test_a_page_holds_its_pictures_and_fetches_nothing(data: Dataset, tmp_path: Path) -> None:
    sheet = make_data_sheet(data, count=3, side=64)
    write_sheet(tmp_path / "sheet.html", replace(sheet, title="<b>"))
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert page.count("<img") == page.count("data:image/jpeg") == 3
    assert "3 of 6 images" in page
    assert "&lt;b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_picture(data: Dataset, tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheet.PNG", make_data_sheet(data, count=2, side=64))
    with Image.open(tmp_path / "sheet.PNG") as picture:
        assert picture.format == "PNG"
    assert foveal.show(data, count=2).mode == "RGB"
    with pytest.raises(DataError, match="--count 0"):
        foveal.show(data, count=0)
    with pytest.raises(SettingsError, match=r"--out a\.pdf: expected a name that ends in \.html"):
        side_for(Path("a.pdf"))


def test_images_that_cannot_be_shown_are_counted(data: Dataset, tmp_path: Path) -> None:
    gone = replace(data.records[0], path=tmp_path / "gone.png")
    other = replace(data.records[1], width=320)
    broken = replace(data, records=(gone, other, *data.records[2:]))
    sheet = make_data_sheet(broken, side=64)
    assert len(sheet.tiles) == 4
    assert len(sheet.left_out) == 2
    assert sheet.lines[0].startswith("4 of 6 images")
    assert any("2 images can't be shown, the first: " in line for line in sheet.lines)
    assert any(
        "annotations say 320 x 160. Let the boxes follow: --sizes" in s for s in sheet.left_out
    )
    write_sheet(tmp_path / "sheet.html", sheet)
    assert "gone.png" in (tmp_path / "sheet.html").read_text(encoding="utf-8")
    with pytest.raises(FovealError, match="gone"):
        make_data_sheet(replace(data, records=(gone,)), side=64)


def test_nothing_to_show(data: Dataset) -> None:
    with pytest.raises(DataError, match=r"has no image\. foveal data check"):
        make_data_sheet(data[:0])
    only = data.only(["infected"]).rename({"infected": "cell"})
    never = replace(only, classes=("cell", "never"))
    assert "Without any object: never." in make_data_sheet(never, count=1, side=64).lines
    with pytest.raises(DataError, match="has no image with objects of never"):
        make_data_sheet(never, classes=["never"])
    empty = replace(data, records=tuple(r.select(r.labels > 9) for r in data.records[:2]))
    sheet = make_data_sheet(empty, side=64)
    assert [tile.caption for tile in sheet.tiles] == ["no object; 160 x 160 px"] * 2


def test_regions_to_ignore_have_a_key(data: Dataset) -> None:
    sheet = make_data_sheet(data.ignoring(["normal"]), count=1, side=64)
    assert sheet.key[-1].meaning == "region to ignore"
    assert (data.ignoring(["normal"]).records[0].labels == ANY_CLASS).any()
    assert "to ignore; 160 x 160" in sheet.tiles[0].caption


def test_of_a_scene_the_part_with_most_objects_is_shown(tmp_path: Path) -> None:
    many = [[1000 + 20 * x, 900, 1010 + 20 * x, 912] for x in range(8)]
    boxes = [[10, 10, 22, 22], *many]
    for name, bands, dtype in (("a.png", 3, np.uint8), ("b.tif", 5, np.uint16)):
        record = scene(tmp_path / name, boxes=boxes, bands=bands, dtype=dtype)
        sheet = make_data_sheet(Dataset((record,), ("ship",), tmp_path), side=64)
        caption = sheet.tiles[0].caption
        assert caption.startswith("8 ship; from 9"), caption
        assert "of 1,400 x 1,200 px with 9 boxes" in caption
    assert any("1 image has values of more than 8 bits" in line for line in sheet.lines)
    assert any("1 image has more than three bands" in line for line in sheet.lines)


def test_boxes_that_are_none_are_told_and_not_drawn(data: Dataset) -> None:
    record = data.records[0]
    boxes = record.boxes.copy()
    boxes[0], boxes[1] = np.nan, boxes[1, [2, 3, 0, 1]]  # not finite; from right to left
    sheet = make_data_sheet(replace(data, records=(replace(record, boxes=boxes),)), side=64)
    assert sheet.tiles[0].caption.endswith("; 1 box without finite corners")
