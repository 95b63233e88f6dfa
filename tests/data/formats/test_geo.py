"""Shapes on the map as labels: placed in pixels, by GDAL's own files and by hand."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from PIL import Image

from foveal.data.checks.diagnose import diagnose
from foveal.data.formats import read, write
from foveal.data.opening import DataOptions, read_for_doctor
from foveal.errors import DataError, MissingExtraError
from foveal.geometry.georeference import Georeference

BOXES = np.array([[2, 3, 12, 9], [20.5, 10, 30, 38], [50, 30, 64, 48]])
UPRIGHT = (0.5, 0.0, 404211.5, 0.0, -0.5, 3285142.0)
ROTATED = (0.4, 0.3, 404211.5, 0.3, -0.4, 3285142.0)
UTM = "EPSG:32617"


def raster(path: Path, transform: tuple[float, ...] = UPRIGHT, crs: str | None = UTM) -> Path:
    """A GeoTIFF of 64 x 48 pixels."""
    import rasterio

    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=48, count=1, dtype="uint8", crs=crs,
        transform=rasterio.Affine(*transform),
    ) as file:  # fmt: skip
        file.write(np.full((1, 48, 64), 7, np.uint8))
    return path


def quadrangles(
    boxes: Any = BOXES, transform: tuple[float, ...] = UPRIGHT, crs: str | None = None
) -> Any:
    """The corners of boxes on the map of UTM zone 17, in another map where one is named."""
    points = Georeference(UTM, transform).corners(np.asarray(boxes, np.float64))  # type: ignore[arg-type]
    if crs is not None:
        from pyproj import Transformer

        move = Transformer.from_crs(UTM, crs, always_xy=True)
        points = np.stack(move.transform(points[..., 0], points[..., 1]), axis=-1)
    return shapely.polygons(points)


def save(path: Path, shapes: Any, crs: str | None = UTM, **columns: list) -> Path:
    """A layer with attributes, as GDAL writes it."""
    options: dict[str, Any] = {}
    if "layer" in columns:
        options["layer"] = columns.pop("layer")
        options["append"] = path.exists()
    kinds = {shape.geom_type for shape in shapes if shape is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    pyogrio.raw.write(
        path, shapely.to_wkb(np.asarray(shapes, object)), list(map(np.array, columns.values())),
        list(columns), crs=crs, geometry_type=kinds.pop() if len(kinds) == 1 else "Unknown",
        **options,
    )  # fmt: skip
    return path


@pytest.fixture(autouse=True)
def without_warnings_of_writing() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyogrio.raw.warnings, "warn", lambda *args, **kwargs: None)
        yield


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "fgb"])
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("transform", [UPRIGHT, ROTATED], ids=["upright", "rotated"])
def test_boxes_are_found_in_any_map(
    ending: str, crs: str, transform: tuple[float, ...], tmp_path: Path
) -> None:
    raster(tmp_path / "scene.tif", transform)
    labels = ["car", "ship", "car"]
    save(tmp_path / f"scene.{ending}", quadrangles(BOXES, transform, crs), crs, label=labels)
    for address in (tmp_path, tmp_path / f"scene.{ending}", tmp_path / "scene.tif"):
        data = read(address)
        assert data.classes == ("car", "ship")
        assert [(r.path.name, r.width, r.height) for r in data] == [("scene.tif", 64, 48)]
        order = np.argsort(data.records[0].boxes[:, 0])
        np.testing.assert_allclose(data.records[0].boxes[order], BOXES, atol=0.01)
        assert data.records[0].labels[order].tolist() == [0, 1, 0]
        assert "segmentation" not in data.records[0].flags or set(
            data.records[0].flags["segmentation"]
        ) == {None}


def test_a_box_is_that_of_the_vertices_in_pixels_and_not_of_the_bounds_on_the_map(
    tmp_path: Path,
) -> None:
    raster(tmp_path / "scene.tif", ROTATED)
    place = Georeference(UTM, ROTATED)  # type: ignore[arg-type]
    points = np.array([[10.0, 10], [20, 14], [15, 30]])
    parts = [shapely.Polygon(place.to_map(points + shift)) for shift in (0, 12)]
    save(tmp_path / "scene.gpkg", [parts[0], shapely.MultiPolygon(parts)], kind=["x", "x"])
    record = read(tmp_path, "geo").records[0]
    np.testing.assert_allclose(record.boxes, [[10, 10, 20, 30], [10, 10, 32, 42]], atol=1e-4)
    one, two = record.flags["segmentation"]
    assert [len(outlines) for outlines in (one, two)] == [1, 2]
    assert {tuple(p) for p in np.reshape(one[0], (-1, 2)).tolist()} == {
        (10, 10),
        (20, 14),
        (15, 30),
    }


def test_what_is_written_lies_on_the_map_and_attributes_are_kept(tmp_path: Path) -> None:
    raster(tmp_path / "in" / "scene.tif", ROTATED)
    save(
        tmp_path / "in" / "scene.gpkg", quadrangles(BOXES, ROTATED), label=["a", "b", "a"],
        Class=[1, 2, 3], score=[0.25, 0.5, 1.0], image=["scene.tif"] * 3, ignored=[0, 1, 0],
    )  # fmt: skip
    data = read(tmp_path / "in", class_column="label")
    assert data.records[0].ignored.tolist() == [False, True, False]
    write(data, tmp_path / "out", "geo")
    again = read(tmp_path / "out")
    assert again.classes == ("a", "b")
    record = again.records[0]
    np.testing.assert_array_equal(record.boxes, data.records[0].boxes)
    assert record.ignored.tolist() == [False, True, False]
    assert record.flags == {
        "original_Class": (1, 2, 3), "score": (0.25, 0.5, 1.0), "original_image": ("scene.tif",) * 3
    }  # fmt: skip
    meta, _, wkb, _ = pyogrio.raw.read(tmp_path / "out" / "scene.gpkg")
    assert meta["crs"] == UTM
    found, expected = shapely.from_wkb(wkb), quadrangles(BOXES, ROTATED)
    assert shapely.hausdorff_distance(found, expected).max() < 1e-6


# The class -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "option", "expected"),
    [
        ({"Class": ["a", "b", "a"], "name": ["1", "2", "3"]}, None, "aba"),
        ({"class": ["a", "b", "a"], "label": [0, 1, 0]}, None, "aba"),
        ({"TYPE": ["a", "b", "a"], "area": [1.5, 2, 3]}, None, "aba"),
        ({"what": ["a", "b", "a"]}, "what", "aba"),
        ({"what": ["a", "b", "a"]}, "=c", "ccc"),
        ({"class": [3.0, 10.0, 3.0]}, None, ["3", "10", "3"]),
        ({"class": [None] * 3, "label": ["a", "b", "a"]}, None, "aba"),
    ],
)
def test_the_class_is_found(
    columns: dict, option: str | None, expected: Any, tmp_path: Path
) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", quadrangles(), **columns)
    data = read(tmp_path, class_column=option)
    names = [data.classes[label] for label in data.records[0].labels]
    assert names == list(expected)


@pytest.mark.parametrize(
    ("columns", "option", "words"),
    [
        (
            {"class": ["a"] * 3, "label": ["b"] * 3},
            None,
            ("'class' (a) or 'label' (b)", "--class-column class"),
        ),
        ({"area": [1, 2, 3]}, None, ("Its columns are area", "--class-column =CLASS")),
        ({"area": [1, 2, 3]}, "aera", ("no column 'aera'", "are area")),
        ({"class": ["a", None, "a"]}, None, ("feature 2", "no class")),
        ({}, None, ("columns are none", "=CLASS")),
    ],
)
def test_a_class_that_is_not_clear_is_asked_for(
    columns: dict, option: str | None, words: tuple[str, ...], tmp_path: Path
) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", quadrangles(), **columns)
    with pytest.raises(DataError) as caught:
        read(tmp_path, class_column=option)
    for word in words:
        assert word in str(caught.value)


def test_the_only_class_of_a_list_needs_no_column(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", quadrangles())
    (tmp_path / "classes.txt").write_text("ship\n")
    assert read(tmp_path).classes == ("ship",)
    assert "all are 'ship'" in caplog.text


@pytest.mark.parametrize("option", ["class_column", "layer"])
def test_formats_without_columns_or_layers_refuse_the_option(option: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match=r"is of the format coco, which has none"):
        read(tmp_path / "a.json", **{option: "x"})


# Which image -----------------------------------------------------------------------------------


def test_one_file_labels_the_images_that_a_column_names(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        raster(tmp_path / "images" / name)
    names = ["b.tif", "/elsewhere/a.tif", "b.tif"]
    save(tmp_path / "all.gpkg", quadrangles(), **{"class": ["x"] * 3, "image_path": names})
    data = read(tmp_path)
    assert [(r.path.name, len(r)) for r in data] == [("a.tif", 1), ("b.tif", 2)]
    save(
        tmp_path / "all.gpkg",
        quadrangles(),
        **{"class": ["x"] * 3, "image_path": [*names[:2], "c.tif"]},
    )
    with pytest.raises(DataError, match=r"feature 3: image_path names the image 'c.tif', which is"):
        read(tmp_path)


def test_one_file_labels_every_image_in_which_its_shapes_lie(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    second = (0.5, 0.0, UPRIGHT[2] + 25, 0.0, -0.5, UPRIGHT[5])  # 50 pixels to the right
    raster(tmp_path / "first.tif")
    raster(tmp_path / "second.tif", second)
    raster(tmp_path / "far.tif", (0.5, 0.0, 500000, 0.0, -0.5, 3285142.0))
    Image.new("L", (64, 48)).save(tmp_path / "plain.png")
    boxes = [[2, 3, 12, 9], [52, 10, 60, 20], [60, 30, 70, 40], [300, 3, 310, 9]]
    for crs in (UTM, "EPSG:4326"):
        save(tmp_path / "trees.geojson", quadrangles(boxes, crs=crs), crs, species=["oak"] * 4)
        found = {r.path.name: r for r in read(tmp_path)}
        assert set(found) == {"first.tif", "second.tif", "far.tif"}
        np.testing.assert_allclose(
            found["first.tif"].boxes, [*boxes[:2], [60, 30, 64, 40]], atol=0.01
        )
        np.testing.assert_allclose(
            found["second.tif"].boxes, [[2, 10, 10, 20], [10, 30, 20, 40]], atol=0.01
        )
        assert len(found["far.tif"]) == 0
        assert (
            "in none of the 3 images, left out (1 x, first: trees.geojson, feature 4)"
            in caplog.text
        )
        assert "in several images, which overlap: they belong to each (2 x" in caplog.text
        assert "at the border of their image, cut there (1 x" in caplog.text
        caplog.clear()


def test_no_shape_in_any_image_is_an_error(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        raster(tmp_path / name)
    save(tmp_path / "x.gpkg", quadrangles(BOXES + 9000), label=["x"] * 3)
    with pytest.raises(DataError, match=r"none of its 3 objects lies in a.tif: they lie .* m away"):
        read(tmp_path)


def test_what_foveal_predicts_is_read_as_labels(tmp_path: Path) -> None:
    from foveal.outputs.files import write as write_detections
    from foveal.structures import Detections

    raster(tmp_path / "scene.tif", ROTATED)
    labels, scores = np.array([0, 1, 0]), np.array([0.75, 0.5, 0.25], np.float32)
    found = Detections(
        BOXES.astype(np.float32), scores, labels, ("car", "ship"), 64, 48, tmp_path / "scene.tif",
        georeference=Georeference(UTM, ROTATED),  # type: ignore[arg-type]
    )  # fmt: skip
    for name in ("found.gpkg", "found.geojson"):
        write_detections(found, tmp_path / name)
        data = read(tmp_path / name)
        assert data.classes == ("car", "ship")
        np.testing.assert_allclose(data.records[0].boxes, BOXES, atol=0.03)  # a centimeter
        assert data.records[0].flags["score"] == (0.75, 0.5, 0.25)


@pytest.mark.parametrize("kind", ["none", "two", "plain"])
def test_an_image_that_is_not_clear_is_asked_for(kind: str, tmp_path: Path) -> None:
    save(tmp_path / "labels" / "x.gpkg", quadrangles(), label=["x"] * 3)
    if kind == "two":
        raster(tmp_path / "one" / "x.tif")
        raster(tmp_path / "two" / "x.tif")
    if kind == "plain":
        for name in ("a.png", "b.png"):
            Image.new("L", (64, 48)).save(tmp_path / name)
    words = {
        "none": "no image found for it. Expected x.tif beside it",
        "two": "its image is one of .*one/x.tif, .*two/x.tif",
        "plain": "none of the 2 images there has a place on the map",
    }
    with pytest.raises(DataError, match=words[kind]):
        read(tmp_path, "geo")


# Coordinates without a name --------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["gpkg", "shp", "geojson"])
@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (quadrangles(), "names no coordinate reference system: its places are taken in that of"),
        (shapely.box(*BOXES.T), "taken as pixels of the image ("),
        (shapely.box(BOXES[:, 0], -BOXES[:, 3], BOXES[:, 2], -BOXES[:, 1]), "y upwards"),
    ],
    ids=["map", "pixels", "pixels upwards"],
)
def test_places_without_a_system_are_taken_as_they_fit(
    ending: str, shapes: Any, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / f"scene.{ending}", shapes, None, label=["x"] * 3)
    np.testing.assert_allclose(read(tmp_path).records[0].boxes, BOXES, atol=0.01)
    assert told in caplog.text
    caplog.clear()
    if ending == "geojson" and "pixels" in told:  # with an image that has no place at all
        (tmp_path / "scene.tif").unlink()
        Image.new("L", (64, 48)).save(tmp_path / "scene.png")
        np.testing.assert_allclose(read(tmp_path).records[0].boxes, BOXES, atol=0.01)
        assert told in caplog.text


SWAPPED = shapely.transform(quadrangles(crs="EPSG:4326"), lambda points: points[:, ::-1])


@pytest.mark.parametrize(
    ("shapes", "crs", "words"),
    [
        (quadrangles(BOXES + 8_000_000), UTM, ("km away", "EPSG:32617, x 4,40", "the image is in")),
        (
            quadrangles(),
            "EPSG:32653",
            ("km away", "They would lie in it if they were in EPSG:32617"),
        ),
        (SWAPPED, "EPSG:4326", ("if x and y were exchanged",)),
        (shapely.box(*BOXES.T), UTM, ("As pixels they would lie in it",)),
    ],
    ids=["far", "another zone", "swapped", "pixels"],
)
def test_labels_that_lie_elsewhere_say_where_and_why(
    shapes: Any, crs: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", shapes, crs, label=["x"] * 3)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    for word in ("none of its 3 objects lies in scene.tif", *words):
        assert word in str(caught.value)
    findings = diagnose(*read_for_doctor([(tmp_path, DataOptions())])).findings
    assert "labels elsewhere" in [f.kind for f in findings if f.level == "fault"]


def test_an_image_without_a_place_is_said(tmp_path: Path) -> None:
    Image.new("L", (64, 48)).save(tmp_path / "scene.png")
    save(tmp_path / "scene.gpkg", quadrangles(), label=["x"] * 3)
    with pytest.raises(DataError, match=r"scene.png of 64 x 48, which has no place on the map"):
        read(tmp_path)


# Shapes without a box --------------------------------------------------------------------------


def test_shapes_without_a_box_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raster(tmp_path / "scene.tif")
    shapes = [*quadrangles(), shapely.Point(404215, 3285130), None, shapely.Polygon()]
    solid = shapely.force_3d(np.asarray(shapes, object), 5.0)
    save(tmp_path / "scene.gpkg", solid, label=["x"] * 6)
    data = read(tmp_path)
    np.testing.assert_allclose(data.records[0].boxes, BOXES, atol=1e-4)
    assert "3 x no box. Left out. First: scene.gpkg, feature 4: Point has no box" in caplog.text


@pytest.mark.parametrize(
    "shape", [shapely.Point(404215, 3285130), shapely.LineString([[0, 0], [1, 1]]), None]
)
def test_points_and_lines_alone_are_refused(shape: Any, tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", [shape] * 2, label=["x"] * 2)
    with pytest.raises(DataError, match=r"alone, which have no box. Expected polygons"):
        read(tmp_path)


def test_of_a_collection_the_polygons_count(tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif")
    both = shapely.GeometryCollection([shapely.Point(404215, 3285130), quadrangles()[0]])
    save(tmp_path / "scene.gpkg", [both], label=["x"])
    np.testing.assert_allclose(read(tmp_path).records[0].boxes, BOXES[:1], atol=1e-4)


def test_an_image_whose_place_is_none_is_named(tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif", (0.5, 0.5, 404211.5, 0.5, 0.5, 3285142.0))
    save(tmp_path / "scene.gpkg", quadrangles(), label=["x"] * 3)
    with pytest.raises(
        DataError, match=r"scene\.tif: its geotransform lays all pixels upon a line"
    ):
        read(tmp_path)


def test_no_objects(tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", np.zeros(0, object))
    (tmp_path / "scene.gpkg").unlink()
    save(tmp_path / "scene.gpkg", quadrangles(np.zeros((0, 4))), label=np.zeros(0, object))
    data = read(tmp_path)
    assert [len(record) for record in data] == [0]
    assert data.classes == ()
    findings = diagnose(*read_for_doctor([(tmp_path, DataOptions())])).findings
    assert [f.places for f in findings if f.kind == "empty layer"] == [
        ("scene.gpkg, layer scene: there are no objects in it. Expected polygons or boxes.",)
    ]


def test_the_doctor_names_invalid_polygons(tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif")
    corners = shapely.get_coordinates(quadrangles()[0])
    bow = shapely.Polygon(corners[[0, 2, 1, 3]])
    save(tmp_path / "scene.gpkg", [bow, *quadrangles()], label=["x"] * 4)
    assert len(read(tmp_path).records[0]) == 4
    findings = diagnose(*read_for_doctor([(tmp_path, DataOptions())])).findings
    (finding,) = (finding for finding in findings if finding.kind == "invalid polygon")
    assert "scene.gpkg, feature 1: the polygon is invalid (Self-inter" in finding.places[0]


# Files that can't be read ----------------------------------------------------------------------


def test_layers_are_chosen_by_name(tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", quadrangles(), label=["x"] * 3, layer="ships")
    save(tmp_path / "scene.gpkg", quadrangles()[:1], label=["y"], layer="trees")
    pyogrio.raw.write(
        tmp_path / "scene.gpkg", None, [np.array(["z"], object)], ["label"], layer="styles",
        append=True,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"2 layers: ships, trees. Say which: --layer ships"):
        read(tmp_path)
    assert read(tmp_path, layer="trees").classes == ("y",)
    with pytest.raises(DataError, match=r"no layer 'tree'. Its layers are ships, trees, styles"):
        read(tmp_path, layer="tree")
    with pytest.raises(DataError, match="layer 'styles' has no shapes, only attributes"):
        read(tmp_path, layer="styles")


def _cut(folder: Path, ending: str, length: int) -> None:
    file = save(folder / f"scene.{ending}", quadrangles(), label=["x"] * 3)
    file.write_bytes(file.read_bytes()[:length])


def _shapefile_without(folder: Path, part: str) -> None:
    save(folder / "scene.shp", quadrangles(), label=["x"] * 3)
    (folder / f"scene.{part}").unlink()


def _geojson(folder: Path, geometry: Any, **more: Any) -> None:
    feature = {"type": "Feature", "properties": {"label": "x"}, "geometry": geometry}
    text = json.dumps({"type": "FeatureCollection", **more, "features": [feature]})
    (folder / "scene.geojson").write_text(text)


def _named(name: str) -> dict:
    return {"type": "name", "properties": {"name": name}}


POINT = {"type": "Point", "coordinates": [1, 2]}
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut GeoPackage": (lambda f: _cut(f, "gpkg", 20_000), "can't be read: .* whole GeoPackage"),
    "cut GeoJSON": (lambda f: _cut(f, "geojson", 300), "can't be read: .* whole GeoJSON file"),
    "cut FlatGeobuf": (lambda f: _cut(f, "fgb", 500), "no layer with shapes|can't be read"),
    "cut Shapefile": (lambda f: _cut(f, "shp", 60), "can't be read: .* whole Shapefile"),
    "empty file": (lambda f: (f / "scene.gpkg").write_bytes(b""), "scene.gpkg is empty"),
    "text called gpkg": (lambda f: (f / "scene.gpkg").write_text("hello"), "not a GeoPackage"),
    "text called shp": (lambda f: (f / "scene.shp").write_text("hello"), "is not a Shapefile"),
    "text called fgb": (lambda f: (f / "scene.fgb").write_text("hello"), "is not a FlatGeobuf"),
    "text called geojson": (lambda f: (f / "scene.geojson").write_text("x"), "is not GeoJSON"),
    "other JSON": (lambda f: (f / "scene.geojson").write_text("{}"), "can't be read"),
    "a VRT called gpkg": (
        lambda f: (f / "scene.gpkg").write_text("<OGRVRTDataSource><OGRVRTLayer/>"),
        "it begins with b'<OGRVRT",
    ),
    "Shapefile without .shx": (lambda f: _shapefile_without(f, "shx"), ".shx is missing beside it"),
    "Shapefile without .dbf": (lambda f: _shapefile_without(f, "dbf"), ".dbf is missing beside it"),
    "system unknown to PROJ": (
        lambda f: _geojson(f, POINT, crs=_named("urn:ogc:def:crs:EPSG::999999")),
        "'urn:ogc:def:crs:EPSG::999999' is unknown to PROJ",
    ),
    "points in GeoJSON": (lambda f: _geojson(f, POINT), "Point alone, which have no box"),
    "null geometry": (lambda f: _geojson(f, None), "null geometry alone"),
    "no geometry": (
        lambda f: pyogrio.raw.write(f / "scene.gpkg", None, [np.array(["z"], object)], ["label"]),
        "has no layer with shapes; without shapes: scene",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named(case: str, tmp_path: Path) -> None:
    raster(tmp_path / "scene.tif")
    make, words = BROKEN[case]
    make(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        read(tmp_path, "geo")
    assert "\n" not in str(caught.value)


def test_a_shapefile_without_prj_is_taken_on_the_map_of_its_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raster(tmp_path / "scene.tif")
    _shapefile_without(tmp_path, "prj")
    np.testing.assert_allclose(read(tmp_path).records[0].boxes, BOXES, atol=1e-3)
    assert "names no coordinate reference system" in caplog.text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_names_in_an_old_table_are_read(
    encoding: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.shp", quadrangles(), label=["Bäume"] * 3)
    table = tmp_path / "scene.dbf"
    content = table.read_bytes()
    if encoding == "latin-1":
        content = content.replace("Bäume".encode(), "Bäume ".encode("latin-1"))
    table.write_bytes(content[:29] + b"\0" + content[30:])
    (tmp_path / "scene.cpg").unlink()
    assert read(tmp_path).classes == ("Bäume",)
    assert ("cp1252" in caplog.text) == (encoding == "latin-1")


def test_coordinates_that_are_no_numbers_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raster(tmp_path / "scene.tif")
    with np.errstate(invalid="ignore"):
        broken = shapely.Polygon([[0, 0], [np.nan, 1], [1, 1], [0, 0]])
    save(tmp_path / "scene.gpkg", [broken, *quadrangles()], label=["x"] * 4)
    np.testing.assert_allclose(read(tmp_path).records[0].boxes, BOXES, atol=1e-4)
    assert "1 x box not finite. Left out" in caplog.text


def test_what_is_missing_says_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raster(tmp_path / "scene.tif")
    save(tmp_path / "scene.gpkg", quadrangles(), label=["x"] * 3)
    monkeypatch.setitem(__import__("sys").modules, "pyogrio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[geo\]'"):
        read(tmp_path)


def test_shapes_beside_other_annotations_are_no_labels(tmp_path: Path) -> None:
    from foveal.data.formats.detect import find_format

    save(tmp_path / "area.geojson", quadrangles(), name=["x"] * 3)
    assert find_format(tmp_path) == "geo"
    (tmp_path / "boxes.csv").write_text("a.png,1,2,11,14,x\n")
    assert find_format(tmp_path) == "csv"


def test_deepforests_shapefile(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    import rasterio

    file = shared / "data" / "neon-trees" / "australia.shp"
    caplog.set_level(logging.WARNING)
    record = read(file, class_column="label").records[0]
    shape = shapely.from_wkb(pyogrio.raw.read(file)[2])[0]
    with rasterio.open(record.path) as image:
        west, north = ~image.transform * (shape.bounds[0], shape.bounds[3])
        east, south = ~image.transform * (shape.bounds[2], shape.bounds[1])
    np.testing.assert_allclose(record.boxes, [[west, north, east, south]], rtol=1e-6)
    assert not caplog.text


def test_a_file_of_its_own_copies_into_splits(tmp_path: Path) -> None:
    raster(tmp_path / "train" / "images" / "a.tif")
    save(tmp_path / "train" / "labels" / "a.geojson", quadrangles(), label=["x"] * 3)
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    assert [len(record) for record in read(f"{tmp_path}:val")] == [3]
    with pytest.raises(DataError, match=r"It has the splits train, val"):
        read(tmp_path)
