from __future__ import annotations

import pickle
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from foveal.data.images import rasters
from foveal.data.images.rasters import (
    Raster,
    georeference_of,
    ground_resolution,
    is_virtual_raster,
    open_for_display,
    open_raster,
    raster_of,
    raster_size,
)
from foveal.data.images.reading import read_image
from foveal.data.images.survey import settle_depth
from foveal.data.images.tiff import orient
from foveal.data.images.virtual import files_of
from foveal.errors import ImageError, MissingExtraError
from foveal.geometry.georeference import Georeference
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
    "turned tiff": lambda to: _turned_tiff(to / "a.tif", 6),
    "mirrored tiff": lambda to: _turned_tiff(to / "a.tif", 2),
    "transparent png": lambda to: picture(to / "a.png", noise(4)),
    "webp": lambda to: picture(to / "a.webp", noise(), lossless=True),
    "no place": lambda to: write(to / "a.tif", noise(), crs=None),
}  # fmt: skip


def _paletted(path: Path) -> Path:
    Image.fromarray(np.moveaxis(noise(), 0, 2)).quantize(40).save(path)
    return path


def _turned_tiff(path: Path, orientation: int) -> Path:
    """A GeoTIFF that says that it is stored turned."""
    import tifffile

    write(path, noise())
    with rasterio.open(path) as file:
        values, place = np.moveaxis(file.read(), 0, 2), file.transform
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32617)
    tags = [
        (274, "H", 1, orientation, True),
        (33550, "d", 3, (place.a, -place.e, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, place.c, place.f, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]
    tifffile.imwrite(path, values, photometric="rgb", extratags=tags)
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
    monkeypatch.setattr(rasters, "SMALL", small)
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
            assert (window.valid is None) == (kind not in ("alpha", "transparent png"))


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


def test_the_ground_that_a_pixel_shows_is_measured_in_true_meters() -> None:
    def meters(crs: str, *transform: float) -> float | None:
        a, b, c, d, e, f = transform
        return ground_resolution(Georeference(crs, (a, b, c, d, e, f)), 100, 100)

    assert meters("EPSG:32617", 0.1, 0, 500000, 0, -0.1, 3285142) == pytest.approx(0.1, rel=1e-3)
    turned = (0.06, 0.08, 500000, 0.08, -0.06, 3285142)
    assert meters("EPSG:32617", *turned) == pytest.approx(0.1, rel=1e-3)
    mercator = meters("EPSG:3857", 10, 0, 0, 0, -10, 4414410)
    assert mercator == pytest.approx(10 * np.cos(np.deg2rad(36.8)), rel=5e-3)
    degree = meters("EPSG:4326", 1e-4, 0, 10, 0, -1e-4, 60)
    assert degree == pytest.approx(111_320 * 1e-4 * 0.5**0.5, rel=5e-3)
    feet = meters("EPSG:2263", 1, 0, 980000, 0, -1, 200000)
    assert feet == pytest.approx(0.3048, rel=1e-3)
    assert meters('LOCAL_CS["a plan",UNIT["metre",1]]', 1, 0, 0, 0, -1, 0) is None


def test_a_virtual_raster_lays_images_side_by_side(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise())
    text = virtual("a.tif")
    (tmp_path / "b.vrt").write_text(text)
    with open_raster(tmp_path / "b.vrt") as raster, open_raster(path) as whole:
        window = raster.read(WIDTH - 10, 5, WIDTH + 20, 30)
        np.testing.assert_array_equal(window.pixels[:, :10], whole.read(120, 5, 130, 30).pixels)
        np.testing.assert_array_equal(window.pixels[:, 10:], whole.read(0, 5, 20, 30).pixels)
        assert raster.georeference == whole.georeference


def virtual(name: str, more: str = "") -> str:
    """A virtual raster that shows an image twice, side by side."""
    source = """<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>
    <SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{width}" ySize="{height}"/>
    <DstRect xOff="{left}" yOff="0" xSize="{width}" ySize="{height}"/></SimpleSource>"""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ColorInterp>{color}</ColorInterp>{more}'
        + "".join(
            source.format(name=name, band=band, width=WIDTH, height=HEIGHT, left=left)
            for left in (0, WIDTH)
        )
        + "</VRTRasterBand>"
        for band, color in enumerate(("Red", "Green", "Blue"), 1)
    )
    place = ", ".join(str(value) for value in UTM["transform"].to_gdal())
    return (
        f'<VRTDataset rasterXSize="{2 * WIDTH}" rasterYSize="{HEIGHT}"><SRS>EPSG:32617</SRS>'
        f"<GeoTransform>{place}</GeoTransform>{bands}</VRTDataset>"
    )


def test_a_virtual_raster_has_a_size_a_range_and_files(tmp_path: Path) -> None:
    part = write(tmp_path / "a.tif", noise(3, "uint16", 900))
    scene = tmp_path / "b.vrt"
    scene.write_text(virtual("a.tif").replace("Byte", "UInt16"))
    assert raster_size(scene) == (2 * WIDTH, HEIGHT)
    assert raster_size(part) == (WIDTH, HEIGHT)
    assert is_virtual_raster(scene)
    assert not is_virtual_raster(part)
    assert set(files_of(scene)) == {scene, part}
    assert files_of(part) == (part,)
    assert files_of(tmp_path / "missing.tif") == (tmp_path / "missing.tif",)
    (tmp_path / "c.vrt").write_text(virtual("b.vrt"))
    assert set(files_of(tmp_path / "c.vrt")) == {tmp_path / "c.vrt", scene, part}
    bright = write(tmp_path / "bright.tif", noise(3, "uint16", 9000))
    pixel_range, told = settle_depth([scene, bright], PixelRange(3))
    assert pixel_range.deep == (0, 16383)
    assert "2 images hold more than 8 bits" in told
    assert "sample" not in told


def test_the_range_of_a_deep_scene_is_told_by_a_sample_of_its_windows(tmp_path: Path) -> None:
    side = 6000
    size = {"width": side, "height": side, "count": 1, "dtype": "uint16", **UTM}
    layout = {"tiled": True, "sparse_ok": True, "compress": "deflate"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size, **layout) as file:
        block = np.full((1, 256, 256), 3000, np.uint16)
        for corner in range(0, side - 256, 512):
            file.write(block, window=rasterio.windows.Window(corner, corner, 256, 256))
    tracemalloc.start()
    pixel_range, told = settle_depth([tmp_path / "a.tif"], PixelRange(1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixel_range.deep == (0, 4095)
    assert "values from 0 to 3,000 in a sample of windows: 0 to 4,095 become" in told
    assert peak < side * side * 2 / 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../a.tif", "outside its folder"),
        ("/vsicurl/http://127.0.0.1/a.tif", "outside its folder"),
        ("http://127.0.0.1/a.tif", "outside its folder"),
        ("link.tif", "outside its folder"),
        ("missing.tif", "does not exist"),
        ("wms.xml", "no image"),
        ("b.vrt", "names itself"),
    ],
)
def test_a_virtual_raster_names_nothing_outside_its_folder(
    name: str, said: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.tif", noise())
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.tif").symlink_to(tmp_path / "a.tif")
    (folder / "wms.xml").write_text("<GDAL_WMS><Service/></GDAL_WMS>")
    (folder / "b.vrt").write_text(virtual(name))
    with pytest.raises(ImageError, match=said):
        open_raster(folder / "b.vrt")


@pytest.mark.parametrize("more", ["<PixelFunctionType>diff</PixelFunctionType>", "<Mask/>"])
def test_a_virtual_raster_computes_nothing(more: str, tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise())
    (tmp_path / "b.vrt").write_text(virtual("a.tif", more))
    with pytest.raises(ImageError, match="does more than laying images side by side"):
        open_raster(tmp_path / "b.vrt")


def test_deep_values_are_shown_between_their_percentiles(tmp_path: Path) -> None:
    values = noise(2, "uint16", 900)
    values[0, :5] = 60_000
    path = write(tmp_path / "deep.tif", values)
    with open_for_display(path) as raster:
        shown = raster.read(0, 0, raster.width, raster.height).pixels
    assert shown.shape == (HEIGHT, WIDTH, 2)
    assert np.median(shown[10:, :, 1]) == pytest.approx(128, abs=10)
    assert shown[10:, :, 0].max() < 10
    for band in (0, 1):
        assert shown[..., band].max() == 255


def test_bytes_are_shown_as_they_are(tmp_path: Path) -> None:
    values = noise()
    with open_for_display(write(tmp_path / "a.tif", values)) as raster:
        window = raster.read(0, 0, raster.width, raster.height)
    assert np.array_equal(window.pixels, np.moveaxis(values, 0, 2))


def test_a_deep_image_without_any_data_can_be_shown(tmp_path: Path) -> None:
    values = np.full((1, 20, 30), np.nan, np.float32)
    with open_for_display(write(tmp_path / "nothing.tif", values)) as raster:
        assert raster.read(0, 0, 30, 20).pixels.shape == (20, 30, 1)


def place_of(path: Path, points: NDArray[np.float64], places: NDArray[np.float64]) -> Georeference:
    """What is read of a file with ground control points, pixels [N, 2] and places [N, 2]."""
    from rasterio.control import GroundControlPoint

    gcps = [
        GroundControlPoint(row=y, col=x, x=east, y=north)
        for (x, y), (east, north) in zip(points.tolist(), places.tolist(), strict=True)
    ]
    write(path, noise(), transform=None, gcps=gcps)
    place = georeference_of(path)
    assert place is not None
    return place


GRID = np.array([(x, y) for x in (0.0, 60.0, 130.0) for y in (0.0, 50.0, 90.0)])


def test_ground_control_points_place_an_image(tmp_path: Path) -> None:
    turned = Georeference("EPSG:32617", (0.8, -0.6, 500_000.0, -0.6, -0.8, 4_000_000.0))
    place = place_of(tmp_path / "a.tif", GRID, turned.to_map(GRID))
    assert place.transform == pytest.approx(turned.transform)
    assert not place.bend
    bent = Georeference(
        turned.crs, turned.transform, ((0, 0, 0, 3e-4, 1e-4, 0), (0, 0, 0, 0, 2e-4, -4e-4))
    )
    place = place_of(tmp_path / "b.tif", GRID, bent.to_map(GRID))
    elsewhere = np.array([[30.0, 20.0], [100.0, 70.0]])
    np.testing.assert_allclose(place.to_map(elsewhere), bent.to_map(elsewhere), atol=1e-3)
    with open_raster(tmp_path / "b.tif") as raster:
        assert raster.notes == ()


def test_ground_control_points_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    flat = Georeference("EPSG:32617", (1, 0, 500_000, 0, -1, 4_000_000))
    places = flat.to_map(GRID)
    places[4] += 20
    place_of(tmp_path / "a.tif", GRID, places)
    with open_raster(tmp_path / "a.tif") as raster:
        assert "ground control points of which one is missed by" in raster.notes[0]


def test_rational_polynomials_alone_are_no_place(tmp_path: Path) -> None:
    from rasterio.rpc import RPC

    one, across, down = ([float(n == at) for n in range(20)] for at in range(3))
    rpcs = RPC(
        height_off=0, height_scale=500, lat_off=45, lat_scale=0.1, long_off=10, long_scale=0.1,
        line_off=45, line_scale=45, samp_off=65, samp_scale=65,
        line_num_coeff=down, line_den_coeff=one, samp_num_coeff=across, samp_den_coeff=one,
    )  # fmt: skip
    write(tmp_path / "a.tif", noise(), transform=None, crs=None, rpcs=rpcs)
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.georeference is None
        assert "gdalwarp -rpc" in raster.notes[0]
        assert raster.read(0, 0, 9, 9).pixels.shape == (9, 9, 3)


@pytest.mark.parametrize("kind", ["streamed", "smaller versions", "in memory"])
def test_an_overview_shows_the_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rasters, "_STREAMED", 9 * 130 * 3)  # some rows at once
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    values = np.stack([rows, columns, rows + columns]).astype(np.uint8)
    path = write(tmp_path / "a.tif", values, nodata=None if kind == "streamed" else 0)
    if kind == "smaller versions":
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    image = np.moveaxis(values, 0, 2)
    with raster_of(image if kind == "in memory" else path) as raster:
        overview = raster.overview(26)
        assert overview.pixels.shape == (18, 26, 3)
        expected = image.reshape(18, 5, 26, 5, 3).mean(axis=(1, 3))
        assert np.abs(overview.pixels - expected).max() <= 3
        assert raster.overview(1).pixels.shape == (1, 1, 3)
        assert raster.overview(1000).pixels.shape == image.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_place_of_a_turned_image_is_that_of_its_pixels(
    orientation: int, tmp_path: Path
) -> None:
    path = _turned_tiff(tmp_path / "a.tif", orientation)
    stored = Georeference("EPSG:32617", tuple(UTM["transform"])[:6])
    index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    seen = orient(index, orientation)
    with open_raster(path) as raster:
        assert (raster.height, raster.width) == seen.shape
        assert raster.georeference == georeference_of(path)
        assert raster.georeference is not None
        for row, column in ((0, 0), (5, 70), (80, 20)):
            y, x = divmod(int(seen[row, column]), WIDTH)
            center = raster.georeference.to_map(np.array([column + 0.5, row + 0.5]))
            assert center == pytest.approx(stored.to_map(np.array([x + 0.5, y + 0.5])))


def test_masks_and_nodata_say_which_pixels_are_valid(tmp_path: Path) -> None:
    expected = np.ones((HEIGHT, WIDTH), bool)
    expected[:30, 5:] = False
    marked = noise(2, "int16", 3000) + 1
    marked[:, ~expected] = -9999
    marked[0, 40:45] = -9999  # of one band only: these pixels are valid
    holes = noise(1, "float32")
    holes[0, ~expected] = np.nan
    files = {
        "nodata": write(tmp_path / "a.tif", marked, nodata=-9999),
        "no number": write(tmp_path / "b.tif", holes),
        "no number stated": write(tmp_path / "c.tif", holes, nodata=np.nan),
        "another": write(tmp_path / "d.tif", np.where(np.isnan(holes), -3.4e38, holes).astype(
            "float32"), nodata=float(np.float32(-3.4e38))),
        "mask": write(tmp_path / "e.tif", noise(3)),
        "alpha": write(tmp_path / "f.tif", np.concatenate([noise(3), 255 * expected[None]]).astype(
            "uint8"), photometric="rgb", alpha="yes"),
    }  # fmt: skip
    with rasterio.open(files["mask"], "r+") as file:
        file.write_mask(expected)
    picture(tmp_path / "g.png", np.concatenate([noise(3), 255 * expected[None]]).astype("uint8"))
    files["transparent"] = tmp_path / "g.png"
    for kind, path in files.items():
        bands = 2 if kind == "nodata" else 1 if "no number" in kind or kind == "another" else 3
        with open_raster(path, PixelRange(bands)) as raster:
            valid = raster.read(0, 0, WIDTH, HEIGHT).valid
            assert valid is not None, kind
            np.testing.assert_array_equal(valid, expected, err_msg=kind)
            assert raster.read(0, 40, 20, 60).valid is None, kind
            overview = raster.overview(65).valid
            assert overview is not None, kind
            assert overview.mean() == pytest.approx(expected.mean(), abs=0.02)
            # What stands for no data does not make the others dark.
            high = raster.pixel_range.deep[1:] or (255,)
            assert high[0] == {"nodata": 4095}.get(kind, 255), kind


@pytest.mark.parametrize("text", ["no numbers", "0\n" * 6])
def test_a_world_file_that_states_no_place_is_told(text: str, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.jpg", noise())
    assert rasters.place_of(path) == (None, "")
    (tmp_path / "a.jgw").write_text(text)
    place, note = rasters.place_of(path)
    assert place is None
    assert note == "has a.jgw beside it, which states no place: boxes stay in pixels"


def test_a_mask_that_is_none_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise())
    (tmp_path / "a.tif.msk").write_text("no image")
    with open_raster(path) as raster:
        assert raster.notes == ("has a.tif.msk beside it, which is no mask, and is left out",)
        assert raster.read(0, 0, 9, 9).valid is None


def test_a_scene_without_any_data_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.full((1, 9, 9), np.nan, np.float32))
    with open_raster(path, PixelRange(1)) as raster:
        window = raster.read(0, 0, 9, 9)
        assert window.valid is not None
        assert not window.valid.any()
        assert not window.pixels.any()


def _tagged(path: Path, size: tuple[float, float], code: int = 32617) -> Path:
    """A GeoTIFF whose pixels have a size that GDAL would not write."""
    import tifffile

    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, code)
    tags = [
        (33550, "d", 3, (*size, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 5e6, 0.0), True),
        (34735, "H", len(keys), keys, True),
    ]
    blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    tifffile.imwrite(path, blank, photometric="rgb", extratags=tags)
    return path


def _cut(path: Path, share: float) -> Path:
    write(path, noise(), tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def _damaged(path: Path) -> Path:
    write(path, noise(), tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    content = path.read_bytes()
    path.write_bytes(content[:-3000] + bytes(2000) + content[-1000:])
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cut in the middle": (lambda to: _cut(to, 0.6), "is cut short"),
    "cut in the header": (lambda to: _cut(to, 0.001), "broken or cut short"),
    "damaged": (_damaged, "can't be read"),
    "empty": (lambda to: to.touch() or to, "is empty"),
    "folder": (lambda to: to.mkdir() or to, "is a folder"),
    "missing": (lambda to: to, "does not exist"),
    "no image": (lambda to: to.write_text("no image") and to, "is no image"),
    "no size": (lambda to: _tagged(to, (0.0, 0.0)), "1 ground control point and no size"),
    "no number": (lambda to: _tagged(to, (np.nan, 1.0)), "what is no number"),
    "too far": (lambda to: _tagged(to, (1e300, 1.0)), "what is no number"),
    "unknown system": (lambda to: _tagged(to, (1.0, 1.0), 29999), "none that PROJ knows"),
    "upon a line": (
        lambda to: write(to, noise(), transform=rasterio.Affine(1, 2, 0, 2, 4, 0)), "upon a line"),
    "complex": (lambda to: write(to, noise().astype("complex64")), "complex numbers"),
    "many bands": (lambda to: write(to, noise(5)), "has 5 bands, expected 3"),
    "near infrared": (lambda to: write(to, noise(4, "uint16", 4000)), "model.bands=4"),
    "below zero": (lambda to: write(to, noise(3, "int16", 900) - 500), "--band-range"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_rasters_are_errors_that_name_the_file(kind: str, tmp_path: Path) -> None:
    make, said = BAD[kind]
    path = make(tmp_path / "scene.tif")
    with pytest.raises(ImageError, match=said) as raised, open_raster(path) as raster:
        raster.read(0, 0, raster.width, raster.height)
    assert str(path) in str(raised.value)


def test_without_rasterio_plain_images_are_read_and_others_say_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.tif", noise())
    plain = picture(tmp_path / "a.png", noise())
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.setattr(rasters, "SMALL", 0)
    for look in (open_raster, georeference_of):
        with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[geo\]'"):
            look(path)
    assert georeference_of(plain) is None
    with open_raster(plain) as raster:
        assert raster.read(0, 0, 9, 8).pixels.shape == (8, 9, 3)
        assert "is decoded whole: reading windows of it needs rasterio" in raster.notes[0]


def test_another_process_opens_the_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    make = rasters._open_source
    monkeypatch.setattr(rasters, "_open_source", lambda *of: opened.append(of) or make(*of))
    with open_raster(write(tmp_path / "a.tif", noise())) as raster:
        here = raster.read(0, 0, 50, 50).pixels
        assert len(opened) == 1
        monkeypatch.setattr(rasters.os, "getpid", lambda: -1)  # as it is after a fork
        np.testing.assert_array_equal(raster.read(0, 0, 50, 50).pixels, here)
        assert len(opened) == 2


def _read_all_rows(path: Path) -> None:
    with open_raster(path) as raster:
        for top in range(0, raster.height, 10):
            raster.read(0, top, raster.width, min(top + 10, raster.height))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".jp2"])
def test_large_pictures_that_are_cut_short_do_not_come_out_gray(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rasters, "SMALL", 0)
    path = picture(tmp_path / f"a{ending}", noise())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match=r"can't be read|cut short"):
        _read_all_rows(path)


def test_pages_of_a_stack_are_rasters(tmp_path: Path) -> None:
    first, second = (Image.fromarray(np.moveaxis(noise(), 0, 2)[::step]) for step in (1, -1))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    for page in (1, 2):
        path = tmp_path / f"a.tif[{page}]"
        with open_raster(path) as raster:
            read = raster.read(0, 5, WIDTH, 60).pixels
        np.testing.assert_array_equal(read, read_image(path)[5:60])
        assert georeference_of(path) is None
