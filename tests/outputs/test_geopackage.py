"""GeoPackages as GDAL reads them back."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.outputs.conftest import BOXES, CLASSES, TRANSFORMS, found_on_map

import foveal
from foveal.errors import DataError, FovealError, MissingExtraError
from foveal.geometry.georeference import Georeference
from foveal.outputs import geopackage
from foveal.outputs.geopackage import FIELDS, describe_layers, write_geopackage

resource = pytest.importorskip("resource")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")


def read(path: Path, layer: str = "detections"):
    """Its polygons and a dictionary of its columns."""
    meta, _, geometry, columns = pyogrio.raw.read(path, layer=layer)
    return meta, shapely.from_wkb(geometry), dict(zip(meta["fields"], columns, strict=True))


def corners(polygons) -> np.ndarray:
    """[N, 4, 2] corners of polygons of four."""
    return shapely.get_coordinates(polygons).reshape(-1, 5, 2)[:, :4]


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_corners_lie_where_the_transform_puts_them(tmp_path, transform):
    place = Georeference("EPSG:32617", transform)
    assert write_geopackage(tmp_path / "a.gpkg", [found_on_map(tmp_path, place, BOXES)]) == (
        "detections",
    )
    meta, polygons, _ = read(tmp_path / "a.gpkg")
    assert (meta["crs"], meta["geometry_type"]) == ("EPSG:32617", "Polygon")
    pixels = np.sort(place.to_pixels(corners(polygons)), axis=1)
    expected = np.array(BOXES)
    np.testing.assert_allclose(pixels[:, 0], expected[:, :2], atol=1e-4)
    np.testing.assert_allclose(pixels[:, 3], expected[:, 2:], atol=1e-4)
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    np.testing.assert_allclose(
        shapely.area(polygons), 100 * np.prod(expected[:, 2:] - expected[:, :2], axis=1), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", (1e-4, 0, -5.9, 0, -1e-4, 36.2)),
        ("EPSG:3857", (10, 0, -650_000, 0, -10, 4_300_000)),
        ("EPSG:2193", (0.5, 0.1, 1_750_000, 0.1, -0.5, 5_430_000)),  # northing before easting
        ("EPSG:31467", (0.2, 0, 3_500_000, 0, -0.2, 5_400_000)),  # northing before easting
        ("EPSG:2264", (0.5, 0, 1_450_000, 0, -0.5, 540_000)),  # feet
    ],
)
def test_in_any_coordinate_reference_system(tmp_path, crs, transform):
    place = Georeference(crs, transform)
    write_geopackage(tmp_path / "a.gpkg", [found_on_map(tmp_path, place, BOXES[:1])])
    meta, polygons, _ = read(tmp_path / "a.gpkg")
    assert meta["crs"] == crs
    expected = place.corners(np.array(BOXES[:1]))[0]
    assert {tuple(point) for point in corners(polygons)[0].round(6)} == {
        tuple(point) for point in expected.round(6)
    }


def test_attributes(tmp_path, utm):
    found = replace(found_on_map(tmp_path / "images", utm, BOXES), left_out_score=0.3)
    write_geopackage(tmp_path / "a.gpkg", [found])
    _, _, columns = read(tmp_path / "a.gpkg")
    assert tuple(columns) == FIELDS
    assert columns["class"].tolist() == [CLASSES[0], CLASSES[1], CLASSES[0]]
    assert columns["score"].tolist() == [0.9, 0.7, 0.5]
    assert columns["image"].tolist() == ["images/scene.tif"] * 3
    assert columns["label"].tolist() == [0, 1, 0]
    boxes = np.stack([columns[name] for name in ("xmin", "ymin", "xmax", "ymax")], axis=1)
    np.testing.assert_array_equal(boxes, BOXES)
    assert columns["capped"].tolist() == [True] * 3


def test_images_of_one_crs_share_a_layer_and_parts_are_joined(tmp_path, utm, monkeypatch):
    monkeypatch.setattr(geopackage, "_ROWS_AT_ONCE", 2)
    moved = utm.moved(2000, 0)
    places = [(utm, "a.tif"), (moved, "b.tif"), (utm, "c.tif")]
    found = [found_on_map(tmp_path, place, BOXES, name) for place, name in places]
    found.insert(1, found_on_map(tmp_path, utm, [], "empty.tif"))
    write_geopackage(tmp_path / "a.gpkg", found)
    _, polygons, columns = read(tmp_path / "a.gpkg")
    assert columns["image"].tolist() == ["a.tif"] * 3 + ["b.tif"] * 3 + ["c.tif"] * 3
    shift = corners(polygons)[3:6] - corners(polygons)[:3]
    assert np.unique(shift[..., 0].round(3)).tolist() == [20_000]
    assert polygons[:3].tolist() == polygons[6:].tolist()


def test_each_crs_has_a_layer(tmp_path, utm):
    wkt = 'LOCAL_CS["Harbor of Klang",UNIT["metre",1]]'
    places = [utm, Georeference(wkt, TRANSFORMS["rotated"]), utm]
    layers = write_geopackage(
        tmp_path / "a.gpkg", [found_on_map(tmp_path, place, BOXES) for place in places]
    )
    assert layers == ("detections_epsg_32617", "detections_harbor_of_klang")
    found = [found_on_map(tmp_path, place, BOXES) for place in places]
    assert re.search(r"2 coord.*\(detections_epsg_32617.*_klang\)", describe_layers(found))
    assert describe_layers(found[::2]) == ""
    assert pyogrio.list_layers(tmp_path / "a.gpkg")[:, 0].tolist() == list(layers)
    assert [len(read(tmp_path / "a.gpkg", layer)[1]) for layer in layers] == [6, 3]


def test_nothing_found_is_an_empty_layer(tmp_path, utm):
    foveal.write(found_on_map(tmp_path, utm, []), tmp_path / "a.gpkg")
    meta, polygons, columns = read(tmp_path / "a.gpkg")
    assert (meta["crs"], len(polygons), tuple(columns)) == ("EPSG:32617", 0, FIELDS)


def test_equal_detections_give_equal_bytes_whenever(tmp_path, utm):
    found = [found_on_map(tmp_path, utm, BOXES)]
    for name in ("a.gpkg", "b.gpkg"):
        write_geopackage(tmp_path / name, found)
    assert (tmp_path / "a.gpkg").read_bytes() == (tmp_path / "b.gpkg").read_bytes()
    with sqlite3.connect(tmp_path / "a.gpkg") as database:
        (changed,) = database.execute("SELECT last_change FROM gpkg_contents").fetchone()
    database.close()
    assert changed == geopackage.WRITTEN_AT
    assert not any(map(pyogrio.get_gdal_config_option, geopackage._OPTIONS))


def test_an_older_file_gives_way_with_its_journals(tmp_path, utm):
    path = tmp_path / "a.gpkg"
    for name in ("a.gpkg", "a.gpkg-wal", "a.gpkg-shm", "a.gpkg-journal"):
        (tmp_path / name).write_bytes(b"of another database")
    write_geopackage(path, [found_on_map(tmp_path, utm, BOXES)])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.gpkg", "a.qml"]
    assert len(read(path)[1]) == 3


@pytest.mark.skipif(os.name != "posix", reason="names are text here")
def test_names_that_are_no_text(tmp_path, utm):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/h\xf6fe"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    found = found_on_map(folder, utm, BOXES, os.fsdecode(b"\xf6.tif"))
    write_geopackage(folder / "a.gpkg", [found])
    assert len(list(folder.iterdir())) == 2
    (folder / "a.gpkg").rename(tmp_path / "b.gpkg")
    assert read(tmp_path / "b.gpkg")[2]["image"][0] == "\\udcf6.tif"


def test_without_georeference_it_is_said_what_to_do(tmp_path, utm):
    found = found_on_map(tmp_path, None, BOXES)
    with pytest.raises(DataError, match=r"a\.gpkg: .*scene\.tif has no georeference.*\.csv"):
        write_geopackage(tmp_path / "a.gpkg", [found])
    with pytest.raises(DataError, match=r"1 of 2 images have, .*scene\.tif first, no geo"):
        write_geopackage(tmp_path / "a.gpkg", [found_on_map(tmp_path, utm, []), found])
    with pytest.raises(DataError, match="there are no images"):
        write_geopackage(tmp_path / "a.gpkg", [])
    assert not list(tmp_path.iterdir())


def test_an_unknown_crs_is_named(tmp_path):
    place = Georeference("EPSG:999999", TRANSFORMS["plain"])
    with pytest.raises(
        FovealError, match=r"a\.gpkg: .*scene\.tif is unknown to PROJ.*rio edit-info"
    ):
        write_geopackage(tmp_path / "a.gpkg", [found_on_map(tmp_path, place, BOXES)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pyogrio", "shapely"])
def test_a_missing_package_is_named_with_its_line(tmp_path, utm, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"a\.gpkg: .*pip install 'foveal\[geo\]'"):
        foveal.write([found_on_map(tmp_path, utm, BOXES)], tmp_path / "a.gpkg")
    assert not list(tmp_path.iterdir())


@contextmanager
def room_for(size: int):
    """No file grows beyond a size, as on a full disk; Python ignores the signal of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.csv", "a.json"])
@pytest.mark.parametrize("size", [10_000, 150_000])
def test_a_full_disk_is_one_error_and_the_older_file_stays(tmp_path, utm, name, size):
    corner = np.random.default_rng(0).uniform(0, 900, (2000, 2))
    found = found_on_map(tmp_path, utm, np.hstack([corner, corner + 5]).tolist())
    path = tmp_path / name
    path.write_text("older")
    with room_for(size), pytest.raises(FovealError, match=r"can't be written .* still there"):
        foveal.write(found, path)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_rows_that_are_missing_are_noticed(tmp_path, utm, monkeypatch):
    monkeypatch.setattr(geopackage, "_columns", lambda rows: [])
    monkeypatch.setattr(geopackage, "FIELDS", ())
    write_geopackage(tmp_path / "a.gpkg", [found_on_map(tmp_path, utm, BOXES)])
    with pytest.raises(OSError, match="3 of 4 detections were written"):
        geopackage._check(tmp_path / "a.gpkg", {"detections": 4})


def test_detections_of_a_real_raster_overlay_it(tmp_path, shared):
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(shared / "data" / "neon-trees" / "OSBS_029.tif") as raster:
        place = Georeference(raster.crs.to_string(), tuple(raster.transform)[:6])
        bounds, shape = raster.bounds, raster.shape
        whole = [0, 0, raster.width, raster.height]
        found = found_on_map(tmp_path, place, [whole, [203, 67, 227, 90]])
        write_geopackage(tmp_path / "a.gpkg", [found])
        meta, polygons, _ = read(tmp_path / "a.gpkg")
        assert meta["crs"] == raster.crs.to_string()
        assert shapely.bounds(polygons[0]).tolist() == pytest.approx(list(bounds))
        left, bottom, right, top = shapely.bounds(polygons[1])
        row, column = raster.index(left, top, op=lambda value: value)
        assert (column, row) == pytest.approx((203, 67), abs=0.01)
        row, column = raster.index(right, bottom, op=lambda value: value)
        assert (column, row) == pytest.approx((227, 90), abs=0.01)
        assert shape == (400, 400)


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson"])
@pytest.mark.parametrize("crs", ["EPSG:32617", "EPSG:31467"])
def test_foveal_reads_it_as_labels_of_the_images(tmp_path, name, crs):
    rasterio = pytest.importorskip("rasterio")
    place = Georeference(crs, (8.0, -6.0, 3_500_000.0, -6.0, -8.0, 5_400_000.0))
    found = found_on_map(tmp_path, place, BOXES)
    shape = {"width": 1000, "height": 800, "count": 1, "dtype": "uint8"}
    transform = rasterio.Affine(*place.transform)
    with rasterio.open(found.path, "w", driver="GTiff", crs=crs, transform=transform, **shape):
        pass
    foveal.write(found, tmp_path / name)
    data = foveal.read(tmp_path / name)
    (record,) = data.records
    assert record.path == found.path
    assert [data.classes[label] for label in record.labels] == found.names
    np.testing.assert_allclose(record.boxes, found.boxes, atol=0.1)
