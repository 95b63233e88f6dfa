"""What `foveal predict` writes: tables, files for maps, pictures of scenes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.console import say
from foveal.errors import ImageError, MissingExtraError, SettingsError
from foveal.text import counted
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference
    from foveal.inference.image_paths import ImageFile
    from foveal.inference.scene_plan import PlannedScene
    from foveal.structures import Detections

COUNTS = "counts.csv"
_FILES = {
    "coco": "detections.json",
    "csv": "detections.csv",
    "gpkg": "detections.gpkg",
    "geojson": "detections.geojson",
}
_STYLE = "detections.qml"
REPORT = "report.html"
"""Of scenes."""
PICTURES_IN_REPORT = 6
"""Scenes that the report shows, those with the most objects; all have a line in it."""
_ON_MAPS = ("gpkg", "geojson")
TABLES = (_FILES["coco"], _FILES["csv"], COUNTS)

_TOUCHING = 0.5
"""Images whose edges are closer than so many pixels touch each other."""

To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="KIND,...",
        help="Which files of detections are written: coco, csv, gpkg (GeoPackage, with a style for "
        "QGIS), geojson. Without it coco and csv, and gpkg where an image has a place on the map.",
        show_default=False,
    ),
]
FullPictures = Annotated[
    bool,
    typer.Option(
        "--full-pictures",
        help="Draw scenes in all their pixels too, into tiled GeoTIFFs that QGIS shows on the map.",
    ),
]


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image that has a place on the map.

    Attributes:
        name: what people call it.
        georeference: its place.
        width, height: pixels.
    """

    name: str
    georeference: Georeference
    width: int
    height: int


def parse_kinds(text: str | None) -> tuple[str, ...] | None:
    """The kinds of files that --to names; None leaves it to the images.

    Raises:
        SettingsError: there is no such kind.
    """
    if text is None:
        return None
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for kind in kinds:
        if kind not in _FILES:
            raise SettingsError(f"--to {text}: expected some of {', '.join(_FILES)}.")
    return kinds


def find_places(files: Sequence[ImageFile]) -> dict[int, PlacedImage]:
    """The images that have a place on the map, by their numbers and their headers alone.

    Those that can't be read have none here; reading says why.
    """
    from foveal.data.images.rasters import georeference_of
    from foveal.data.images.reading import image_size

    def find(file: ImageFile) -> PlacedImage | None:
        try:
            place = georeference_of(file.path)
            if place is None:
                return None
            return PlacedImage(file.path.name, place, *image_size(file.path))
        except (ImageError, MissingExtraError, OSError):
            return None

    found = enumerate(map_in_threads(find, list(files)))
    return {index: place for index, place in found if place is not None}


def first_neighbors(places: Sequence[PlacedImage]) -> tuple[PlacedImage, PlacedImage] | None:
    """The first two images of one coordinate reference system that overlap or touch each other."""
    import numpy as np

    by_crs: dict[str, list[PlacedImage]] = {}
    for place in places:
        by_crs.setdefault(place.georeference.crs, []).append(place)
    for group in by_crs.values():
        boxes = np.array([(0, 0, place.width, place.height) for place in group], np.float64)
        corners = np.stack(
            [
                place.georeference.corners(box[None])[0]
                for place, box in zip(group, boxes, strict=True)
            ]
        )
        low, high = corners.min(axis=1), corners.max(axis=1)
        slack = _TOUCHING * np.array([place.georeference.pixel_size for place in group])
        for index in range(len(group) - 1):
            rest = slice(index + 1, None)
            near = (low[index] - slack[index] <= high[rest]) & (
                low[rest] <= high[index] + slack[index]
            )
            if near.all(axis=1).any():
                return group[index], group[index + 1 + int(near.all(axis=1).argmax())]
    return None


def map_files(
    kinds: Sequence[str] | None, places: Mapping[int, PlacedImage], files: Sequence[ImageFile]
) -> list[str]:
    """The names of the files for maps that are to be written.

    Args:
        kinds: that were asked for; None leaves it to the images.
        places: of those images that have one.
        files: all images.

    Raises:
        SettingsError: one is asked for, and no image has a place on the map.
    """
    wanted = [kind for kind in _ON_MAPS if kind in (("gpkg",) if kinds is None else kinds)]
    if not places and kinds is not None and wanted:
        raise SettingsError(
            f"--to {wanted[0]}: none of {counted(len(files), 'image')} has a place on the map "
            "(a coordinate reference system and a transform), so boxes have none. Expected csv or "
            "coco, which hold pixels; gdal_translate -a_srs and -a_ullr place an image."
        )
    names = [_FILES[kind] for kind in wanted if places]
    return [*names, _STYLE] if _FILES["gpkg"] in names else names


def tables(kinds: Sequence[str] | None) -> list[str]:
    """The names of the tables that are to be written."""
    wanted = ("coco", "csv") if kinds is None else kinds
    return [*(_FILES[kind] for kind in ("coco", "csv") if kind in wanted), COUNTS]


def write_results(
    detections: Sequence[Detections],
    out: Path,
    *,
    kinds: Sequence[str] | None,
    maps: Sequence[str],
) -> list[str]:
    """Write tables and files for maps; gives their names.

    Raises:
        FovealError: one can't be written.
    """
    from foveal.outputs.files import write, write_counts
    from foveal.outputs.geopackage import describe_layers

    written = []
    placed = [each for each in detections if each.georeference is not None]
    for name in maps:
        if name == _STYLE or not placed:
            continue
        try:
            write(placed, out / name)
        except MissingExtraError as error:
            if kinds is not None:
                raise
            say(f"{name} is not written. {error.line}", stderr=True)
            continue
        written.append(name)
        layers = describe_layers(placed) if name == _FILES["gpkg"] else ""
        if layers:
            say(layers)
        if len(placed) < len(detections):
            without = len(detections) - len(placed)
            say(f"{counted(without, 'image')} without a place on the map: not in {name}.")
    if (out / _STYLE).is_file():
        written.append(_STYLE)
    for name in tables(kinds):
        if name == COUNTS:
            write_counts(out / name, detections)
        else:
            write(detections, out / name)
        written.append(name)
    return written


def draw_scene(
    path: Path, scene: PlannedScene, detections: Detections, *, full: bool, advice: str
) -> NDArray[np.uint8] | None:
    """Draw the whole scene, shrunk, with what was found; one that can't be read is told.

    Args:
        path: the picture, .jpg.
        scene: that was looked at.
        detections: boxes in scene pixels.
        full: draw all of its pixels too, into a .tif beside it.
        advice: what to do where a picture can't be written.

    Returns:
        [h, w, 3] uint8 RGB, the picture; None where the scene can't be read.

    Raises:
        FovealError: a picture can't be written.
        MissingExtraError: what writes all pixels is not installed.
    """
    from foveal.data.images.encoding import write_image
    from foveal.outputs.scene_pictures import draw_scene as draw
    from foveal.outputs.scene_pictures import write_scene_picture

    try:
        with scene.raster as raster:
            picture = draw(raster, detections)
            write_image(path, picture, advice=advice)
            if full:
                write_scene_picture(path.with_suffix(".tif"), raster, detections, advice=advice)
    except ImageError as error:
        say(f"not drawn: {error}", stderr=True)
        return None
    return picture


def write_report(
    path: Path,
    found: Sequence[tuple[PlannedScene, Detections, NDArray[np.uint8] | None]],
    *,
    model: str,
    score_threshold: float,
    map_file: str,
) -> None:
    """Write the page that shows what was found in scenes.

    Args:
        path: of the page.
        found: scenes, what was found in each, and a picture [h, w, 3] of some.
        model: what people call it.
        score_threshold: the least score of a detection.
        map_file: the file for maps beside it; "" where there is none.

    Raises:
        FovealError: it can't be written.
    """
    from pathlib import Path as FilePath

    from foveal.reports.scene import SceneFacts, write_scene_report

    facts = [
        SceneFacts(
            FilePath(scene.raster.name).name,
            detections,
            picture,
            windows=math.prod(scene.tiling.grid(scene.raster.width, scene.raster.height)),
            tile=scene.tiling.size,
            overlap=scene.tiling.overlap,
            scale=scene.tiling.scale,
            notes=scene.raster.notes,
        )
        for scene, detections, picture in found
    ]
    write_scene_report(path, facts, model=model, score_threshold=score_threshold, map_file=map_file)
