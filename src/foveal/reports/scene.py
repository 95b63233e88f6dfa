"""The report on scenes: what was found, where, and how it was looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.georeferencing import ground_resolution
from foveal.errors import MissingExtraError
from foveal.outputs.scene_pictures import draw_scene
from foveal.reports.html import write_report
from foveal.reports.parts import (
    Chart,
    Charts,
    Number,
    Numbers,
    Part,
    Picture,
    Pictures,
    Report,
    Section,
    Table,
)
from foveal.text import (
    UNDEFINED,
    counted,
    decimal,
    duration,
    length_in_words,
    listed,
    percent,
    plain_number,
)
from foveal.visualization import charts
from foveal.visualization.density import draw_density, measure_density

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.images.rasters import Raster
    from foveal.inference.tiling import Tiling
    from foveal.structures import Detections

REPORT = "report.html"
_MAX_SCENES = 6
"""Of more scenes those with the most objects are shown; the table has them all."""
_MAX_CLASSES = 6
"""So many classes have a column of their own in the table of scenes."""
_MAX_NAMES = 8
_LONGEST_SYSTEM = 40
_NAMELESS = "a coordinate reference system without a name"


@dataclass(frozen=True, slots=True, eq=False)
class SceneFacts:
    """A scene, what was found in it, and how it was looked for.

    Attributes:
        name: of the scene.
        detections: boxes in the scene's pixels, best first, with its size and georeference.
        picture: [h, w, 3] uint8 RGB, the scene with what was found, as
            `foveal.outputs.scene_pictures.draw_scene` draws it; None shows none.
        windows: that the network looked at; None where it is not known.
        skipped: windows that hold no data.
        limit: detections that a window could have; None where it is not known.
        tile: (height, width) of a window, input pixels; None where the scene was looked at whole.
        overlap: of neighboring windows, input pixels.
        scale: input pixels for one of the scene; None where it is not known.
        seconds: that it took; None where it is not known.
        notes: what is to be said of the scene, each a sentence's end after its name.
    """

    name: str
    detections: Detections
    picture: NDArray[np.uint8] | None = None
    windows: int | None = None
    skipped: int = 0
    limit: int | None = None
    tile: tuple[int, int] | None = None
    overlap: int | None = None
    scale: float | None = None
    seconds: float | None = None
    notes: Sequence[str] = ()

    @property
    def meters(self) -> float | None:
        """Meters of ground that a pixel shows; None where that is not known."""
        where = self.detections.georeference
        if where is None:
            return None
        try:
            return ground_resolution(where, self.detections.width, self.detections.height)
        except MissingExtraError:
            return None

    @property
    def system(self) -> str:
        """The coordinate reference system in words; nothing where there is none."""
        where = self.detections.georeference
        return "" if where is None else _system_in_words(where.crs)


def make_scene_facts(
    raster: Raster,
    detections: Detections,
    tiling: Tiling | None = None,
    *,
    windows: int | None = None,
    skipped: int = 0,
    seconds: float | None = None,
) -> SceneFacts:
    """What a report says of a scene; draws its picture.

    Args:
        raster: the scene, open.
        detections: boxes in the scene's pixels, best first.
        tiling: how it was cut into windows; None: it was looked at whole.
        windows: that the network looked at; None where it is not known.
        skipped: windows that hold no data.
        seconds: that it took; None where it is not known.

    Raises:
        ImageError: the scene can't be read.
    """
    found = replace(
        detections,
        width=raster.width,
        height=raster.height,
        georeference=detections.georeference or raster.georeference,
    )
    picture = draw_scene(raster, found)
    return SceneFacts(
        Path(raster.name).name,
        found,
        picture,
        windows=windows,
        skipped=skipped,
        tile=None if tiling is None else tiling.size,
        overlap=None if tiling is None else tiling.overlap,
        scale=None if tiling is None else tiling.scale,
        seconds=seconds,
        notes=tuple(note.rstrip(".") for note in raster.notes),
    )


def write_scene_report(
    path: Path,
    scenes: Sequence[SceneFacts],
    *,
    model: str = "",
    score_threshold: float | None = None,
    notes: Sequence[str] = (),
    map_file: str = "",
) -> None:
    """Write what was found in scenes as one HTML file that needs no network.

    Args:
        path: of the HTML file; its folder is made.
        scenes: one or more.
        model: what people call the model.
        score_threshold: the least score of a detection.
        notes: what is to be known of all of it, in sentences, such as limits that were reached.
        map_file: the GeoPackage or other file with the objects on the map, relative to the report.

    Raises:
        FovealError: the file can't be written.
    """
    report = make_scene_report(
        scenes, model=model, score_threshold=score_threshold, notes=notes, map_file=map_file
    )
    write_report(path, report)


def make_scene_report(
    scenes: Sequence[SceneFacts],
    *,
    model: str,
    score_threshold: float | None,
    notes: Sequence[str],
    map_file: str,
) -> Report:
    """The report's sections; arguments as for `write_scene_report`."""
    from foveal import __version__

    measured = [_Measured.of(scene) for scene in scenes]
    names = [scene.name for scene in scenes]
    shown = sorted(measured, key=lambda each: -len(each.scene.detections))[:_MAX_SCENES]
    shown = [each for each in measured if any(each is one for one in shown)]
    candidates = (
        _summary_section(measured, score_threshold=score_threshold, notes=notes, map_file=map_file),
        _pictures_section(shown, hidden=len(measured) - len(shown)),
        _classes_section(measured),
        _density_section(shown, hidden=len(measured) - len(shown)),
        _histograms_section(measured),
        _scenes_section(measured),
    )
    by = f" by {model}" if model else ""
    return Report(
        title=f"What was found in {listed(names, 2)}{by}" if names else "What was found",
        subtitle=_subtitle(measured),
        sections=[section for section in candidates if section is not None],
        footer=f"Made by foveal {__version__}.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A scene with what is asked of its georeference more than once."""

    scene: SceneFacts
    meters: float | None
    system: str

    @staticmethod
    def of(scene: SceneFacts) -> _Measured:
        return _Measured(scene, scene.meters, scene.system)

    @property
    def found(self) -> Detections:
        return self.scene.detections

    @property
    def square_kilometers(self) -> float:
        """The scene's area; NaN where it is not known."""
        meters = float("nan") if self.meters is None else self.meters
        return self.found.width * self.found.height * meters**2 / 1e6

    @property
    def sides(self) -> NDArray[np.float64]:
        """[N] the longer side of each object, pixels."""
        boxes = self.found.boxes.astype(np.float64)
        return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0))

    @property
    def size(self) -> str:
        return f"{self.found.width:,} x {self.found.height:,} px"

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        if not self.system:
            return "no place on the map"
        if self.meters is None:
            return self.system
        return f"{self.system}, {length_in_words(self.meters)} a pixel"


def _subtitle(measured: Sequence[_Measured]) -> str:
    if len(measured) == 1:
        return f"{measured[0].size}, {measured[0].place}"
    objects = sum(len(each.found) for each in measured)
    return f"{counted(len(measured), 'scene')}, {counted(objects, 'object')}"


def _summary_section(
    measured: Sequence[_Measured],
    *,
    score_threshold: float | None,
    notes: Sequence[str],
    map_file: str,
) -> Section:
    objects = sum(len(each.found) for each in measured)
    area = _area(measured)
    pixels = sum(each.found.width * each.found.height for each in measured)
    several = sum(count > 0 for count in _class_counts(measured).values()) > 1
    numbers = [Number("Objects", f"{objects:,}", _in_words(measured) if several else "")]
    if area is not None:
        amount, unit = area
        per = Number(f"Objects a {unit}", _amount(objects / amount), f"on {amount:,.3g} {unit}")
        numbers.append(per)
    elif pixels:
        amount = pixels / 1e6
        per = Number("Objects a megapixel", _amount(objects / amount), f"in {amount:,.3g} of them")
        numbers.append(per)
    if score_threshold is not None:
        threshold = f"{score_threshold:.3g}"
        numbers.append(Number("Score threshold", threshold, "less certain ones are left out"))
    seconds = [each.scene.seconds for each in measured if each.scene.seconds is not None]
    if seconds:
        speed = pixels / 1e6 / max(1e-9, sum(seconds))
        numbers.append(Number("Time", duration(sum(seconds)), f"{speed:,.3g} megapixels a second"))
    parts: list[Part] = [_story(measured, objects), Numbers(numbers)]
    capped = [each.scene for each in measured if each.found.capped]
    if capped:
        limits = {scene.limit for scene in capped if scene.limit is not None}
        limit = (
            f"The limit of {counted(max(limits), 'detection')} a window"
            if limits
            else "A limit of detections"
        )
        parts.append(
            f"{limit} was reached in {listed([scene.name for scene in capped], _MAX_NAMES)}: there "
            "may be more objects than were counted. Look again with a larger --max-detections (in "
            "Python predictor(max_detections=))."
        )
    parts += notes
    parts += [f"{each.scene.name} {note}." for each in measured for note in each.scene.notes]
    if map_file:
        parts.append(
            f"On the map: drag {map_file} into QGIS (or Layer, Add Layer, Add Vector Layer) above "
            "the scene. Each object has its class and score in the attribute table."
        )
    return Section("Summary", parts)


def _area(measured: Sequence[_Measured]) -> tuple[float, str] | None:
    """The area of all scenes, and in what; None where it is not known."""
    area = sum(each.square_kilometers for each in measured)
    if not area > 0:
        return None
    return (area, "km²") if area >= 1 else (100 * area, "ha")


def _story(measured: Sequence[_Measured], objects: int) -> str:
    """What was found, in a sentence or two."""
    where = measured[0].scene.name if len(measured) == 1 else counted(len(measured), "scene")
    if not measured:
        return "There were no scenes to look at."
    if not objects:
        return (
            f"Nothing was found in {where}. A lower --score-threshold (in Python "
            "score_threshold=) shows what was less certain; --scale (in Python scale=) says at "
            "what size objects are looked for."
        )
    empty = sum(not len(each.found) for each in measured)
    text = f"{counted(objects, 'object')} found in {where}: {_in_words(measured)}."
    if empty:
        text += f" Nothing was found in {empty:,} of them."
    return text


def _in_words(measured: Sequence[_Measured]) -> str:
    """The classes that were found, the most frequent first: 120 ship, 3 tank."""
    counts = _class_counts(measured)
    order = sorted(counts, key=lambda name: -counts[name])
    return listed([f"{counts[name]:,} {name}" for name in order if counts[name]], _MAX_NAMES)


def _class_counts(measured: Sequence[_Measured]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for each in measured:
        for name, count in each.found.counts().items():
            counts[name] = counts.get(name, 0) + count
    return counts


def _pictures_section(shown: Sequence[_Measured], *, hidden: int) -> Section | None:
    pictures = [
        Picture(
            each.scene.name,
            each.scene.picture,
            counted(len(each.found), "object"),
            size="wide" if len(shown) == 1 else "normal",
        )
        for each in shown
        if each.scene.picture is not None
    ]
    if not pictures:
        return None
    text = (
        "What was found, on the whole scene; there are dots where boxes would be specks. Click a "
        "picture to enlarge it."
    )
    return Section("Overview", [text + _those_with_the_most(hidden), Pictures(pictures)])


def _those_with_the_most(hidden: int) -> str:
    if not hidden:
        return ""
    return f" The scenes with the most objects are shown, {hidden:,} others are not."


def _classes_section(measured: Sequence[_Measured]) -> Section | None:
    counts = _class_counts(measured)
    if not counts:
        return None
    labels = np.concatenate([each.found.labels for each in measured])
    scores = np.concatenate([each.found.scores for each in measured])
    sides, unit = _sides(measured)
    area = _area(measured)
    columns = ["class", "objects", "share", "median score", "median longer side"]
    if area is not None:
        columns.append(f"a {area[1]}")
    rows = []
    for label, (name, count) in enumerate(counts.items()):
        own = labels == label
        row = [
            name,
            f"{count:,}",
            percent(count / max(1, len(labels)), 1),
            decimal(float(np.median(scores[own])), 2) if count else UNDEFINED,
            _side_in_words(float(np.median(sides[own])), unit) if count else UNDEFINED,
        ]
        rows.append(row if area is None else [*row, _amount(count / area[0])])
    return Section("Classes", [Table(columns, rows)])


def _sides(measured: Sequence[_Measured]) -> tuple[NDArray[np.float64], str]:
    """The longer side of each object in meters, where all scenes know them, else in pixels."""
    if measured and all(each.meters is not None for each in measured):
        return np.concatenate([each.sides * (each.meters or 0) for each in measured]), "m"
    return np.concatenate([each.sides for each in measured] or [np.zeros(0)]), "px"


def _side_in_words(side: float, unit: str) -> str:
    return length_in_words(side) if unit == "m" else f"{side:,.3g} px"


def _density_section(shown: Sequence[_Measured], *, hidden: int) -> Section | None:
    drawn = []
    for each in shown:
        if not len(each.found):
            continue
        density = measure_density(each.found, meters=each.meters)
        rows, columns = density.counts.shape
        wide = len(shown) == 1 and columns > 0.8 * rows
        drawn.append(
            Chart(
                each.scene.name,
                draw_density(density, inches=7.5 if wide else 3.6),
                f"At most {int(density.counts.max()):,} in a square; "
                f"{percent(density.share)} of the squares have an object.",
                size="wide" if wide else "normal",
            )
        )
    if not drawn:
        return None
    text = "How many objects lie in each square of the scene."
    return Section("Density", [text + _those_with_the_most(hidden), Charts(drawn)])


def _histograms_section(measured: Sequence[_Measured]) -> Section | None:
    if not any(len(each.found) for each in measured):
        return None
    scores = np.concatenate([each.found.scores for each in measured])
    sides, unit = _sides(measured)
    known = sides > 0
    if unit == "m" and np.median(sides) < 1:
        sides, unit = 100 * sides, "cm"
    parts: list[Part] = [
        Charts(
            [
                Chart(
                    "Scores",
                    charts.draw_histogram(scores, x="score", low=0.0, high=1.0),
                    "Many objects near the threshold: look at them before you trust the count.",
                ),
                Chart(
                    "Sizes",
                    charts.draw_histogram(sides[known], x=f"longer side of the box, {unit}"),
                    "Sizes that objects of these classes don't have are likely false.",
                ),
            ]
        )
    ]
    return Section("Scores and sizes", parts)


def _scenes_section(measured: Sequence[_Measured]) -> Section | None:
    if not measured:
        return None
    counts = _class_counts(measured)
    named = sorted(counts, key=lambda name: -counts[name])[:_MAX_CLASSES]
    named = [name for name in counts if name in named] if len(counts) > 1 else []
    timed = any(each.scene.seconds is not None for each in measured)
    columns = (
        *("scene", "coordinate reference system", "size", "a pixel", "windows", "input scale"),
        *(("time",) if timed else ()),
        "objects",
        *named,
    )
    rows = [
        (
            each.scene.name,
            each.system or "none",
            each.size,
            UNDEFINED if each.meters is None else length_in_words(each.meters),
            _windows(each.scene),
            UNDEFINED if each.scene.scale is None else f"{each.scene.scale:.3g}",
            *((_time(each.scene),) if timed else ()),
            f"{len(each.found):,}" + (" (limit)" if each.found.capped else ""),
            *(f"{each.found.counts().get(name, 0):,}" for name in named),
        )
        for each in measured
    ]
    hidden = len(counts) - len(named)
    caption = (
        "Windows: how many the network looked at, their side and overlap in its own pixels. "
        "Input scale: its pixels for one of the scene."
    )
    if named and hidden:
        caption += f" Of the classes the most frequent have a column, {hidden:,} others have none."
    return Section("Scenes", [Table(columns, rows, caption, text_columns=2)])


def _windows(scene: SceneFacts) -> str:
    """How many windows of which size: 120 of 640 px, overlap 64; 3 without data."""
    if scene.windows is None:
        return UNDEFINED
    text = f"{scene.windows:,}"
    if scene.tile is not None:
        height, width = scene.tile
        text += f" of {width:,} px" if width == height else f" of {width:,} x {height:,} px"
    if scene.overlap is not None:
        text += f", overlap {scene.overlap:,}"
    return f"{text}; {scene.skipped:,} without data" if scene.skipped else text


def _time(scene: SceneFacts) -> str:
    return UNDEFINED if scene.seconds is None else duration(scene.seconds)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else plain_number(value)


def _system_in_words(crs: str) -> str:
    """A coordinate reference system's name, with its number where it has one."""
    try:
        import pyproj
    except ImportError:
        return crs if len(crs) < _LONGEST_SYSTEM else _NAMELESS
    try:
        name = pyproj.CRS(crs).name
    except pyproj.exceptions.CRSError:
        name = "unknown"
    if name == "unknown":
        return crs if len(crs) < _LONGEST_SYSTEM else _NAMELESS
    return f"{name} ({crs})" if crs.startswith("EPSG:") else str(name)
