"""Scenes as pictures: all of the pixels are there, on the map, and never many at once."""

from __future__ import annotations

import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.data.images.rasters import Raster, open_raster, raster_of
from foveal.data.images.reading import image_size, read_image
from foveal.errors import FovealError, MissingExtraError
from foveal.geometry.georeference import Georeference
from foveal.outputs import scene_pictures
from foveal.outputs.scene_pictures import draw_scene, write_overview, write_scene_picture
from foveal.structures import Detections, PixelRange
from foveal.visualization import colors
from foveal.visualization.scene_drawing import plan_drawing

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("shapely")
WIDTH, HEIGHT = 700, 600
TURNED = Georeference("EPSG:32617", (0.5, 0.1, 404000.0, 0.1, -0.5, 3285000.0))


def texture(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    generator = np.random.default_rng(0)
    coarse = generator.integers(60, 160, (height // 20, width // 20, 3), dtype=np.uint8)
    return coarse.repeat(20, axis=0).repeat(20, axis=1)


def found(count: int, width: int = WIDTH, height: int = HEIGHT) -> Detections:
    generator = np.random.default_rng(1)
    starts = generator.uniform((0, 0), (width - 90, height - 90), (count, 2))
    boxes = np.concatenate([starts, starts + generator.uniform(10, 80, (count, 2))], axis=1)
    labels = generator.integers(0, 2, count)
    return Detections(boxes, np.linspace(0.9, 0.3, count), labels, ("ship", "car"), width, height)


def write(path: Path, values: NDArray[np.generic], where: Georeference | None = TURNED) -> Path:
    profile = {"driver": "GTiff", "width": values.shape[1], "height": values.shape[0]}
    profile |= {"count": values.shape[2], "dtype": values.dtype, "tiled": True}
    if where is not None:
        profile |= {"crs": where.crs, "transform": rasterio.Affine(*where.transform)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values.transpose(2, 0, 1))
    return path


@pytest.mark.parametrize("count", [0, 20])
def test_all_pixels_are_drawn_and_lie_where_the_scene_lies(count: int, tmp_path: Path) -> None:
    detections = found(count)
    with open_raster(write(tmp_path / "scene.tif", texture())) as raster:
        rows: list[int] = []
        write_scene_picture(tmp_path / "drawn.tif", raster, detections, on_rows=rows.append)
    assert sum(rows) == HEIGHT
    with rasterio.open(tmp_path / "drawn.tif") as file:
        assert file.crs.to_string() == TURNED.crs
        assert tuple(file.transform)[:6] == pytest.approx(TURNED.transform)
        assert file.block_shapes[0] == (512, 512)
        assert file.compression.name == "jpeg"
        assert file.overviews(1) == [2]
        pixels = file.read().transpose(1, 2, 0)
    expected = plan_drawing(detections).draw(texture(), 0, 0)
    difference = np.abs(pixels.astype(int) - expected).mean(axis=2)
    assert difference.mean() < 6  # JPEG halves the resolution of colors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.tif", "scene.tif"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_without_a_place_on_the_map_gives_a_picture_without_one(tmp_path: Path) -> None:
    write_scene_picture(tmp_path / "drawn.tif", raster_of(texture()), found(3))
    with rasterio.open(tmp_path / "drawn.tif") as file:
        assert file.crs is None
        assert (file.width, file.height) == (WIDTH, HEIGHT)


def test_no_more_than_a_window_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_pictures, "_WINDOW", 512)
    read = Raster.read
    areas = []

    def counting(self: Raster, left: int, top: int, right: int, bottom: int) -> object:
        areas.append((right - left) * (bottom - top))
        return read(self, left, top, right, bottom)

    monkeypatch.setattr(Raster, "read", counting)
    write_scene_picture(tmp_path / "a.tif", raster_of(texture(1400, 1100)), found(9, 1400, 1100))
    assert max(areas) == 512 * 512
    assert sum(areas) == 1400 * 1100


@pytest.mark.parametrize("limit", [30_000, 100_000, 160_000])
def test_a_disk_that_fills_is_said_and_leaves_the_old_picture(
    limit: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "drawn.tif"
    path.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(FovealError, match=r"drawn\.tif: can't be written .*--out"):
            write_scene_picture(path, raster_of(noise), found(3), advice="Choose another --out.")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [each.name for each in tmp_path.iterdir()] == ["drawn.tif"]
    assert path.read_bytes() == b"old"


def test_without_rasterio_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[geo\]'"):
        write_scene_picture(tmp_path / "a.tif", raster_of(texture()), found(1))


@pytest.mark.parametrize("count", [0, 20])
def test_an_overview_is_small(count: int, tmp_path: Path) -> None:
    with open_raster(write(tmp_path / "scene.tif", texture())) as raster:
        write_overview(tmp_path / "o" / "overview.png", raster, found(count), max_side=350)
    assert image_size(tmp_path / "o" / "overview.png") == (350, 300)


def test_deep_values_are_spread_for_display(tmp_path: Path) -> None:
    values = (texture().astype(np.uint16) * 10 + 300)[..., [0, 1, 2, 0]]
    detections = replace(found(1), boxes=np.asarray([[200, 200, 300, 300]]))
    with open_raster(write(tmp_path / "deep.tif", values), PixelRange(4)) as raster:
        picture = draw_scene(raster, detections, labels=False, legend=False)
        write_scene_picture(tmp_path / "drawn.tif", raster, detections, labels=False)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    for shown in (picture, read_image(tmp_path / "drawn.tif")):
        assert shown[:150, :150].min() < 40
        assert shown[:150, :150].max() > 220
    assert (picture[250, 199] == colors.class_color(int(detections.labels[0]))).all()
