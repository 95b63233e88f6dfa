"""Detections as GeoJSON (RFC 7946): what web maps, geojson.io and GitHub show."""

from __future__ import annotations

import json
import math
from itertools import chain, repeat
from typing import TYPE_CHECKING

from foveal.errors import DataError, MissingExtraError
from foveal.files import write_parts
from foveal.outputs.map_rings import check_georeferenced, closed
from foveal.outputs.rows import rows_of
from foveal.outputs.world_polygons import degrees_a_pixel, world_polygons

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from foveal.outputs.rows import Rows
    from foveal.structures import Detections

_ROWS_AT_ONCE = 1 << 14
_MIN_DECIMALS = 7
"""About a centimeter on the ground."""
_MAX_DECIMALS = 12
_MAX_ROUNDING = 0.1
"""Pixels by which decimals may move a corner."""
_FEATURE = (
    '{"type":"Feature","geometry":%s,"properties":{"class":%s,"score":%r,"image":%s,"label":%d,'
    '"xmin":%.2f,"ymin":%.2f,"xmax":%.2f,"ymax":%.2f,"capped":%s}}'
)
_POLYGON = '{"type":"Polygon","coordinates":[%s]}'
_MULTI_POLYGON = '{"type":"MultiPolygon","coordinates":[%s]}'


def write_geojson(path: Path, detections: Sequence[Detections]) -> None:
    """Write each detection as a polygon in WGS84 longitude and latitude, with attributes.

    By RFC 7946: outer rings counter-clockwise, no `crs` member, boxes on the antimeridian split,
    seven decimals, and more where a tenth of a pixel needs them. The four corners go through the
    whole transform; edges that reprojection bends by more than a tenth of a pixel get points more.
    The attributes are those of `write_geopackage`.

    Args:
        path: the file.
        detections: one for each image, all georeferenced, of any coordinate reference systems.

    Raises:
        DataError: an image has no georeference, or there is none; or a coordinate reference system
            can't be turned into longitude and latitude.
        MissingExtraError: pyproj is not installed, and an image is not in longitude and latitude.
        FovealError: the file can't be written; nothing is half-written.
    """
    check_georeferenced(path, detections)
    try:
        write_parts(path, geojson_parts(detections, path.parent))
    except MissingExtraError as error:
        raise MissingExtraError(error.line, needed_by=str(path)) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def geojson_parts(detections: Sequence[Detections], folder: Path) -> Iterator[str]:
    """What `write_geojson` writes into a file in a folder, part by part.

    Raises:
        DataError: a coordinate reference system can't be turned into longitude and latitude.
        MissingExtraError: pyproj is not installed, and an image is not in longitude and latitude.
    """
    yield '{"type":"FeatureCollection","features":['
    separator = "\n"
    for rows in rows_of(detections, folder, at_most=_ROWS_AT_ONCE):
        yield separator + _features(rows)
        separator = ",\n"
    yield "\n]}\n"


def _features(rows: Rows) -> str:
    boxes = rows.rounded
    classes = [json.dumps(name, ensure_ascii=False) for name in rows.classes]
    labels = rows.labels.tolist()
    columns = (
        _geometries(rows),
        [classes[label] for label in labels],
        rows.scores,
        repeat(json.dumps(rows.image, ensure_ascii=False)),
        labels,
        *boxes.T.tolist(),
        repeat("true" if rows.capped else "false"),
    )
    values = tuple(chain.from_iterable(zip(*columns, strict=False)))
    return ",\n".join([_FEATURE] * len(rows)) % values


def _geometries(rows: Rows) -> list[str]:
    """The geometry of each row, as JSON."""
    if rows.georeference is None:
        raise AssertionError("the caller has looked that all are georeferenced")
    polygons = world_polygons(rows.georeference, rows.boxes)
    decimals = _decimals(degrees_a_pixel(rows.georeference, rows.boxes[0, :2]))
    rings = closed(polygons.rings)
    point = f"[%.{decimals}f,%.{decimals}f]"
    ring = _POLYGON % f"[{','.join([point] * rings.shape[1])}]"
    geometries = ("\n".join([ring] * len(rings)) % tuple(rings.ravel().tolist())).split("\n")
    for number, parts in polygons.others.items():
        texts = [_ring(part, point) for part in parts]
        geometries[number] = (
            _POLYGON % texts[0]
            if len(texts) == 1
            else _MULTI_POLYGON % ",".join(f"[{text}]" for text in texts)
        )
    return geometries


def _decimals(side: float) -> int:
    """How many a degree needs where a pixel's side is so many degrees."""
    if not 0 < side < 1:  # at the end of a coordinate reference system, or a pixel of the globe
        return _MIN_DECIMALS
    return min(max(_MIN_DECIMALS, math.ceil(-math.log10(2 * _MAX_ROUNDING * side))), _MAX_DECIMALS)


def _ring(ring: NDArray[np.float64], point: str) -> str:
    points = closed(ring[None])[0]
    return f"[{','.join([point] * len(points))}]" % tuple(points.ravel().tolist())
