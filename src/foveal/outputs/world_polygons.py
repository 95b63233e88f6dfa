"""Boxes as polygons in longitude and latitude, as RFC 7946 wants them.

A box's straight edges may be bent in longitude and latitude; its ring may cross the antimeridian,
or go round a pole. The few boxes of which one is true are looked at one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from foveal.errors import DataError, MissingExtraError
from foveal.outputs.map_rings import counter_clockwise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference

_LONGITUDE_LATITUDE = ("EPSG:4326", "OGC:CRS84")
"""Need no reprojection: transforms give x and y, whatever order of axes the authority has."""
_MAX_BEND = 0.1
"""Pixels that an edge may lie off where it is drawn."""
_MAX_SEGMENTS = 1024
_TURN = 360.0
_MAX_STEP = 90.0
"""Degrees of longitude from one point to the next, so that their order says which way they go."""


@dataclass(frozen=True, slots=True)
class WorldPolygons:
    """Boxes in WGS84 longitude and latitude.

    Attributes:
        rings: [N, 4, 2] counter-clockwise corners, longitudes in -180..180 but for `others`.
        others: of boxes that are no quadrangle in longitude and latitude, by their number: rings
            [P, 2], counter-clockwise, not closed; several where the antimeridian splits the box.
    """

    rings: NDArray[np.float64]
    others: dict[int, list[NDArray[np.float64]]]


def world_polygons(georeference: Georeference, boxes: NDArray[np.floating]) -> WorldPolygons:
    """The outlines of boxes in longitude and latitude, to a tenth of a pixel.

    Args:
        georeference: of the image.
        boxes: [N, 4] xyxy, pixels.

    Raises:
        DataError: the coordinate reference system is unknown, or some box lies where it has no
            longitude and latitude.
        MissingExtraError: pyproj is not installed.
    """
    left, top, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
    columns = np.stack([left, right, right, left], axis=1)
    rows = np.stack([top, top, bottom, bottom], axis=1)
    pixels = np.stack([columns, rows], axis=2)
    rings = _to_world(georeference, pixels)
    _check_finite(georeference, pixels, rings)
    odd = _bend(georeference, pixels, rings) > _MAX_BEND
    shifted = _from_antimeridian(rings)
    odd |= (shifted[:, :, 0].max(axis=1) > 180) | (_turns(rings) != 0)
    others = _others(georeference, pixels, np.flatnonzero(odd))
    return WorldPolygons(counter_clockwise(shifted), others)


def expect_world_polygons(georeference: Georeference) -> None:
    """See whether boxes of an image can be turned into longitude and latitude here.

    Raises:
        DataError: the coordinate reference system is unknown.
        MissingExtraError: pyproj is not installed.
    """
    _to_world(georeference, np.zeros((1, 1, 2)))


def degrees_a_pixel(georeference: Georeference, point: NDArray[np.floating]) -> float:
    """The shorter side of a pixel in degrees, at a point [2] of the image."""
    steps = np.asarray(point, np.float64) + np.array([[0, 0], [1, 0], [0, 1]])
    world = _to_world(georeference, steps[None])[0]
    return float(np.abs(world[1:] - world[0]).max(axis=1).min())


def _others(
    georeference: Georeference, pixels: NDArray[np.float64], odd: NDArray[np.int64]
) -> dict[int, list[NDArray[np.float64]]]:
    """The rings of boxes that are no quadrangles: with points on bent edges, and split."""
    others: dict[int, list[NDArray[np.float64]]] = {}
    segments = 1
    while len(odd):
        dense = _with_points(pixels[odd], segments)
        rings = _to_world(georeference, dense)
        _check_finite(georeference, dense, rings)
        straight = _bend(georeference, dense, rings) <= _MAX_BEND
        if segments >= _MAX_SEGMENTS:  # an edge through a pole, which no number makes straight
            straight[:] = True
        for number, ring in zip(odd[straight].tolist(), rings[straight], strict=True):
            others[number] = _split(ring)
        odd = odd[~straight]
        segments *= 2
    return others


def _with_points(rings: NDArray[np.float64], segments: int) -> NDArray[np.float64]:
    """Rings [N, P, 2] with each edge in so many segments: [N, P * segments, 2]."""
    steps = np.arange(segments)[:, None] / segments
    edges = np.roll(rings, -1, axis=1) - rings
    points = rings[:, :, None] + steps * edges[:, :, None]
    return points.reshape(len(rings), -1, 2)


def _bend(
    georeference: Georeference, pixels: NDArray[np.float64], rings: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How many pixels [N] the middle of an edge lies off, drawn straight on the world, at most."""
    if not len(rings):
        return np.zeros(0)
    following = np.roll(rings, -1, axis=1)
    following[:, -1, 0] += _TURN * _turns(rings)
    too_far = np.abs(following - rings)[:, :, 0].max(axis=1) > _MAX_STEP
    middles = (rings + following) / 2
    if georeference.crs not in _LONGITUDE_LATITUDE:
        x, y = _transform(georeference, middles[..., 0], middles[..., 1], direction="INVERSE")
        middles = np.stack([x, y], axis=2)
    expected = (pixels + np.roll(pixels, -1, axis=1)) / 2
    off = np.linalg.norm(georeference.to_pixels(middles) - expected, axis=2)
    return np.where(too_far | ~np.isfinite(off).all(axis=1), np.inf, off.max(axis=1))


def _turns(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often rings [N, P, 2] go round the world eastwards: 0, or 1 or -1 round a pole."""
    gap = rings[:, -1, 0] - rings[:, 0, 0]
    return np.round(gap / _TURN)


def _from_antimeridian(rings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rings [N, P, 2] moved by whole turns, so that each begins in -180..180 at its west."""
    if not len(rings):
        return rings
    west = rings[:, :, 0].min(axis=1)
    moved = rings.copy()
    moved[:, :, 0] -= (_TURN * np.floor((west + 180) / _TURN))[:, None]
    return moved


def _split(ring: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A ring [P, 2] of any longitudes as counter-clockwise rings within -180..180."""
    turn = int(_turns(ring[None])[0])
    if turn:
        return [counter_clockwise(_round_pole(ring[::turn])[None])[0]]
    (ring,) = counter_clockwise(_from_antimeridian(ring[None]))
    if ring[:, 0].max() <= 180:
        return [ring]
    west = _clip(ring, side=-1)
    east = _clip(ring, side=1) - np.array([_TURN, 0])
    return [part for part in (west, east) if len(part) > 2]


def _clip(ring: NDArray[np.float64], *, side: Literal[-1, 1]) -> NDArray[np.float64]:
    """The part of a ring [P, 2] that lies on one side of longitude 180: -1 its west, 1 its east."""
    points: list[NDArray[np.float64]] = []
    for point, following in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        here, there = side * (point[0] - 180), side * (following[0] - 180)
        if here >= 0:
            points.append(point)
        if here * there < 0:
            points.append(_at_180(point, following))
    return np.array(points).reshape(-1, 2)


def _at_180(point: NDArray[np.float64], following: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where an edge crosses longitude 180."""
    share = (180 - point[0]) / (following[0] - point[0])
    return np.array([180.0, point[1] + share * (following[1] - point[1])])


def _round_pole(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring [P, 2] that goes eastwards round a pole, as one that holds it.

    On the plane of longitude and latitude the way round begins and ends at the antimeridian, and
    the pole is the edge above it, or below it in the south.
    """
    (ring,) = _from_antimeridian(ring[None])
    around = np.concatenate([ring, ring[:1] + np.array([_TURN, 0])])
    crossing = int(np.argmax(around[:, 0] >= 180))
    end = _at_180(around[crossing - 1], around[crossing])
    behind = around[crossing:-1] - np.array([_TURN, 0])
    begin = end - np.array([_TURN, 0])
    path = np.concatenate([begin[None], behind, around[:crossing], end[None]])
    pole = np.copysign(90.0, ring[:, 1].mean())
    return np.concatenate([path, [[180.0, pole], [-180.0, pole]]])


def _to_world(georeference: Georeference, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitude and latitude of rings [N, P, 2], without jumps of a turn along each."""
    points = georeference.to_map(pixels)
    if georeference.crs in _LONGITUDE_LATITUDE or not len(points):
        return points
    longitude, latitude = _transform(georeference, points[..., 0], points[..., 1])
    finite = np.where(np.isfinite(longitude), longitude, 0)
    steps = np.where(np.isfinite(longitude), np.unwrap(finite, period=_TURN, axis=1), np.nan)
    return np.stack([steps, latitude], axis=2)


def _check_finite(
    georeference: Georeference, pixels: NDArray[np.float64], rings: NDArray[np.float64]
) -> None:
    lost = ~np.isfinite(rings).all(axis=(1, 2))
    if lost.any():
        column, row = pixels[lost][0, 0]
        raise DataError(
            f"{int(lost.sum()):,} of {len(rings):,} boxes, the first at column {column:.0f}, row "
            f"{row:.0f}, lie where {georeference.crs[:80]} has no longitude and latitude. Expected "
            "an image of the earth within its coordinate reference system; a GeoPackage (.gpkg) "
            "takes them in it as they are."
        )


def _transform(
    georeference: Georeference,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    direction: str = "FORWARD",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # pyrefly: ignore[no-any-return-explicit]
    return _transformer(georeference.crs).transform(x, y, direction=direction)


@lru_cache(maxsize=16)
def _transformer(crs: str) -> Any:
    """From x and y to longitude and latitude, in this order whatever the authority's is."""
    try:
        import pyproj
    except ImportError:
        raise MissingExtraError(
            "pyproj, which turns map coordinates into longitude and latitude, is not installed. "
            "Install it: pip install 'foveal[geo]'"
        ) from None
    try:
        return pyproj.Transformer.from_crs(crs, _LONGITUDE_LATITUDE[0], always_xy=True)
    except pyproj.exceptions.ProjError as cause:
        raise DataError(
            f"The coordinate reference system {crs[:80]} can't be turned into longitude and "
            f"latitude ({str(cause)[:160]}). Expected one of the earth, such as EPSG:32617; a "
            "GeoPackage (.gpkg) takes boxes in it as they are."
        ) from None
