"""What `foveal predict` writes: tables, files for maps, pictures of scenes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.console import say
from foveal.errors import FovealError, ImageError, MissingExtraError, SettingsError
from foveal.text import counted, suggestion
from foveal.threads import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from foveal.geometry.georeference import Georeference
    from foveal.inference.image_paths import ImageFile
    from foveal.inference.scene_plan import PlannedScene
    from foveal.inference.scenes import SceneSummary
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
            raise SettingsError(
                f"--to {text}: expected some of {', '.join(_FILES)}." + suggestion(kind, _FILES)
            )
    return kinds


@dataclass(frozen=True, slots=True)
class Places:
    """Where the images of a run lie on the map.

    Attributes:
        images: those that have a place, by their numbers.
        unread: those whose place can't be read, and why.
        notes: what is to be told of the place of others, as a `Raster`'s notes are.
    """

    images: Mapping[int, PlacedImage]
    unread: Mapping[int, ImageError | MissingExtraError]
    notes: Mapping[int, tuple[Path, str]] = field(default_factory=dict)

    def describe(self, *, leave_out: Collection[int] = ()) -> Iterator[str]:
        """Say of which images the place is left out or odd, a sentence for each reason.

        Args:
            leave_out: numbers of images of which the reason is told elsewhere.
        """
        errors = [error for number, error in self.unread.items() if number not in leave_out]
        lines: dict[str, list[str]] = {}
        for error in errors:
            if isinstance(error, MissingExtraError):
                lines.setdefault(error.line, []).append(error.needed_by)
        for line, names in lines.items():
            if len(names) == 1:
                yield f"{names[0]} may have a place on the map, which is left out. {line}"
            else:
                count = counted(len(names), "image")
                yield (
                    f"{count} may have a place on the map, which is left out, the first of them "
                    f"{names[0]}. {line}"
                )
        others = [error for error in errors if not isinstance(error, MissingExtraError)]
        if others:
            more = f" So it is with {len(others) - 1:,} more." if len(others) > 1 else ""
            yield f"{others[0]} Its boxes stay in pixels.{more}"
        noted: dict[str, list[Path]] = {}
        for number, (path, note) in self.notes.items():
            if number not in leave_out:
                noted.setdefault(note, []).append(path)
        for note, paths in noted.items():
            yield describe_note(note, str(paths[0]), len(paths))


def describe_note(note: str, first: str, count: int) -> str:
    """What is to be told of so many images, the first of them named."""
    more = f" So {'is' if count == 2 else 'are'} {count - 1:,} more." if count > 1 else ""
    return f"{first} {note.rstrip('.')}.{more}"


def find_places(files: Sequence[ImageFile]) -> Places:
    """Where images lie on the map, by their headers alone.

    Those that can't be read have no place here; reading says why.
    """
    from foveal.data.images.rasters import place_of, raster_size

    notes: dict[int, tuple[Path, str]] = {}

    def find(
        numbered: tuple[int, ImageFile],
    ) -> PlacedImage | ImageError | MissingExtraError | None:
        index, file = numbered
        problem: ImageError | MissingExtraError | None = None
        place = None
        try:
            place, note = place_of(file.path)
            if note:
                notes[index] = file.path, note
        except MissingExtraError as error:
            problem = MissingExtraError(error.line, str(file.path))
        except ImageError as error:
            problem = error
        if place is None and problem is None:
            return None
        try:
            size = raster_size(file.path)
        except (ImageError, MissingExtraError, OSError):
            return None
        return problem if place is None else PlacedImage(file.path.name, place, *size)

    found = list(enumerate(map_in_threads(find, list(enumerate(files)))))
    return Places(
        {index: each for index, each in found if isinstance(each, PlacedImage)},
        {index: each for index, each in found if isinstance(each, ImageError | MissingExtraError)},
        dict(sorted(notes.items())),
    )


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


def map_files(kinds: Sequence[str] | None, places: Places, files: Sequence[ImageFile]) -> list[str]:
    """The names of the files for maps that are to be written; says which can't be.

    Args:
        kinds: that were asked for; None leaves it to the images.
        places: of the images.
        files: all images.

    Raises:
        SettingsError: one is asked for, and no image has a place on the map.
        MissingExtraError: one is asked for, and what writes it, or reads places, is not installed.
        DataError: one is asked for, and has no room for a coordinate reference system.
    """
    wanted = [kind for kind in _ON_MAPS if kind in (("gpkg",) if kinds is None else kinds)]
    if not places.images and kinds is not None and wanted:
        for error in places.unread.values():
            if isinstance(error, MissingExtraError):
                raise error
        why = "".join(f" {error}" for error in list(places.unread.values())[:1])
        raise SettingsError(
            f"--to {wanted[0]}: none of {counted(len(files), 'image')} has a place on the map "
            "(a coordinate reference system and a transform), so boxes have none. Expected csv or "
            f"coco, which hold pixels; gdal_translate -a_srs and -a_ullr place an image.{why}"
        )
    names = []
    for kind in wanted if places.images else ():
        try:
            _expect_writer(kind, places)
        except MissingExtraError as error:
            if kinds is not None:
                raise MissingExtraError(error.line, f"--to {kind}") from None
            say(f"{_FILES[kind]} is not going to be written. {error.line}", stderr=True)
            continue
        names.append(_FILES[kind])
    return [*names, _STYLE] if _FILES["gpkg"] in names else names


def _expect_writer(kind: str, places: Places) -> None:
    """See, before hours of work, whether a file for maps can be written."""
    from foveal.outputs.geopackage import expect_geopackage_writer
    from foveal.outputs.world_polygons import expect_world_polygons

    if kind == "gpkg":
        expect_geopackage_writer()
        return
    by_crs = {place.georeference.crs: place.georeference for place in places.images.values()}
    for georeference in by_crs.values():
        expect_world_polygons(georeference)


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
    folder: Path | None = None,
) -> tuple[list[str], list[FovealError]]:
    """Write tables, and after them files for maps.

    Args:
        detections: one for each image.
        out: the folder.
        kinds: of tables; None writes all.
        maps: the files for maps.
        folder: from which the table of counts names the images.

    Returns:
        The names of what is written; and why files for maps are not.

    Raises:
        FovealError: a table can't be written.
    """
    from foveal.outputs.files import write, write_counts
    from foveal.outputs.geopackage import describe_layers

    written: list[str] = []
    failures: list[FovealError] = []
    for name in tables(kinds):
        if name == COUNTS:
            write_counts(out / name, detections, folder=folder)
        else:
            write(detections, out / name)
        written.append(name)
    placed = [each for each in detections if each.georeference is not None]
    for name in maps:
        if name == _STYLE or not placed:
            continue
        try:
            write(placed, out / name)
        except FovealError as error:
            failures.append(error)
            continue
        written.append(name)
        if name == _FILES["gpkg"]:
            written.append(_STYLE)
        layers = describe_layers(placed) if name == _FILES["gpkg"] else ""
        if layers:
            say(layers, stderr=True)
        if len(placed) < len(detections):
            without = len(detections) - len(placed)
            said = f"{counted(without, 'image')} without a place on the map: not in {name}."
            say(said, stderr=True)
    return written, failures


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


@dataclass(frozen=True, slots=True, eq=False)
class ShownScene:
    """A scene as the report shows it.

    Attributes:
        scene: how it was looked at.
        detections: boxes in its pixels.
        summary: what is to be known of them.
        picture: [h, w, 3] uint8 RGB, with what was found; None shows none.
    """

    scene: PlannedScene
    detections: Detections
    summary: SceneSummary
    picture: NDArray[np.uint8] | None

    @property
    def windows(self) -> int:
        """Windows that the network looked at, without the look at the whole."""
        return self.summary.looked - self.summary.whole


def write_report(
    path: Path,
    found: Sequence[ShownScene],
    *,
    model: str,
    score_threshold: float,
    map_file: str,
) -> None:
    """Write the page that shows what was found in scenes.

    Args:
        path: of the page.
        found: the scenes.
        model: what people call it.
        score_threshold: the least score of a detection.
        map_file: the file for maps beside it; "" where there is none.

    Raises:
        FovealError: it can't be written.
    """
    from pathlib import Path as FilePath

    from foveal.inference.scenes import describe_summaries
    from foveal.reports.scene import SceneFacts, write_scene_report

    facts = [
        SceneFacts(
            FilePath(each.scene.raster.name).name,
            each.detections,
            each.picture,
            windows=each.windows,
            skipped=each.summary.skipped,
            limit=each.summary.limit,
            tile=each.scene.tiling.size,
            overlap=each.scene.tiling.overlap,
            scale=each.scene.tiling.scale,
            notes=each.scene.raster.notes,
        )
        for each in found
    ]
    # The report says by itself of limits, of windows without data, and what is noted of files.
    rest = [replace(each.summary, notes=(), capped=0, skipped=0) for each in found]
    write_scene_report(
        path,
        facts,
        model=model,
        score_threshold=score_threshold,
        notes=describe_summaries(rest),
        map_file=map_file,
    )
