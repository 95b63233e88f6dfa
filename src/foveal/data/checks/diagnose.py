"""The doctor: finds what is wrong with a data set before training does. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from foveal.data.checks.boxes import check_boxes, check_classes, check_sizes
from foveal.data.checks.findings import Diagnosis, Finding, Level, in_order, make_finding
from foveal.data.checks.images import check_files, look_at_images
from foveal.data.formats.issues import count_by_kind
from foveal.data.images.pages import file_of
from foveal.data.statistics import measure_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foveal.data.formats.issues import Kind
    from foveal.data.opening import Reading
    from foveal.data.transforms.preparation import Preparation
    from foveal.geometry.placement import Placement

_EXPLANATIONS: dict[Kind, tuple[str, str]] = {
    "box without area": (
        "{n} box{es} without area",
        "Correct or remove them; reading leaves them out.",
    ),
    "box not finite": (
        "{n} box{es} whose numbers are not finite",
        "Correct or remove them; reading leaves them out.",
    ),
    "box outside image": (
        "{n} box{es} outside the image",
        "Correct or remove them; reading leaves them out.",
    ),
    "box leaves image": (
        "{n} box{es} partly outside the image",
        "Correct them; reading clips them to the image.",
    ),
    "unknown class": (
        "{n} object{s} whose class has no name",
        "Name these ids or classes in the file's list, or correct them.",
    ),
    "unknown image": (
        "{n} object{s} of unlisted images",
        "List the images, or remove their objects.",
    ),
    "id twice": ("{n} id{s} used twice", "Give every entry an id of its own."),
    "image twice": ("{n} image{s} listed twice", "List every image once."),
    "not a box": (
        "{n} object{s} whose box can't be read",
        "Write the numbers that a box needs, or remove the objects.",
    ),
    "no box": ("{n} object{s} without a box", "Draw the boxes, or remove the objects."),
    "image not readable": (
        "{n} image{s} whose size is needed and can't be read",
        "Fetch the images again or correct their paths.",
    ),
    "boxes read otherwise": (
        "{n} file{s} whose boxes are meant otherwise than they are read",
        "Read them as it says, or convert them.",
    ),
    "boxes look otherwise": (
        "{n} file{s} whose boxes look as if they were meant otherwise",
        "Look at a few of them in their images; read them as it says if it is right.",
    ),
    "encoding guessed": (
        "{n} file{s} not UTF-8, whose encoding was guessed",
        "Look at the names of the classes; save the files as UTF-8 where one is wrong.",
    ),
    "image outside the data": (
        "{n} image{s} outside the data folder",
        "Move them, or name the folder of the images: --images FOLDER (in Python images=FOLDER).",
    ),
    "image in two folders": (
        "{n} image{s} whose name is in several folders",
        "Name the folder of the images: --images FOLDER (in Python images=FOLDER), or write the "
        "folder before each name.",
    ),
    "image name disagrees": (
        "{n} annotation file{s} naming another image than the one of the file's own name",
        "Reading takes the image of the file's own name. Correct the names, or rename the files "
        "if that is wrong.",
    ),
    "images elsewhere": (
        "{n} annotation file{s} whose images are in another folder than written",
        "Correct the paths if these are not the images.",
    ),
    "stack of pages": (
        "{n} image{s} of several pages, of which the first is taken",
        "Say which page is annotated: --page N (in Python page=N).",
    ),
    "labels elsewhere": (
        "{n} layer{s} whose labels lie outside their image",
        "Correct the coordinate reference system or the coordinates, or take the image that "
        "belongs to them.",
    ),
    "invalid polygon": (
        "{n} invalid polygon{s}",
        "Reading takes the boxes of their vertices. Mend them in a map program if those are wrong "
        "(in QGIS: Fix geometries).",
    ),
    "empty layer": (
        "{n} file{s} without any object",
        "Kept: images without objects teach what background is. Check that it is the right file.",
    ),
}
_OTHER_READING: frozenset[Kind] = frozenset({"boxes read otherwise", "boxes look otherwise"})
"""Kinds that explain other findings: sizes of such boxes say nothing."""
_LEVELS: dict[Kind, Level] = {
    "encoding guessed": "doubt",
    "stack of pages": "doubt",
    "boxes look otherwise": "doubt",
    "image name disagrees": "doubt",
    "images elsewhere": "information",
    "invalid polygon": "doubt",
    "empty layer": "doubt",
}
"""Kinds that reading settles; all others can't be right."""
_UNTOLD = ("{n} mistake{s} of another kind in the annotations", "Correct them.")
"""What is said of each kind of problem that reading collects, and what to do about it."""


@dataclass(frozen=True, slots=True)
class InputGrid:
    """How the network would see the images: what the doctor needs of it.

    Attributes:
        preparation: to the input's size; None leaves images unscaled.
        strides, offset: where anchors stand.
        foreground_iou: from which IoU an anchor reaches an object.
    """

    preparation: Preparation | None
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    offset: float = 0.5
    foreground_iou: float = 0.5


def diagnose(
    data: Reading,
    valid: Reading | None = None,
    *,
    grid: InputGrid | None = None,
    images: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Look for everything that is wrong, or may be, with a data set.

    Args:
        data: the training data.
        valid: the validation data that belongs to it.
        grid: the network's input, to find objects too small for it; None leaves that out.
        images: decode every image, instead of its header and ending alone.
        workers: processes that decode; 0 does it in this one.
        progress: called with (images looked at, images in all).
    """
    readings = [data] if valid is None else [data, valid]
    parts = [reading.dataset for reading in readings]
    findings = [*check_classes(parts), *check_files(parts)]
    for reading in readings:
        otherwise = any(problem.kind in _OTHER_READING for problem in reading.problems)
        found = _from_reading(reading) + check_boxes(reading.dataset, convention=not otherwise)
        if grid is not None and not otherwise:
            found += check_sizes(
                reading.dataset,
                _placer(grid.preparation),
                strides=grid.strides,
                offset=grid.offset,
                foreground_iou=grid.foreground_iou,
            )
        findings += _tell_apart(found, reading, among=readings)
    findings += look_at_images(parts, decode=images, workers=workers, progress=progress)
    return Diagnosis(
        statistics=tuple(measure_dataset(part) for part in parts),
        findings=in_order(findings),
        opened=images,
    )


def _from_reading(reading: Reading) -> list[Finding]:
    """One finding for each kind of problem that reading collected.

    Missing images are the file check's to report, whichever format needed their size.
    """
    findings = []
    for kind, _, problems in count_by_kind(list(reading.problems)):
        if kind == "image not readable":
            problems = [p for p in problems if p.image is None or file_of(p.image).is_file()]
        if not problems:
            continue
        what, advice = _EXPLANATIONS.get(problems[0].kind, _UNTOLD)
        level = _LEVELS.get(problems[0].kind, "fault")
        findings += make_finding(kind, level, what, [str(p) for p in problems], advice=advice)
    return findings


def _tell_apart(
    findings: list[Finding], reading: Reading, *, among: Sequence[Reading]
) -> list[Finding]:
    """With two data sets, say of which one each finding is."""
    if len(among) == 1:
        return findings
    name = "training data" if reading is among[0] else "validation data"
    return [
        Finding(f.kind, f.level, f.count, f"{f.what} ({name})", f.places, f.advice)
        for f in findings
    ]


def _placer(
    preparation: Preparation | None,
) -> Callable[[int, int], tuple[Placement, tuple[int, int]]]:
    from foveal.geometry.placement import Placement

    @lru_cache(maxsize=4096)
    def place(width: int, height: int) -> tuple[Placement, tuple[int, int]]:
        if preparation is None:
            return Placement(width, height), (-(-width // 32) * 32, -(-height // 32) * 32)
        input_height, input_width = preparation.size_for(width, height)
        return preparation.placement_for(width, height), (input_width, input_height)

    return place
