"""The report on scenes: what it says of any number of scenes with any number of objects."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.data.images.rasters import raster_of
from foveal.geometry.georeference import Georeference
from foveal.inference.tiling import Tiling
from foveal.reports.scene import SceneFacts, make_scene_facts, write_scene_report
from foveal.structures import Detections

UTM = Georeference("EPSG:32617", (0.5, 0, 404000, 0, -0.5, 3285000))


def found(count: int, *, size: tuple[int, int] = (4000, 3000), **more: Any) -> Detections:
    generator = np.random.default_rng(count)
    starts = generator.uniform(0, min(size) - 60, (count, 2))
    boxes = np.concatenate([starts, starts + 20], axis=1)
    labels = np.arange(count) % 3 // 2
    return Detections(
        boxes, np.linspace(0.9, 0.4, count), labels, ("ship", "<b>tank"), *size, **more
    )


def write(path: Path, *scenes: SceneFacts, **more: Any) -> str:
    """The page's text without its tags."""
    write_scene_report(path, scenes, **more)
    page = path.read_text(encoding="utf-8")
    page = re.sub(r"<style>.*?</style>|data:image[^\"]*", "", page, flags=re.DOTALL)
    assert "<b>tank" not in page
    text = unescape(re.sub(r"<[^>]*>", "\n", page))
    assert not re.search(r"\bnan\b", text)
    return re.sub(r"\n+", "\n", text)


def test_one_scene_on_the_map(tmp_path: Path) -> None:
    pytest.importorskip("pyproj")
    picture = np.zeros((30, 40, 3), np.uint8)
    scene = SceneFacts(
        "port.tif",
        found(90, georeference=UTM),
        picture,
        windows=48,
        skipped=3,
        tile=(640, 640),
        overlap=64,
        scale=2,
        seconds=150,
        notes=("holds more than 8 bits",),
    )
    text = write(
        tmp_path / "report.html",
        scene,
        model="ships",
        score_threshold=0.005,
        notes=["A thing to know."],
        map_file="detections.gpkg",
    )
    assert "What was found in port.tif by ships" in text
    assert "4,000 x 3,000 px, WGS 84 / UTM zone 17N (EPSG:32617), 50 cm a pixel" in text
    assert "90 objects found in port.tif: 60 ship, 30 <b>tank." in text
    assert "on 3 km²" in text
    assert "A thing to know." in text
    assert "port.tif holds more than 8 bits." in text
    assert "drag detections.gpkg into QGIS" in text
    assert "48 of 640 px, overlap 64; 3 without data" in text
    assert "\ntime\n" in text
    assert "from the left, m" in text
    assert "longer side of the box, m" in text
    assert "10 m" in text
    assert "limit" not in text
    assert "data:image/jpeg" in (tmp_path / "report.html").read_text()


def test_a_scene_without_a_place_on_the_map(tmp_path: Path) -> None:
    text = write(tmp_path / "report.html", SceneFacts("a.jpg", found(9, left_out_score=0.5)))
    assert "4,000 x 3,000 px, no place on the map" in text
    assert "Objects a megapixel\n0.75" in text
    assert "from the left, px" in text
    assert "A limit of detections was reached in a.jpg" in text
    assert "9 (limit)" in text
    assert "\ntime\n" not in text
    capped = SceneFacts("b.jpg", found(9, left_out_score=0.5), limit=2100)
    text = write(tmp_path / "report.html", capped)
    assert "The limit of 2,100 detections a window was reached in b.jpg" in text
    assert "QGIS" not in text


@pytest.mark.parametrize("georeference", [None, UTM])
def test_nothing_found(georeference: Georeference | None, tmp_path: Path) -> None:
    scene = SceneFacts("a.tif", found(0, georeference=georeference))
    text = write(tmp_path / "report.html", scene)
    assert "Nothing was found in a.tif. A lower --score-threshold (in Python" in text
    assert "Density" not in text


def test_no_scenes_at_all(tmp_path: Path) -> None:
    assert "There were no scenes to look at." in write(tmp_path / "report.html")


@pytest.mark.usefixtures("empty_charts")
def test_of_many_scenes_those_with_the_most_objects_are_shown(tmp_path: Path) -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    counts = [0, 3, 1, 9, 8, 7, 6, 5]
    scenes = [
        SceneFacts(f"{index}.tif", found(count), picture) for index, count in enumerate(counts)
    ]
    text = write(tmp_path / "report.html", *scenes)
    assert "What was found in 0.tif, 1.tif and 6 more" in text
    assert "39 objects found in 8 scenes: 28 ship, 11 <b>tank. Nothing was found in 1" in text
    assert "The scenes with the most objects are shown, 2 others are not." in text
    assert (tmp_path / "report.html").read_text().count("data:image/jpeg") == 6
    rows = re.findall(r"^\d\.tif\nnone\n", text, flags=re.MULTILINE)
    assert len(rows) == 8


@pytest.mark.usefixtures("empty_charts")
def test_without_pyproj_the_scene_is_described_in_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyproj", None)
    text = write(tmp_path / "report.html", SceneFacts("a.tif", found(3, georeference=UTM)))
    assert "4,000 x 3,000 px, EPSG:32617\n" in text
    assert "Objects a megapixel" in text


@pytest.mark.usefixtures("empty_charts")
def test_a_system_without_a_name(tmp_path: Path) -> None:
    pyproj = pytest.importorskip("pyproj")
    local = Georeference(
        pyproj.CRS("+proj=tmerc +lon_0=9 +lat_0=50 +ellps=GRS80").to_wkt(), UTM.transform
    )
    text = write(tmp_path / "report.html", SceneFacts("a.tif", found(3, georeference=local)))
    assert "a coordinate reference system without a name, 49.9 cm a pixel" in text
    assert "PROJCRS" not in text


@pytest.mark.usefixtures("empty_charts")
def test_facts_come_from_the_raster_and_its_tiling(tmp_path: Path) -> None:
    raster = raster_of(np.full((300, 400, 3), 90, np.uint8))
    raster.georeference = UTM
    tiling = Tiling((256, 384), overlap=64, scale=1.5)
    facts = make_scene_facts(raster, found(4, size=(400, 300)), tiling, windows=6)
    assert facts.detections.georeference == UTM
    assert facts.picture is not None
    assert facts.picture.shape == (300, 400, 3)
    text = write(tmp_path / "report.html", facts)
    assert "What was found in the image" in text
    assert "6 of 384 x 256 px, overlap 64" in text
