"""Where files say that they lie on the map, from their headers.

GDAL reads it, through rasterio. A file that can't have a place, as most JPEGs and PNGs, is known by
a glance at its tags and at the files beside it, without loading anything.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from foveal.data.images.kinds import kind_of
from foveal.data.images.tiff_pages import first_tags
from foveal.data.images.virtual import is_virtual
from foveal.errors import ImageError, MissingExtraError
from foveal.geometry.georeference import Georeference
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PIXELS = "boxes stay in pixels"
"""What follows where a file has no place on the map."""

_GEO_TAGS = frozenset((33550, 33922, 34264, 34735, 50844))
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, RPCCoefficient."""

_MASK_TAGS = frozenset((42112, 42113))
"""GDAL's metadata and nodata."""

_GEOGRAPHIC = "JPEG2000"
"""A kind whose boxes may state a place."""

_FARTHEST = 1e15
"""No coordinate on Earth, in whatever unit."""

_BENDING = 6
"""Points from which a bend is fitted, as GDAL does it."""

_FITS = 0.5
"""Pixels by which a transform may miss a ground control point and still fits."""

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def may_be_geographic(file: IO[bytes], path: Path, *, masks: bool = False) -> bool:
    """Whether a file may have a place on the map, by its tags and the files beside it.

    Args:
        file: the content; it is left where it is read to.
        path: the file, for those beside it.
        masks: whether pixels without data count as well as a place does.
    """
    file.seek(0)
    beginning = file.read(32)
    kind = kind_of(beginning)
    if kind == "TIFF":
        tags = first_tags(file)
        if tags & _GEO_TAGS or (masks and tags & _MASK_TAGS):
            return True
    elif kind == _GEOGRAPHIC or is_virtual(beginning):
        return True
    return any(map(os.path.exists, _companions(path, masks=masks)))


def _companions(path: Path, *, masks: bool) -> list[str]:
    """Files that may state the place of the one beside them: world files and GDAL's notes."""
    return [*_world_files(path), f"{path}.aux.xml", *([f"{path}.msk"] if masks else [])]


def _world_files(path: Path) -> list[str]:
    """Files beside another that state its place and nothing else."""
    stem, ending = os.path.splitext(os.fspath(path))  # noqa: PTH122 for every image of a run
    letters = ending[1:]
    short = letters[:1] + letters[-1:] + "w"
    worlds = {f"{stem}.{name}" for name in (short, f"{letters}w", "wld") if letters}
    worlds |= {f"{stem}.{name.upper()}" for name in (short, "wld") if letters}
    return [*sorted(worlds), f"{stem}.tab"]


def read_georeference(dataset: Any, path: Path) -> tuple[Georeference | None, str]:
    """The place on the map that an opened file states.

    Args:
        dataset: rasterio's.
        path: what it is called in messages.

    Returns:
        The georeference, None where the file has none; and what is to be told of it, as a
        sentence's end, such as "has a transform and no coordinate reference system: boxes stay in
        pixels"; else nothing.

    Raises:
        ImageError: what the file states can't be a place.
    """
    transform = tuple(float(value) for value in dataset.transform)[:6]
    points, system = dataset.gcps
    if transform == _IDENTITY and points:
        _expect_system(system, path)
        if system is None:
            return None, f"has ground control points and no coordinate reference system: {PIXELS}"
        return _from_points(points, system, path)
    if transform == _IDENTITY:
        if dataset.rpcs is not None:
            return None, (
                "is placed by rational polynomial coefficients (RPC) alone, which need heights of "
                f"the ground: {PIXELS}; gdalwarp -rpc makes an image with a place of it"
            )
        beside = next(filter(os.path.exists, _world_files(path)), None)
        if beside is not None:
            name = Path(beside).name
            return None, f"has {name} beside it, which states no place: {PIXELS}"
        return None, ""
    check_transform(transform, path)
    if dataset.crs is None:
        return None, f"has a transform and no coordinate reference system: {PIXELS}"
    _expect_system(dataset.crs, path)
    # pyrefly: ignore[bad-argument-type]
    return Georeference(system_text(dataset.crs), transform), ""


def check_transform(transform: Sequence[float], path: Path) -> None:
    """Refuse a transform that is no way from pixels to the map and back.

    Raises:
        ImageError: it holds what is no number, or lays all pixels upon a line.
    """
    a, b, _, d, e, _ = transform
    if not (np.isfinite(transform).all() and np.abs(transform).max() < _FARTHEST):
        raise ImageError(
            f"{path}: its geotransform holds what is no number: {_listed(transform)}. Expected six "
            "numbers. Give the file its place anew: gdal_edit.py -a_ullr."
        )
    if abs(a * e - b * d) <= 1e-12 * np.hypot(a, d) * np.hypot(b, e):
        raise ImageError(
            f"{path}: its geotransform lays all pixels upon a line or a point: "
            f"{_listed(transform)}. Expected pixels of some width and height. Give the file its "
            "place anew: gdal_edit.py -a_ullr."
        )


def system_text(system: Any) -> str:
    """A coordinate reference system of rasterio as text: EPSG:32617 where it has a number."""
    number = system.to_epsg(confidence_threshold=100)
    return str(system.to_wkt()) if number is None else f"EPSG:{number}"


def _expect_system(system: Any, path: Path) -> None:
    """Refuse a coordinate reference system of which nobody knows where on Earth it is."""
    if system is not None and not (system.is_geographic or system.is_projected):
        name = str(system.to_wkt()).split('"')[1:2]
        raise ImageError(
            f"{path}: its coordinate reference system ({', '.join(name) or 'without a name'}) is "
            "none that PROJ knows. Expected a geographic or projected one, such as EPSG:32617. "
            "State the right one: gdal_edit.py -a_srs EPSG:NUMBER."
        )


def _from_points(points: Sequence[Any], system: Any, path: Path) -> tuple[Georeference, str]:
    """The transform that fits ground control points best, bent where it misses them by much.

    Returns:
        The georeference; and what is to be told where even that misses some.
    """
    pixels = np.array([(point.col, point.row) for point in points], np.float64)
    places = np.array([(point.x, point.y) for point in points], np.float64)
    design = np.column_stack([pixels, np.ones(len(pixels))])
    if len(points) < 3 or np.linalg.matrix_rank(design) < 3:
        raise ImageError(
            f"{path}: has {counted(len(points), 'ground control point')} and no size of its pixels."
            " Expected three or more points that lie on no line, or a geotransform. Give the file "
            "its place anew: gdal_edit.py -a_ullr."
        )
    (a, d), (b, e), (c, f) = np.linalg.lstsq(design, places, rcond=None)[0].tolist()
    check_transform((a, b, c, d, e, f), path)
    place = Georeference(system_text(system), (a, b, c, d, e, f))
    if _miss(place, pixels, places) > _FITS and len(points) >= _BENDING:
        place = replace(place, bend=_fit_bend(pixels, places - place.to_map(pixels)))
    miss = _miss(place, pixels, places)
    if miss <= _FITS:
        return place, ""
    return place, f"has ground control points of which one is missed by {miss:.2g} pixels"


def _fit_bend(
    pixels: NDArray[np.float64], left_over: NDArray[np.float64]
) -> tuple[tuple[float, ...], ...]:
    """The polynomial of second order that comes nearest to values [N, 2] at pixels [N, 2]."""
    size = np.abs(pixels).max(axis=0).clip(1)
    (column, row), (width, height) = (pixels / size).T, size
    ones = np.ones_like(column)
    terms = np.column_stack([ones, column, row, column**2, column * row, row**2])
    factors = np.linalg.lstsq(terms, left_over, rcond=None)[0]
    factors /= np.array([1, width, height, width**2, width * height, height**2])[:, None]
    return tuple(tuple(axis) for axis in factors.T.tolist())


def _miss(place: Georeference, pixels: NDArray[np.float64], places: NDArray[np.float64]) -> float:
    """By how many pixels a georeference misses the place of the pixel that it misses most."""
    inverse = np.linalg.inv(np.reshape(place.transform, (2, 3))[:, :2]).T
    return float(np.abs((places - place.to_map(pixels)) @ inverse).max())


def _listed(transform: Sequence[float]) -> str:
    return ", ".join(f"{value:.10g}" for value in transform)


def ground_resolution(georeference: Georeference, width: int, height: int) -> float | None:
    """How many meters of ground a pixel shows at the middle of an image.

    Measured on the ellipsoid: in degrees and in Web Mercator (EPSG:3857), whose meters are true at
    the equator alone, as in any other system. Of pixels that are not square it is the side of a
    square of the same area.

    Args:
        georeference: the image's place on the map.
        width, height: of the image, pixels.

    Returns:
        Meters; None where the system does not say where on Earth the image lies.

    Raises:
        MissingExtraError: pyproj is not installed.
    """
    try:
        import pyproj
    except ImportError:
        raise MissingExtraError(
            "Measuring pixels on the ground needs pyproj: pip install 'foveal[geo]'"
        ) from None
    middle = np.array([width / 2, height / 2])
    steps = np.array([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]])
    places = georeference.to_map(middle + steps)
    try:
        system = pyproj.CRS.from_user_input(georeference.crs)
        degrees = pyproj.Transformer.from_crs(system, system.geodetic_crs, always_xy=True)
        longitude, latitude = degrees.transform(places[:, 0], places[:, 1])
        if not np.isfinite([longitude, latitude]).all():
            return None
        geodesic = system.get_geod()
        if geodesic is None:
            return None
        first, others = slice(0, 1), slice(1, 3)
        start = longitude[first].repeat(2), latitude[first].repeat(2)
        turns, _, lengths = geodesic.inv(*start, longitude[others], latitude[others])
    except (pyproj.exceptions.ProjError, AttributeError):  # a plan of a place on no Earth
        return None
    area = lengths[0] * lengths[1] * abs(np.sin(np.deg2rad(turns[1] - turns[0])))
    return float(np.sqrt(area)) or None
