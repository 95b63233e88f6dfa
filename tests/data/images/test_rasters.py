from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from foveal.data.images import rasters
from foveal.data.images.rasters import Raster, georeference_of, open_raster, raster_of
from foveal.data.images.reading import read_image
from foveal.errors import ImageError
from foveal.structures import PixelRange

rasterio = pytest.importorskip("rasterio")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

HEIGHT, WIDTH = 90, 130
UTM = {"crs": "EPSG:32617", "transform": rasterio.Affine(0.1, 0, 404211.9, 0, -0.1, 3285142.9)}


def noise(bands: int = 3, kind: str = "uint8", high: int = 256) -> NDArray[Any]:
    """[bands, H, W] of smooth and rough values."""
    random = np.random.default_rng(0)
    return random.integers(0, high, (bands, HEIGHT, WIDTH)).astype(kind)


def write(path: Path, values: NDArray[Any], **profile: Any) -> Path:
    """A GeoTIFF of [bands, H, W], with a place on the map unless another is stated."""
    bands, height, width = values.shape
    size = {"count": bands, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff"} | size | UTM | profile) as file:
        file.write(values)
    return path


def picture(path: Path, values: NDArray[Any], **options: Any) -> Path:
    """A picture of [bands, H, W], written by Pillow."""
    image = np.moveaxis(values, 0, 2)
    Image.fromarray(image[:, :, 0] if len(values) == 1 else image).save(path, **options)
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "tiled": lambda to: write(to / "a.tif", noise(), tiled=True, blockxsize=16, blockysize=32),
    "strips": lambda to: write(to / "a.tif", noise(), compress="lzw", predictor=2),
    "planes": lambda to: write(to / "a.tif", noise(), interleave="band", compress="deflate"),
    "bigtiff": lambda to: write(to / "a.tif", noise(), bigtiff="YES"),
    "jpeg in tiff": lambda to: write(to / "a.tif", noise(), compress="jpeg", photometric="rgb"),
    "gray": lambda to: write(to / "a.tif", noise(1)),
    "16 bits gray": lambda to: write(to / "a.tif", noise(1, "uint16", 4000)),
    "12 bits": lambda to: write(to / "a.tif", noise(1, "uint16", 1000), nbits=12),
    "16 bits": lambda to: write(to / "a.tif", noise(3, "uint16", 9000)),
    "float": lambda to: write(to / "a.tif", noise(1, "float32") / 255),
    "alpha": lambda to: write(to / "a.tif", noise(4), photometric="rgb", alpha="yes"),
    "infrared": lambda to: write(to / "a.tif", noise(4), photometric="rgb", alpha="unspecified"),
    "palette": lambda to: _paletted(to / "a.png"),
    "png": lambda to: picture(to / "a.png", noise()),
    "gray png": lambda to: picture(to / "a.png", noise(1)),
    "16 bits png": lambda to: picture(to / "a.png", noise(1, "uint16", 5000)),
    "bilevel": lambda to: picture(to / "a.tif", noise(1) > 127, compression="group4"),
    "jpeg": lambda to: picture(to / "a.jpg", noise(), subsampling=0),
    "gray jpeg": lambda to: picture(to / "a.jpg", noise(1)),
    "jpeg 2000": lambda to: picture(to / "a.jp2", noise()),
    "turned": lambda to: picture(to / "a.jpg", noise(), subsampling=0, exif=_turned(6)),
    "webp": lambda to: picture(to / "a.webp", noise(), lossless=True),
    "no place": lambda to: write(to / "a.tif", noise(), crs=None),
}  # fmt: skip


def _paletted(path: Path) -> Path:
    Image.fromarray(np.moveaxis(noise(), 0, 2)).quantize(40).save(path)
    return path


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _read_a_part(path: Path, wanted: PixelRange) -> None:
    with open_raster(path, wanted) as raster:
        raster.read(0, 0, 5, 5)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("small", [0, 1 << 24], ids=["large", "small"])
def test_a_window_is_the_same_part_of_the_whole_image(
    kind: str, bands: int, small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rasters, "_SMALL", small)
    path = FILES[kind](tmp_path)
    wanted = PixelRange(bands)
    if kind == "16 bits" and bands == 1:
        for read in (read_image, _read_a_part):
            with pytest.raises(ImageError, match=r"has 3 bands, expected 1"):
                read(path, wanted)
        return
    whole = read_image(path, wanted)
    with open_raster(path, wanted) as raster:
        assert (raster.height, raster.width, raster.bands) == whole.shape
        for left, top, right, bottom in ((0, 0, raster.width, raster.height), (7, 11, 40, 60)):
            window = raster.read(left, top, right, bottom)
            difference = window.pixels.astype(int) - whole[top:bottom, left:right]
            # JPEGs are decoded by another build of libjpeg, and gray is rounded in several ways.
            assert np.abs(difference).max() <= (kind in ("jpeg", "infrared"))
            assert window.pixels.flags.c_contiguous
            assert (window.valid is None) == (kind != "alpha")


def test_a_raster_is_opened_again_where_it_is_unpickled(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1, "uint16", 4000))
    with open_raster(path, PixelRange(1)) as raster:
        window = raster.read(3, 4, 50, 60)
        with pickle.loads(pickle.dumps(raster)) as again:
            assert isinstance(again, Raster)
            assert again.georeference == raster.georeference
            np.testing.assert_array_equal(again.read(3, 4, 50, 60).pixels, window.pixels)


def test_an_array_is_a_raster(tmp_path: Path) -> None:
    pixels = np.moveaxis(noise(), 0, 2)
    with raster_of(pixels) as raster:
        assert (raster.width, raster.height, raster.path) == (WIDTH, HEIGHT, None)
        np.testing.assert_array_equal(raster.read(5, 6, 17, 18).pixels, pixels[6:18, 5:17])
        assert raster.overview(65).pixels.shape == (45, 65, 3)


def test_the_place_on_the_map_is_read_from_the_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise())
    place = georeference_of(path)
    assert place is not None
    assert place.crs == "EPSG:32617"
    assert place.transform == tuple(UTM["transform"])[:6]
    assert georeference_of(picture(tmp_path / "a.jpg", noise())) is None
    with open_raster(path) as raster:
        assert raster.georeference == place
