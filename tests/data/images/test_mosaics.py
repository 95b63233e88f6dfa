from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from foveal.data.images import mosaics
from foveal.data.images.mosaics import open_mosaic
from foveal.errors import ImageError
from foveal.structures import PixelRange

rasterio = pytest.importorskip("rasterio")

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LEFT, TOP, PIXEL = 404000.0, 3285000.0, 0.5


def write(path: Path, values: NDArray[Any], left: int = 0, top: int = 0, **profile: Any) -> Path:
    """A GeoTIFF of [bands, H, W] that begins so many pixels from the corner of them all."""
    bands, height, width = values.shape
    place = rasterio.Affine(PIXEL, 0, LEFT + left * PIXEL, 0, -PIXEL, TOP - top * PIXEL)
    usual = {"driver": "GTiff", "crs": "EPSG:32617", "transform": place, "count": bands}
    size = {"height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **(usual | size | profile)) as file:
        file.write(values)
    return path


def scene(bands: int = 3) -> NDArray[np.uint8]:
    """[bands, 80, 120] that is smooth, so that resampling changes little."""
    rows, columns = np.mgrid[:80, :120]
    return np.stack([(rows * (1 + band) + columns) % 200 for band in range(bands)]).astype(np.uint8)


def test_files_are_laid_side_by_side_with_gaps_between(tmp_path: Path) -> None:
    whole = scene()
    one = write(tmp_path / "a.tif", whole[:, :50, :70])
    two = write(tmp_path / "b.tif", whole[:, 20:, 60:], 60, 20)
    with open_mosaic([two, one]) as raster:
        assert (raster.width, raster.height) == (120, 80)
        assert raster.georeference is not None
        assert raster.georeference.transform == (PIXEL, 0, LEFT, 0, -PIXEL, TOP)
        window = raster.read(0, 0, 120, 80)
        assert window.valid is not None
        expected = np.zeros((80, 120), bool)
        expected[:50, :70] = expected[20:, 60:] = True
        np.testing.assert_array_equal(window.valid, expected)
        image = np.moveaxis(whole, 0, 2)
        np.testing.assert_array_equal(window.pixels[expected], image[expected])
        assert not window.pixels[~expected].any()
        assert raster.read(10, 10, 30, 30).valid is None
        assert raster.overview(60).pixels.shape == (40, 60, 3)
        assert raster.notes == ()


def test_the_first_file_with_data_is_taken_where_several_lie(tmp_path: Path) -> None:
    ones, twos = np.full((1, 20, 20), 1, np.uint8), np.full((1, 20, 20), 2, np.uint8)
    ones[:, 5:10] = 0
    first = write(tmp_path / "a.tif", ones, nodata=0)
    second = write(tmp_path / "b.tif", twos)
    with open_mosaic([first, second], PixelRange(1)) as raster:
        window = raster.read(0, 0, 20, 20)
        assert window.valid is None
        assert set(np.unique(window.pixels[5:10])) == {2}
        assert set(np.unique(window.pixels[10:])) == {1}


@pytest.mark.parametrize("system", ["EPSG:32617", "EPSG:32616", "EPSG:4326"])
def test_files_with_other_pixels_are_resampled_to_those_of_the_first(
    system: str, tmp_path: Path
) -> None:
    from rasterio.warp import reproject, transform_bounds

    whole = scene(1)
    one = write(tmp_path / "a.tif", whole[:, :, :60])
    two = write(tmp_path / "b.tif", whole[:, :, 40:], 40)
    with rasterio.open(two) as file:
        left, bottom, right, top = transform_bounds(file.crs, system, *file.bounds)
        height, width = 110, 150
        finer = rasterio.Affine((right - left) / width, 0, left, 0, (bottom - top) / height, top)
        values = np.zeros((1, height, width), np.uint8)
        inside = np.zeros(values.shape[1:], np.uint8)
        how = {"src_crs": file.crs, "dst_crs": system, "dst_transform": finer, "resampling": 1}
        reproject(file.read(), values, src_transform=file.transform, **how)
        ones = np.ones((file.height, file.width), np.uint8)
        reproject(ones, inside, src_transform=file.transform, **how)
    values[0, inside == 0] = 255
    write(tmp_path / "c.tif", values, crs=system, transform=finer, nodata=255)
    with open_mosaic([one, tmp_path / "c.tif"], PixelRange(1)) as raster:
        assert raster.notes[0].startswith("holds 1 file with other pixels")
        assert raster.georeference is not None
        above = round((raster.georeference.transform[5] - TOP) / PIXEL)  # of a file that is turned
        window = raster.read(0, above, 116, above + 78)
        image = whole[0, :78, :116].astype(int)
        valid = np.ones(image.shape, bool) if window.valid is None else window.valid
        assert valid.mean() > 0.95
        smooth = valid & (image > 8) & (image < 192)
        assert np.abs(window.pixels[:, :, 0].astype(int) - image)[smooth].max() <= 4


def test_thousands_of_files_are_not_open_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaics, "_OPEN", 2)
    whole = scene()
    for column in range(6):
        left = 20 * column
        write(tmp_path / f"{column}.tif", whole[:, :, left : left + 20], left)
    (tmp_path / "note.txt").write_text("nothing")
    with open_mosaic(tmp_path) as raster, pickle.loads(pickle.dumps(raster)) as again:
        for each in (raster, again):
            np.testing.assert_array_equal(each.read(0, 0, 120, 80).pixels, np.moveaxis(whole, 0, 2))
        assert raster.paths[0] == tmp_path / "0.tif"
        (tmp_path / "3.tif").unlink()
        raster.read(0, 0, 55, 80)
        with pytest.raises(ImageError, match=r"3\.tif"):
            raster.read(0, 0, 80, 80)


def test_the_range_of_deep_values_is_looked_for_where_files_lie(tmp_path: Path) -> None:
    dark, light = np.full((1, 8, 8), 100, np.uint16), np.full((1, 8, 8), 4000, np.uint16)
    paths = [write(tmp_path / "a.tif", dark), write(tmp_path / "b.tif", light, 300, 300)]
    with open_mosaic(paths, PixelRange(1)) as raster:
        assert raster.pixel_range.deep == (0, 4095)
        assert any("values from 100 to 4,000" in note for note in raster.notes)


def test_gaps_are_known_without_reading(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.tif", scene()), write(tmp_path / "b.tif", scene(), 200, 100)]
    with open_mosaic(paths) as raster:
        assert raster.is_empty(121, 0, 199, 180)
        assert not raster.is_empty(0, 0, 10, 10)
        assert not raster.is_empty(190, 90, 210, 110)
        overview = raster.overview(32)
        assert overview.valid is not None
        assert overview.valid[0, 0]
        assert not overview.valid[0, -1]


def test_files_on_two_continents_are_no_mosaic(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.tif", scene()), write(tmp_path / "b.tif", scene(), 90_000, 90_000)]
    with pytest.raises(ImageError, match=r"b?\.tif and 1 other file lie far apart.*--mosaic"):
        open_mosaic(paths)


def test_what_is_no_mosaic_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "a.tif", scene())
    with pytest.raises(ImageError, match="There is no file"):
        open_mosaic([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no image"):
        open_mosaic(tmp_path / "empty")
    two = write(tmp_path / "b.tif", scene(), crs=None)
    with pytest.raises(ImageError, match=r"b\.tif: has no place on the map"):
        open_mosaic([one, two])
    three = write(tmp_path / "c.tif", scene().astype(np.uint16))
    with pytest.raises(ImageError, match=r"c\.tif: holds uint16 values"):
        open_mosaic([one, three])
    five = write(tmp_path / "d.tif", np.concatenate([scene(), scene(2)]), 120)
    with open_mosaic([one, five]) as raster:
        raster.read(0, 0, 100, 50)
        with pytest.raises(ImageError, match=r"d\.tif: has 5 bands, expected 3"):
            raster.read(0, 0, 140, 50)
