"""GeoJSON by RFC 7946, and as GDAL reads it back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.outputs.conftest import BOXES, CLASSES, TRANSFORMS, found_on_map

import foveal
from foveal.errors import DataError, MissingExtraError
from foveal.geometry.georeference import Georeference
from foveal.outputs import geojson
from foveal.outputs.geojson import write_geojson

pyogrio = pytest.importorskip("pyogrio")
pyproj = pytest.importorskip("pyproj")
shapely = pytest.importorskip("shapely")

PLACES = {
    **{name: ("EPSG:32617", transform) for name, transform in TRANSFORMS.items()},
    "degrees": ("EPSG:4326", (1e-4, 0, -5.9, 0, -1e-4, 36.2)),
    "other degrees": ("EPSG:4269", (1e-4, 2e-5, -80.9, 2e-5, -1e-4, 36.2)),
    "web": ("EPSG:3857", (10, 0, -650_000, 0, -10, 4_300_000)),
    "New Zealand": ("EPSG:2193", (0.5, 0.1, 1_750_000, 0.1, -0.5, 5_430_000)),
    "Germany": ("EPSG:31467", (0.02, 0, 3_500_000, 0, -0.02, 5_400_000)),
    "feet": ("EPSG:2264", (0.5, 0, 1_450_000, 0, -0.5, 540_000)),
}


def features(path: Path) -> list[dict]:
    document = json.loads(path.read_text("utf-8"))
    assert set(document) == {"type", "features"}
    assert document["type"] == "FeatureCollection"
    return document["features"]


def pixels_of(polygons, place: Georeference) -> np.ndarray:
    """The pixels of points in longitude and latitude, by another way than the writer's."""
    crs = pyproj.CRS.from_user_input(place.crs)
    to_map = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    x, y = to_map.transform(*shapely.get_coordinates(polygons).T)
    return place.to_pixels(np.stack([x, y], axis=1))


@pytest.mark.parametrize("name", PLACES)
def test_gdal_reads_corners_within_a_tenth_of_a_pixel(tmp_path, name):
    place = Georeference(*PLACES[name])
    write_geojson(tmp_path / "a.geojson", [found_on_map(tmp_path, place, BOXES)])
    meta, _, geometry, _ = pyogrio.raw.read(tmp_path / "a.geojson")
    polygons = shapely.from_wkb(geometry)
    assert meta["crs"] == "EPSG:4326"
    for polygon, box in zip(polygons, BOXES, strict=True):
        points = pixels_of(polygon, place)
        for corner in np.array(box)[[[0, 1], [2, 1], [2, 3], [0, 3]]]:
            assert np.linalg.norm(points - corner, axis=1).min() < 0.1
        edges = shapely.Polygon(np.array(box)[[[0, 1], [2, 1], [2, 3], [0, 3]]]).exterior
        assert shapely.distance(edges, shapely.points(points)).max() < 0.1
    assert shapely.is_valid(polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()


def test_by_hand(tmp_path):
    place = Georeference("EPSG:4326", (0.5, 0, 10, 0, -0.5, 50))
    found = found_on_map(tmp_path, place, [[2, 4, 6.5, 8], [0, 0, 1, 1]])
    write_geojson(tmp_path / "a.geojson", [found])
    first, second = features(tmp_path / "a.geojson")
    assert first == {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[11, 48], [11, 46], [13.25, 46], [13.25, 48], [11, 48]]],
        },
        "properties": {
            "class": "ship",
            "score": 0.9,
            "image": "scene.tif",
            "label": 0,
            "xmin": 2.0,
            "ymin": 4.0,
            "xmax": 6.5,
            "ymax": 8.0,
            "capped": False,
        },
    }
    assert second["properties"]["class"] == CLASSES[1]


@pytest.mark.parametrize(("side", "decimals"), [(10, 7), (0.1, 7), (0.02, 8), (0.001, 9)])
def test_seven_decimals_and_more_where_pixels_are_small(tmp_path, side, decimals):
    place = Georeference("EPSG:32617", (side, 0, 500_000, 0, -side, 4_000_000))
    write_geojson(tmp_path / "a.geojson", [found_on_map(tmp_path, place, BOXES[:1])])
    text = (tmp_path / "a.geojson").read_text()
    coordinates = text[text.index("coordinates") : text.index("properties")]
    assert {len(each) for each in re.findall(r"\.(\d+)", coordinates)} == {decimals}
    (geometry,) = pyogrio.raw.read(tmp_path / "a.geojson")[2]
    points = pixels_of(shapely.from_wkb(geometry), place)
    assert np.abs(points - np.array(BOXES[0])[[[0, 1], [0, 3], [2, 3], [2, 1], [0, 1]]]).max() < 0.1


def test_edges_that_are_bent_have_points_more(tmp_path, utm):
    long, short = [0, 0, 8000, 40], [0, 0, 40, 40]
    write_geojson(tmp_path / "a.geojson", [found_on_map(tmp_path, utm, [long, short])])
    polygons = shapely.from_wkb(pyogrio.raw.read(tmp_path / "a.geojson")[2])
    assert shapely.get_num_coordinates(polygons).tolist() == [65, 5]
    fine = shapely.get_coordinates(shapely.segmentize(polygons[0], 1e-3))
    points = pixels_of(shapely.points(fine), utm)
    edges = shapely.Polygon([[0, 0], [8000, 0], [8000, 40], [0, 40]]).exterior
    assert shapely.distance(edges, shapely.points(points)).max() < 0.1


def test_images_that_control_points_bend(tmp_path):
    bend = ((0, 0, 0, 1e-8, 2e-8, 0), (0, 0, 0, -3e-8, 0, 1e-8))
    place = Georeference("EPSG:4326", (1e-4, 0, 10, 0, -1e-4, 50), bend)
    write_geojson(tmp_path / "a.geojson", [found_on_map(tmp_path, place, BOXES)])
    polygons = shapely.from_wkb(pyogrio.raw.read(tmp_path / "a.geojson")[2])
    assert shapely.get_num_coordinates(polygons)[1] > 5
    for polygon, box in zip(polygons, BOXES, strict=True):
        edges = shapely.Polygon(np.array(box)[[[0, 1], [2, 1], [2, 3], [0, 3]]]).exterior
        points = place.to_pixels(shapely.get_coordinates(shapely.segmentize(polygon, 1e-3)))
        assert shapely.distance(edges, shapely.points(points)).max() < 0.1


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32760", "EPSG:3832"])
def test_the_antimeridian_splits_a_box(tmp_path, crs):
    transform = {
        "EPSG:4326": (0.01, 0, 179, 0, -0.01, -18),
        "EPSG:32760": (1000, 0, 730_000, 0, -1000, 8_000_000),
        "EPSG:3832": (1000, 0, 3_228_000, 0, -1000, -2_040_000),
    }[crs]
    place = Georeference(crs, transform)
    boxes = [[20, 10, 150, 30], [0, 0, 5, 5], [140, 10, 150, 20]]
    found = found_on_map(tmp_path, place, boxes)
    write_geojson(tmp_path / "a.geojson", [found])
    split, west, east = (each["geometry"] for each in features(tmp_path / "a.geojson"))
    assert (split["type"], west["type"], east["type"]) == ("MultiPolygon", "Polygon", "Polygon")
    first, second = shapely.from_geojson(json.dumps(split)).geoms
    assert shapely.is_valid([first, second]).all()
    assert first.exterior.is_ccw
    assert second.exterior.is_ccw
    assert (first.bounds[2], second.bounds[0]) == (180, -180)
    assert first.bounds[0] > 179
    assert second.bounds[2] < -179
    assert np.array(west["coordinates"])[..., 0].min() > 178
    assert np.array(east["coordinates"])[..., 0].max() < -179
    joined = np.concatenate([shapely.get_coordinates(each) for each in (first, second)])
    points = pixels_of(shapely.points(joined), place)
    if crs == "EPSG:4326":
        points[points[:, 0] < 0, 0] += 36_000
    edges = shapely.Polygon([[20, 10], [150, 10], [150, 30], [20, 30]]).exterior
    assert shapely.distance(edges, shapely.points(points)).max() < 0.1


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90)])
def test_a_box_on_a_pole_holds_it(tmp_path, crs, pole):
    place = Georeference(crs, (1000, 0, -100_000, 0, -1000, 100_000))
    found = found_on_map(tmp_path, place, [[20, 40, 180, 190], [10, 10, 12, 12]])
    write_geojson(tmp_path / "a.geojson", [found])
    on_pole, beside = (
        shapely.from_geojson(json.dumps(each["geometry"]))
        for each in features(tmp_path / "a.geojson")
    )
    assert on_pole.is_valid
    assert on_pole.exterior.is_ccw
    west, south, east, north = on_pole.bounds
    assert (west, east) == (-180, 180)
    assert (north if pole > 0 else south) == pole
    inside = np.array([[0, pole * 0.999], [90, pole * 0.999], [-179, pole * 0.999]])
    assert shapely.contains_xy(on_pole, inside).all()
    ring = shapely.get_coordinates(on_pole)
    points = pixels_of(shapely.points(ring[np.abs(ring[:, 1]) < 90]), place)
    edges = shapely.Polygon([[20, 40], [180, 40], [180, 190], [20, 190]]).exterior
    assert shapely.distance(edges, shapely.points(points)).max() < 0.1
    assert beside.area < 3
    assert not shapely.intersects(on_pole, beside)


def test_a_box_as_wide_as_the_world(tmp_path):
    half = 20_037_508.342789244
    for crs, transform, height in [
        ("EPSG:3857", (half / 500, 0, -half, 0, -half / 500, half), 800),
        ("EPSG:4326", (0.36, 0, -180, 0, -0.36, 90), 400),
    ]:
        found = found_on_map(tmp_path, Georeference(crs, transform), [[0, 100, 1000, height]])
        write_geojson(tmp_path / "a.geojson", [found])
        (feature,) = features(tmp_path / "a.geojson")
        polygon = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert polygon.is_valid
        assert polygon.bounds[::2] == pytest.approx((-180, 180))


def test_images_of_several_crs_parts_and_none_found(tmp_path, utm, monkeypatch):
    monkeypatch.setattr(geojson, "_ROWS_AT_ONCE", 2)
    places = [utm, Georeference(*PLACES["Germany"])]
    found = [found_on_map(tmp_path, place, BOXES, f"{place.crs[5:]}.tif") for place in places]
    write_geojson(tmp_path / "a.geojson", found)
    names = [each["properties"]["image"] for each in features(tmp_path / "a.geojson")]
    assert names == ["32617.tif"] * 3 + ["31467.tif"] * 3
    foveal.write(found_on_map(tmp_path, utm, []), tmp_path / "none.geojson")
    assert features(tmp_path / "none.geojson") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.geojson", "none.geojson"]


def test_what_has_no_place_is_refused(tmp_path):
    path = tmp_path / "a.geojson"
    nowhere = found_on_map(tmp_path, None, BOXES)
    with pytest.raises(DataError, match=r"a\.geojson: .*has no georeference.*\.csv or a \.json"):
        write_geojson(path, [nowhere])
    for crs, words in [
        ("EPSG:999999", "EPSG:999999 can't be turned into longitude and latitude"),
        ('LOCAL_CS["x",UNIT["metre",1]]', "can't be turned into longitude .*GeoPackage"),
        ("EPSG:32617", "3 of 3 boxes, the first at column 10, row 20, lie where EPSG:32617 has no"),
    ]:
        lost = Georeference(crs, (10, 0, 1e12, 0, -10, 1e12))
        with pytest.raises(DataError, match=rf"a\.geojson: .*{words}"):
            write_geojson(path, [found_on_map(tmp_path, lost, BOXES)])
    assert not list(tmp_path.iterdir())


def test_without_pyproj_degrees_are_written_and_others_name_the_line(tmp_path, utm, monkeypatch):
    from foveal.outputs import world_polygons

    world_polygons._transformer.cache_clear()
    monkeypatch.setitem(sys.modules, "pyproj", None)
    monkeypatch.setitem(sys.modules, "shapely", None)
    degrees = Georeference(*PLACES["degrees"])
    write_geojson(tmp_path / "a.geojson", [found_on_map(tmp_path, degrees, BOXES)])
    with pytest.raises(MissingExtraError, match=r"b\.geojson: pyproj.*pip install 'foveal\[geo\]'"):
        write_geojson(tmp_path / "b.geojson", [found_on_map(tmp_path, utm, BOXES)])
    assert [path.name for path in tmp_path.iterdir()] == ["a.geojson"]
