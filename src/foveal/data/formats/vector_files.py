"""Files of shapes on the map, as geographic information systems write them, in columns.

GeoPackage, GeoJSON, Shapefile and FlatGeobuf are read by GDAL through pyogrio. What a file is is
looked at before GDAL is asked, which would open anything under any name.
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from foveal.errors import DataError, MissingExtraError
from foveal.geometry.georeference import Georeference
from foveal.text import listed, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ENDINGS = (".gpkg", ".shp", ".geojson", ".fgb")
"""Endings of files that hold shapes on a map; a `.json` may hold GeoJSON too."""

NEEDED = "Shapes on a map need pyogrio, pyproj and shapely: pip install 'foveal[geo]'"

_MAGIC = {
    ".gpkg": (b"SQLite format 3\0", "a GeoPackage"),
    ".shp": (b"\x00\x00\x27\x0a", "a Shapefile"),
    ".fgb": (b"fgb\x03fgb", "a FlatGeobuf file"),
}
"""With what each kind of file begins."""
_CRS_NAME = re.compile(
    r'"crs"\s*:\s*(null|\{[^{}]*\{[^{}]*"(?:name|href)"\s*:\s*"([^"]*)"[^{}]*\})'
)
_PARTS = (".shx", ".dbf")
_SHOWN = 200
_UPRIGHT = 1e-3
"""Pixels by which a corner may be off the box around its outline, which then is that box."""


@dataclass(frozen=True, slots=True, eq=False)
class VectorLayer:
    """The features of one layer.

    Attributes:
        file: where they stand.
        name: of the layer.
        crs: the coordinate reference system, "EPSG:32617" or WKT; None where the file names none.
        certain: whether the file itself names it, which GeoJSON need not.
        numbers: [N] the features' numbers, counted from 1.
        shapes: [N] shapely geometries; None where a feature has none.
        columns: the N values of each attribute; None where there is none.
        notes: what reading chose by itself, a sentence each without its full stop.
    """

    file: Path
    name: str
    crs: str | None
    certain: bool
    numbers: NDArray[np.int64]
    shapes: NDArray[Any]
    columns: dict[str, list[Any]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.shapes)


def is_vector_file(file: Path) -> bool:
    """Whether a file's name ends as those of shapes on a map do; `.json` is not among them."""
    return file.suffix.lower() in ENDINGS


def read_layer(file: Path, layer: str | None = None) -> VectorLayer:
    """Read a layer of a file, every feature with its attributes.

    Args:
        file: GeoPackage, GeoJSON, Shapefile or FlatGeobuf.
        layer: its name; None takes the only one.

    Raises:
        DataError: the file can't be read, has several layers or none with shapes.
        MissingExtraError: pyogrio or shapely is not installed.
    """
    pyogrio, shapely = _libraries(file)
    _expect_kind(file)
    notes: list[str] = []
    name = _choose_layer(file, _asked(file, lambda: pyogrio.list_layers(file)), layer)

    def read(**options: Any) -> tuple[Any, ...]:
        found = pyogrio.raw.read(file, layer=name, return_fids=True, **options)
        return cast("tuple[Any, ...]", found)

    try:
        meta, ids, wkb, data = _asked(file, lambda: read(**_encoding(file)), passes=UnicodeError)
    except UnicodeError:
        meta, ids, wkb, data = _asked(file, lambda: read(encoding="cp1252"))
        notes.append("Its texts are not in the encoding that it names: they are read as cp1252")
    if wkb is None:
        raise DataError(
            f"{file}: layer {name!r} has no shapes, only attributes. Expected polygons or boxes."
        )
    with np.errstate(invalid="ignore"):
        shapes = _asked(file, lambda: shapely.from_wkb(wkb, on_invalid="raise"))
        shapes = _areas_of_collections(shapes)
    crs, certain = _crs_of(file, meta["crs"])
    columns = {
        str(field): _plain_values(values)
        for field, values in zip(meta["fields"], data, strict=True)
    }
    numbers = np.arange(1, len(shapes) + 1) if ids is None else _counted_from_one(file, ids)
    return VectorLayer(file, name, crs, certain, numbers, shapes, columns, tuple(notes))


def _areas_of_collections(shapes: NDArray[Any]) -> NDArray[Any]:
    """The shapes with the polygons alone of those that are collections with any."""
    import shapely

    mixed = shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
    for i in np.flatnonzero(mixed).tolist():
        parts = shapely.get_parts(shapes[i])
        solid = parts[shapely.get_dimensions(parts) == 2]
        if len(solid):
            shapes[i] = shapely.multipolygons(shapely.get_parts(solid))
    return shapes


def layer_of_texts(file: Path, texts: Sequence[str], numbers: NDArray[np.int64]) -> VectorLayer:
    """A layer of shapes that a table writes as WKT [N], in a system that it does not name.

    Raises:
        DataError: a text is no shape.
        MissingExtraError: shapely is not installed.
    """
    _, shapely = _libraries(file)
    try:
        shapes = shapely.from_wkt(np.array(texts, object))
    except shapely.errors.GEOSException as error:
        why = printable(str(error), lines=False)[:_SHOWN].rstrip(".")
        raise DataError(f"{file}: a geometry is no WKT: {why}. Expected a POLYGON.") from error
    return VectorLayer(file, file.stem, None, False, numbers, shapes, {})


def flat_shapes(shapes: NDArray[Any]) -> NDArray[np.bool_]:
    """Which geometries [N] have no extent of two dimensions: none, points and lines."""
    import shapely

    flat = shapely.get_dimensions(shapes) < 2
    return np.asarray(flat | shapely.is_missing(shapes) | shapely.is_empty(shapes), np.bool_)


def vertex_boxes(
    shapes: NDArray[Any], move: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The boxes around the moved vertices of geometries.

    A rotated transform makes another box of a shape's own vertices than of its extent on the map.

    Args:
        shapes: [N] geometries; each has at least one vertex.
        move: maps points [V, 2] to points [V, 2].

    Returns:
        [N, 4] xyxy in the frame that `move` leads to; not finite where a vertex is not.
    """
    import shapely

    points, of_shape = shapely.get_coordinates(shapes, return_index=True)
    if not len(points):
        return np.zeros((0, 4))
    with np.errstate(invalid="ignore", over="ignore"):
        moved = move(points)
    starts = np.flatnonzero(np.r_[True, of_shape[1:] != of_shape[:-1]])
    low, high = np.minimum.reduceat(moved, starts), np.maximum.reduceat(moved, starts)
    return np.concatenate([low, high], axis=1)


def outlines(
    shapes: NDArray[Any],
    move: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    boxes: NDArray[np.float64],
) -> list[list[list[float]] | None]:
    """The outer outlines of polygons in pixels, as COCO lists them; None for upright boxes.

    Args:
        shapes: [N] geometries with an extent.
        move: maps points [V, 2] into pixels.
        boxes: [N, 4] xyxy of each.
    """
    import shapely

    single, of_shape = shapely.get_parts(shapes, return_index=True)
    rings = shapely.get_exterior_ring(single)
    points, of_ring = shapely.get_coordinates(rings, return_index=True)
    found: list[list[list[float]] | None] = [None] * len(shapes)
    if not len(points):
        return found
    pixels = move(points)
    owner = of_shape[of_ring]
    edges = np.abs(pixels[:, None, :] - boxes[owner].reshape(-1, 2, 2)).min(axis=1)
    strange = np.bincount(owner, (edges > _UPRIGHT).any(axis=1), minlength=len(shapes)) > 0
    strange |= np.bincount(owner, minlength=len(shapes)) != 5  # a closed ring of four corners
    pixels, of_ring, owner = (each[strange[owner]] for each in (pixels, of_ring, owner))
    starts = np.flatnonzero(np.r_[True, of_ring[1:] != of_ring[:-1]][: len(of_ring)])
    for start, end in itertools.pairwise([*starts.tolist(), len(of_ring)]):
        shape = int(owner[start])
        outline = np.round(pixels[start : end - 1], 3).ravel().tolist()
        found[shape] = [*(found[shape] or []), outline]
    return found


def write_boxes(
    file: Path,
    boxes: NDArray[np.floating],
    columns: Mapping[str, Sequence[Any]],
    *,
    georeference: Georeference | None,
) -> None:
    """Write boxes with attributes as a GeoPackage.

    Args:
        file: a new .gpkg, whose layer gets its name.
        boxes: [N, 4] xyxy, pixels.
        columns: N texts, numbers or truths of each attribute; None where there is none.
        georeference: the image's place on the map; without it the layer is in pixels.

    Raises:
        DataError: GDAL can't write it.
        MissingExtraError: pyogrio or shapely is not installed.
    """
    pyogrio, shapely = _libraries(file)
    place = georeference or Georeference("", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    shapes = shapely.polygons(place.corners(boxes)) if len(boxes) else np.zeros(0, object)
    fields = {name: _as_field(values) for name, values in columns.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a layer without a coordinate reference system
            pyogrio.raw.write(
                file,
                shapely.to_wkb(shapes),
                field_data=[values for values, _ in fields.values()],
                field_mask=[mask for _, mask in fields.values()],
                fields=list(fields),
                layer=file.stem,
                driver="GPKG",
                geometry_type="Polygon",
                crs=place.crs or None,
            )
    except (RuntimeError, ValueError) as error:
        why = printable(str(error), lines=False)[:_SHOWN].rstrip(".")
        raise DataError(f"{file} can't be written: {why}.") from error


def _as_field(values: Sequence[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """A column as GDAL takes it, and which of its values are none."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {str}:
        return np.array(values, object), None
    none = np.array([value is None for value in values], np.bool_)
    dtype = np.float64 if float in kinds else np.bool_ if kinds == {bool} else np.int64
    return np.array([0 if value is None else value for value in values], dtype), none


def _libraries(file: Path) -> tuple[Any, Any]:
    try:
        import pyogrio
        import shapely
    except ImportError as error:
        raise MissingExtraError(NEEDED, str(file)) from error
    return pyogrio, shapely


def _asked(file: Path, ask: Callable[[], Any], *, passes: type[Exception] | None = None) -> Any:
    """What GDAL answers; what it fails with is an error in our words, what it warns of is none.

    Raises:
        DataError: the file can't be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ask()
    except MemoryError:
        raise
    except Exception as error:  # pyogrio and shapely raise what GDAL and GEOS make of a file
        if passes is not None and isinstance(error, passes):
            raise
        why = (
            printable(str(error), lines=False).partition("; It might help")[0][:_SHOWN].rstrip(".")
        )
        raise DataError(
            f"{file} can't be read: {why}. Expected a whole {_called(file)}; get or export it "
            "again."
        ) from error


def _called(file: Path) -> str:
    return {
        ".gpkg": "GeoPackage",
        ".shp": "Shapefile",
        ".fgb": "FlatGeobuf file",
    }.get(file.suffix.lower(), "GeoJSON file")


def _expect_kind(file: Path) -> None:
    """Make sure that a file is what its name says, and has the parts that it needs.

    Raises:
        DataError: it is something else, empty, or a part is missing.
    """
    ending = file.suffix.lower()
    with file.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise DataError(f"{file} is empty. Expected a {_called(file)}; get or export it again.")
    if ending in _MAGIC:
        magic, called = _MAGIC[ending]
        if not head.startswith(magic):
            raise DataError(
                f"{file} is not {called}, whatever its name says: it begins with {head[:12]!r}. "
                "Get or export it again."
            )
    elif head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        raise DataError(f"{file} is not GeoJSON: it does not begin with {{. Export it again.")
    if ending == ".shp":
        there = {other.name.lower() for other in file.parent.iterdir()}
        missing = [part for part in _PARTS if (file.stem + part).lower() not in there]
        if missing:
            raise DataError(
                f"{file}: a Shapefile is several files, and {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing beside it. Copy all of "
                f"{file.stem}.shp, .shx, .dbf and .prj."
            )


def _choose_layer(file: Path, layers: NDArray[Any], layer: str | None) -> str:
    """The layer that was named, or the only one with shapes.

    Raises:
        DataError: there are several or none, or none of that name.
    """
    names = [str(name) for name, _ in layers]
    with_shapes = [str(name) for name, kind in layers if kind is not None]
    if layer is not None:
        if layer not in names:
            raise DataError(
                f"{file} has no layer {layer!r}. Its layers are {listed(names, 20) or 'none'}: "
                "--layer NAME (in Python layer=NAME)."
            )
        return layer
    if len(with_shapes) == 1:
        return with_shapes[0]
    if not with_shapes:
        others = f"; without shapes: {listed(names, 20)}" if names else ""
        raise DataError(f"{file} has no layer with shapes{others}. Expected polygons or boxes.")
    raise DataError(
        f"{file} has {len(with_shapes)} layers: {listed(with_shapes, 20)}. Say which: --layer "
        f"{with_shapes[0]} (in Python layer={with_shapes[0]!r})."
    )


def _encoding(file: Path) -> dict[str, str]:
    """UTF-8 for a Shapefile that names no encoding: as most programs write it now."""
    if file.suffix.lower() != ".shp" or file.with_suffix(".cpg").exists():
        return {}
    with (
        file.with_suffix(".dbf").open("rb")
        if file.with_suffix(".dbf").exists()
        else file.open("rb") as stream
    ):
        language = stream.read(30)[29:]
    return {"encoding": "UTF-8"} if language in (b"", b"\0") else {}


def _is_table_of(file: Path, other: Path) -> bool:
    return other.name.lower() == f"{file.stem}.dbf".lower()


def _crs_of(file: Path, crs: str | None) -> tuple[str | None, bool]:
    """The coordinate reference system, and whether the file names it.

    GDAL says EPSG:4326 of GeoJSON that names none, or one that it does not know.

    Raises:
        DataError: the file names one that PROJ does not know.
    """
    if file.suffix.lower() in ENDINGS and file.suffix.lower() != ".geojson":
        return crs, crs is not None
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
        stream.seek(max(file.stat().st_size - (1 << 12), 0))
        tail = stream.read()
    for part in (head, tail):
        found = _CRS_NAME.search(part.decode("utf-8", "replace"))
        if found is not None and found[2]:
            expect_crs(found[2], file)
            return crs, True
        if found is not None:
            return None, False  # "crs": null says that there is none
    return crs, False


def expect_crs(crs: str, file: Path) -> Any:
    """The coordinate reference system as pyproj knows it.

    Raises:
        DataError: PROJ does not know it.
        MissingExtraError: pyproj is not installed.
    """
    try:
        from pyproj import CRS
        from pyproj.exceptions import CRSError
    except ImportError as error:
        raise MissingExtraError(NEEDED, str(file)) from error
    try:
        return CRS.from_user_input(crs)
    except CRSError as error:
        shown = printable(crs, lines=False)[:80]
        raise DataError(
            f"{file}: its coordinate reference system {shown!r} is unknown to PROJ. Expected one "
            "such as EPSG:32617. Export the file again in one that is known."
        ) from error


def _counted_from_one(file: Path, ids: NDArray[Any]) -> NDArray[np.int64]:
    """The features' numbers as programs show them: those of a Shapefile and of GeoJSON from 0."""
    first = 0 if file.suffix.lower() == ".gpkg" else 1
    return np.asarray(ids, np.int64) + first


def _plain_values(values: NDArray[Any]) -> list[Any]:
    """Values that tables and JSON can hold; numbers that are none are None."""
    if values.dtype.kind in "Mm":
        return [None if text == "NaT" else text for text in np.datetime_as_string(values).tolist()]
    plain: list[Any] = values.tolist()
    if values.dtype.kind == "f":
        return [None if math.isnan(value) else value for value in plain]
    if values.dtype.kind == "O":
        return [_plain_value(value) for value in plain]
    return plain


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def is_feature_collection(file: Path) -> bool:
    """Whether a file holds GeoJSON, by what it begins with."""
    try:
        with file.open("rb") as stream:
            head = stream.read(1 << 14).decode("utf-8-sig", "replace")
    except OSError:
        return False
    return bool(re.search(r'"type"\s*:\s*"Feature(Collection)?"', head))
