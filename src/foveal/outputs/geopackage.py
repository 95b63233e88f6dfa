"""Detections as a GeoPackage: the file that QGIS, ArcGIS and GDAL open at the right place."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import FovealError, MissingExtraError
from foveal.files import replacing_database, unwritable, why_unwritable
from foveal.outputs.map_rings import check_georeferenced, closed, counter_clockwise
from foveal.outputs.qgis_style import write_qgis_style
from foveal.outputs.rows import Rows, rows_of
from foveal.text import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference
    from foveal.structures import Detections

LAYER = "detections"
"""The layer's name; of several, the beginning of their names."""
FIELDS = ("class", "score", "image", "label", "xmin", "ymin", "xmax", "ymax", "capped")
"""The attributes of each detection, in map files."""
WRITTEN_AT = "1970-01-01T00:00:00.000Z"
"""When the file says that it was last changed: always this, so that equal detections give equal
files."""

_MAX_NAMES = 4
_ROWS_AT_ONCE = 1 << 18
"""About 200 MB. GDAL builds the spatial index of a layer's first rows at once, three times as fast
as it adds later ones."""
_OPTIONS = {
    "OGR_CURRENT_DATE": WRITTEN_AT,
    "OGR_SQLITE_SYNCHRONOUS": "OFF",  # the disk is waited for once, when the file is complete
}
_GDAL_OPTIONS = Lock()


def expect_geopackage_writer(path: Path | str = "") -> None:
    """See whether GeoPackages can be written here, before anything is.

    Args:
        path: the file that needs it.

    Raises:
        MissingExtraError: pyogrio or shapely are not installed.
    """
    try:
        import pyogrio  # noqa: F401
        import shapely  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "pyogrio and shapely, which write GeoPackages, are not installed. Install them: "
            "pip install 'foveal[geo]'",
            needed_by=str(path),
        ) from None


def write_geopackage(path: Path, detections: Sequence[Detections]) -> tuple[str, ...]:
    """Write each detection as a polygon, its box's four corners on the map, with attributes.

    The attributes are FIELDS: class, score, the image's name relative to the file's folder, the
    class's number, the box in original pixels, and whether a limit of detections was reached in the
    image. Beside it a style for QGIS is written, of the same name ending in .qml. Equal detections
    give equal files, so the file says of its age what WRITTEN_AT says.

    Args:
        path: the file, .gpkg.
        detections: one for each image, all georeferenced and of the same classes. Nothing is
            reprojected: images of one coordinate reference system share a layer.

    Returns:
        The names of the layers: LAYER, or one for each coordinate reference system, such as
        detections_epsg_32617, in the order in which they come.

    Raises:
        DataError: an image has no georeference, or there is none.
        MissingExtraError: pyogrio or shapely are not installed.
        FovealError: the file can't be written; nothing is half-written.
    """
    check_georeferenced(path, detections)
    expect_geopackage_writer(path)
    from pyogrio.errors import CRSError

    layers = _layers(detections)
    try:
        with replacing_database(path) as made:
            counts = {}
            with _gdal_options():
                for name, members in layers.items():
                    images = [detections[number] for number in members]
                    rows = rows_of(images, path.parent, at_most=_ROWS_AT_ONCE, numbers=members)
                    _write_layer(made, name, images, rows)
                    counts[name] = sum(map(len, images))
            _check(made, counts)
    except CRSError as cause:
        raise FovealError(
            f"{path}: the coordinate reference system of {detections[0].path or 'an image'} is "
            f"unknown to PROJ ({str(cause)[:200]}). Expected one such as EPSG:32617: rio "
            "edit-info --crs EPSG:NUMBER IMAGE gives the image another."
        ) from None
    except (RuntimeError, sqlite3.Error) as cause:  # which is how GDAL says that a disk is full too
        reason = OSError(f"GDAL says: {why_unwritable(cause)[:120]}. Is the disk full?")
        raise unwritable(path, reason) from cause
    except OSError as cause:
        raise unwritable(path, cause) from cause
    write_qgis_style(path.with_suffix(".qml"), detections[0].classes)
    return tuple(layers)


def describe_layers(detections: Sequence[Detections]) -> str:
    """Say that images of several coordinate reference systems have a layer each; "" else.

    Args:
        detections: one for each image, all georeferenced.
    """
    layers = _layers(detections)
    if len(layers) == 1:
        return ""
    return (
        f"The images are in {len(layers)} coordinate reference systems: a GeoPackage has a layer "
        f"for each ({listed(list(layers), _MAX_NAMES)}), and moves nothing."
    )


def _layers(detections: Sequence[Detections]) -> dict[str, list[int]]:
    """For each layer the numbers of its images, all of one coordinate reference system."""
    by_crs: dict[str, list[int]] = {}
    for number, each in enumerate(detections):
        by_crs.setdefault(_georeference(each).crs, []).append(number)
    if len(by_crs) == 1:
        return {LAYER: next(iter(by_crs.values()))}
    layers: dict[str, list[int]] = {}
    for crs, members in by_crs.items():
        name = f"{LAYER}_{_in_a_name(crs)}"
        layers[f"{name}_{len(layers) + 1}" if name in layers else name] = members
    return layers


def _in_a_name(crs: str) -> str:
    """EPSG:32617 as epsg_32617; of WKT the name that it gives itself."""
    titled = re.search(r'"([^"]*)"', crs)
    words = re.findall(r"[a-z0-9]+", (titled[1] if titled else crs).lower())
    return "_".join(words)[:60] or "local"


def _write_layer(made: Path, name: str, images: Sequence[Detections], rows: Iterator[Rows]) -> None:
    import shapely
    from pyogrio import raw

    for index, part in enumerate(_parts(rows)):
        corners = [_georeference(each).corners(each.boxes) for each in part]
        rings = counter_clockwise(np.concatenate([np.zeros((0, 4, 2)), *corners]))
        raw.write(
            str(made),
            shapely.to_wkb(shapely.polygons(closed(rings))),
            _columns(part),
            list(FIELDS),
            layer=name,
            driver="GPKG",
            geometry_type="Polygon",
            crs=_georeference(images[0]).crs,
            append=index > 0,
        )


def _parts(rows: Iterator[Rows]) -> Iterator[list[Rows]]:
    """Rows that are written at once; at least one part, since that makes the layer."""
    part: list[Rows] = []
    count = 0
    for each in rows:
        if count and count + len(each) > _ROWS_AT_ONCE:
            yield part
            part = []
            count = 0
        part.append(each)
        count += len(each)
    yield part


def _columns(rows: list[Rows]) -> list[NDArray[Any]]:
    """One array for each of FIELDS."""
    boxes = np.concatenate([np.zeros((0, 4)), *(each.rounded for each in rows)])
    lengths = np.array([len(each) for each in rows], np.int64)
    images = np.array([_utf8(each.image) for each in rows], object)
    capped = np.array([each.capped for each in rows], np.bool_)
    names = [np.array(each.classes, object)[each.labels] for each in rows]
    return [
        np.concatenate([np.zeros(0, object), *names]),
        np.array([score for each in rows for score in each.scores], np.float64),
        np.repeat(images, lengths),
        np.concatenate([np.zeros(0, np.int32), *(each.labels for each in rows)], dtype=np.int32),
        *(np.ascontiguousarray(column) for column in boxes.T),
        np.repeat(capped, lengths),
    ]


def _utf8(name: str) -> str:
    """The name of a file whose bytes are no UTF-8 with those spelled out, as in all our files."""
    return name.encode("utf-8", "backslashreplace").decode()


def _georeference(of: Detections | Rows) -> Georeference:
    if of.georeference is None:
        raise AssertionError("the caller has looked that all are georeferenced")
    return of.georeference


@contextmanager
def _gdal_options() -> Iterator[None]:
    """Set what GDAL does while files are made. It is its whole process's, so one at a time."""
    import pyogrio

    with _GDAL_OPTIONS:
        before = {name: pyogrio.get_gdal_config_option(name) for name in _OPTIONS}
        pyogrio.set_gdal_config_options(_OPTIONS)
        try:
            yield
        finally:
            pyogrio.set_gdal_config_options(before)


def _check(made: Path, counts: Mapping[str, int]) -> None:
    """See that all is in the file: GDAL closes a file without a word that the disk had no room for.

    Raises:
        OSError, sqlite3.Error: it is not.
    """
    with closing(sqlite3.connect(made)) as database:
        for layer, count in counts.items():
            (rows,) = database.execute(f'SELECT count(*) FROM "{layer}"').fetchone()
            if rows != count:
                raise OSError(f"{rows:,} of {count:,} detections were written; is the disk full?")
        (state,) = database.execute("PRAGMA quick_check").fetchone()
        if state != "ok":
            raise OSError(str(state))
