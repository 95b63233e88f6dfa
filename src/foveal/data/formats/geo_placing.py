"""Where shapes on a map lie in an image: by coordinate reference systems, or as they fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from foveal.data.formats.issues import AnnotationIssue
from foveal.data.formats.vector_files import expect_crs, layer_of_texts, vertex_boxes
from foveal.data.images.reading import image_size
from foveal.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.formats.issues import IssuePolicy
    from foveal.data.formats.records import ImageRow, ObjectTable
    from foveal.data.formats.vector_files import VectorLayer
    from foveal.geometry.georeference import Georeference

_WORLD = "EPSG:4326"
_EDGE = np.linspace(0, 1, 9)
"""Points along an image's edge, whose places on another map bound it."""
_ENOUGH = 0.5
"""Share of the objects that lie in the image from which a reading is no longer doubted."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An image that shapes may lie in.

    Attributes:
        path: of the file.
        width, height: pixels.
        georeference: its place on the map; None where it has none.
    """

    path: Path
    width: int
    height: int
    georeference: Georeference | None = None


class _Reading(NamedTuple):
    """One way to understand the coordinates of a layer; `told` is empty where it is as written."""

    told: str
    move: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def scene_of(path: Path) -> Scene:
    """An image's size and place on the map, from its header.

    Raises:
        ImageError: the image can't be read, or what it states can't be a place.
        MissingExtraError: it may have a place, and rasterio is not installed.
    """
    from foveal.data.images.rasters import georeference_of

    width, height = image_size(path)
    return Scene(path, width, height, georeference_of(path))


def place_shapes(
    layer: VectorLayer,
    features: NDArray[np.int64],
    scene: Scene,
    policy: IssuePolicy,
    *,
    shared: bool,
) -> tuple[NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]] | None:
    """The boxes of features in an image, and the way from their map into its pixels.

    Coordinates are those of the layer's coordinate reference system. Where the file names none,
    they are what fits: those of the image's own, or pixels; that is told.

    Args:
        layer: the features' layer.
        features: [N] indices of features with an extent.
        scene: the image.
        policy: decides what becomes of shapes that lie elsewhere.
        shared: the image is one of several on the map, so that shapes may lie elsewhere.

    Returns:
        [N, 4] xyxy in pixels, unclipped; None where nothing fits, which is reported.

    Raises:
        DataError: a coordinate reference system is unknown, or nothing fits and the policy stops.
    """
    shapes = layer.shapes[features]
    readings = list(_readings(layer, scene, shared=shared))
    best: tuple[float, _Reading, NDArray[np.float64]] | None = None
    for reading in readings:
        boxes = vertex_boxes(shapes, reading.move)
        inside = _share_inside(boxes, scene)
        if best is None or inside > best[0]:
            best = inside, reading, boxes
        if inside >= _ENOUGH:
            break
    if best is None or (best[0] == 0 and len(features) and not shared and scene.width):
        message = _explain(layer, features, scene)
        place = f"layer {layer.name}"
        policy.report(AnnotationIssue("labels elsewhere", layer.file, place, message, scene.path))
        return None
    _, reading, boxes = best
    if reading.told and len(features):
        policy.note(reading.told, file=layer.file, place=f"layer {layer.name}")
    return boxes, reading.move


def place_on_images(
    table: ObjectTable,
    texts: Sequence[str],
    images: Sequence[ImageRow],
    policy: IssuePolicy,
    *,
    file: Path,
) -> None:
    """Bring shapes that a table writes on the map into the pixels of their images.

    Those of an image that has a place on the map, where none of them lies within its pixels.

    Args:
        table: its boxes are the extents of the shapes as they are written; they are replaced.
        texts: the shape of each object as WKT.
        images: of which size they are.
        policy: told how the coordinates are understood.
        file: the table's.

    Raises:
        DataError: the shapes lie elsewhere.
        MissingExtraError: shapely is not installed.
    """
    boxes = np.array(table.boxes, np.float64).reshape(-1, 4)
    owners = np.asarray(table.image, np.int64)
    numbers = np.asarray(table.numbers, np.int64)
    outside = [
        number
        for number, row in enumerate(images)
        if row.width
        and (owners == number).any()
        and not _share_inside(boxes[owners == number], Scene(row.path, row.width, row.height))
    ]
    for number in outside:
        scene = scene_of(images[number].path)
        if scene.georeference is None:
            continue
        mine = np.flatnonzero(owners == number)
        layer = layer_of_texts(file, [texts[i] for i in mine.tolist()], numbers[mine])
        placed = place_shapes(layer, np.arange(len(mine)), scene, policy, shared=False)
        if placed is not None:
            boxes[mine] = placed[0]
    if outside:
        table.boxes[:] = boxes.tolist()


def overlapping(layer: VectorLayer, scene: Scene) -> NDArray[np.int64]:
    """The indices [N] int64 of the features whose extent may meet an image on the map."""
    import shapely

    if scene.georeference is None or not len(layer):
        return np.zeros(0, np.int64)
    bounds = shapely.bounds(layer.shapes)
    crs = layer.crs or scene.georeference.crs
    outline = _outline(scene)
    if not layer.certain and layer.crs is not None and not _is_lonlat(bounds):
        crs = scene.georeference.crs
    low, high = _extent(_project(scene.georeference.crs, crs, outline, scene.path))
    with np.errstate(invalid="ignore"):
        meets = (bounds[:, :2] <= high).all(axis=1) & (bounds[:, 2:] >= low).all(axis=1)
    return np.flatnonzero(meets)


def _readings(layer: VectorLayer, scene: Scene, *, shared: bool) -> Iterator[_Reading]:
    """The ways in which a layer's coordinates may be meant, the likeliest first."""
    georeference = scene.georeference
    if georeference is not None:
        own = georeference.crs
        if layer.crs is not None and own:

            def by_crs(points: NDArray[np.float64]) -> NDArray[np.float64]:
                there = _project(layer.crs or own, own, points, layer.file)
                return georeference.to_pixels(there)

            yield _Reading("", by_crs)
            if layer.certain:
                return
        names = f"names no coordinate reference system: its places are taken in that of {{}}, {own}"
        told = f"The file {names}" if own else "The places are taken on the map of {}"
        image = "the image" if not shared else "the images"
        yield _Reading(told.format(image), georeference.to_pixels)
    if shared:
        return
    said = f", though the file names {layer.crs}" if layer.certain else ""
    yield _Reading(f"The coordinates are taken as pixels of the image{said}", _as_written)
    yield _Reading(
        f"The coordinates are taken as pixels of the image, y upwards from its upper edge{said}",
        _upside_down,
    )


def _as_written(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points


def _upside_down(points: NDArray[np.float64]) -> NDArray[np.float64]:
    turned: NDArray[np.float64] = points * np.array([1.0, -1.0])
    return turned


def _share_inside(boxes: NDArray[np.float64], scene: Scene) -> float:
    """The share of boxes whose center lies in the image."""
    if not len(boxes) or not scene.width:
        return 0.0
    with np.errstate(invalid="ignore"):
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = (centers >= 0) & (centers <= (scene.width, scene.height))
    return float(inside.all(axis=1).mean())


def _project(
    source: str, target: str, points: NDArray[np.float64], file: Path
) -> NDArray[np.float64]:
    """Points [N, 2] of one coordinate reference system in another, x first; not finite if none."""
    if source == target:
        return points
    one, other = expect_crs(source, file), expect_crs(target, file)
    if one == other:
        return points
    from pyproj import Transformer

    transformer = Transformer.from_crs(one, other, always_xy=True)
    return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)


def _outline(scene: Scene) -> NDArray[np.float64]:
    """Points on an image's edges on its own map [P, 2]."""
    assert scene.georeference is not None
    ends = np.stack(np.meshgrid(_EDGE * scene.width, _EDGE * scene.height), axis=-1).reshape(-1, 2)
    return scene.georeference.to_map(ends)


def _extent(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest coordinates [2] of the points that are finite; NaN without any."""
    finite = points[np.isfinite(points).all(axis=1)]
    if not len(finite):
        return np.full(2, np.nan), np.full(2, np.nan)
    return finite.min(axis=0), finite.max(axis=0)


def _is_lonlat(bounds: NDArray[np.float64]) -> bool:
    finite = bounds[np.isfinite(bounds).all(axis=1)]
    return bool((np.abs(finite) <= [180.0, 90.0, 180.0, 90.0]).all())


def _explain(layer: VectorLayer, features: NDArray[np.int64], scene: Scene) -> str:
    """Why no shape of a layer lies in its image, and what may be meant."""
    import shapely

    found = counted(len(features), "object")
    bounds = shapely.bounds(layer.shapes[features])
    low, _ = _extent(bounds[:, :2])
    _, high = _extent(bounds[:, 2:])
    where = f"{layer.crs or 'no coordinate reference system'}, {_shown(low, high)}"
    image = scene.path.name
    if scene.georeference is None or not scene.georeference.crs:
        return (
            f"none of its {found} lies in {image} of {scene.width} x {scene.height}, which has no "
            f"place on the map. The labels are in {where}. Expected an image on the map, such as a "
            "GeoTIFF, or labels in pixels."
        )
    own = scene.georeference.crs
    start, end = _extent(_outline(scene))
    text = f"none of its {found} lies in {image}"
    middle = (low + high)[None] / 2
    distance = _distance(layer.crs or own, middle, own, (start + end)[None] / 2, layer.file)
    text += f": they lie {distance} away. " if distance else ". "
    text += f"The labels are in {where}; the image is in {own}, {_shown(start, end)}. "
    swapped = _place_swapped(layer, features, scene)
    if swapped:
        return text + (
            "They would lie in it if x and y were exchanged: exchange them in the file (in QGIS: "
            "Swap X and Y coordinates)."
        )
    if _share_inside(vertex_boxes(layer.shapes[features], lambda p: p), scene):
        return text + (
            "As pixels they would lie in it: take the coordinate reference system out of the file "
            "if they are pixels."
        )
    if layer.crs and layer.crs != own:
        inside = vertex_boxes(layer.shapes[features], scene.georeference.to_pixels)
        if _share_inside(inside, scene):
            return text + (
                f"They would lie in it if they were in {own}: correct what the file says."
            )
    return text + "Expected labels of this image, or a coordinate reference system that fits."


def _place_swapped(layer: VectorLayer, features: NDArray[np.int64], scene: Scene) -> bool:
    """Whether shapes lie in the image once x and y are exchanged."""
    georeference = scene.georeference
    assert georeference is not None

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        crs = layer.crs or georeference.crs
        return georeference.to_pixels(_project(crs, georeference.crs, points[:, ::-1], layer.file))

    return _share_inside(vertex_boxes(layer.shapes[features], move), scene) >= _ENOUGH


def _distance(
    one: str, first: NDArray[np.float64], other: str, second: NDArray[np.float64], file: Path
) -> str:
    """How far two places [1, 2] are from each other on the earth; "" where one is nowhere."""
    from pyproj import Geod

    a, b = _project(one, _WORLD, first, file)[0], _project(other, _WORLD, second, file)[0]
    if not np.isfinite([*a, *b]).all() or abs(a[1]) > 90 or abs(b[1]) > 90:
        return ""
    meters = Geod(ellps="WGS84").inv(a[0], a[1], b[0], b[1])[2]
    return f"{meters / 1000:,.0f} km" if meters >= 10_000 else f"{meters:,.0f} m"


def _shown(low: NDArray[np.float64], high: NDArray[np.float64]) -> str:
    """Bounds for messages: degrees with places, meters without."""
    values = [*low.tolist(), *high.tolist()]
    places = 5 if all(abs(value) <= 360 for value in values) else 0
    west, south, east, north = (f"{value:,.{places}f}" for value in values)
    return f"x {west} to {east}, y {south} to {north}"
