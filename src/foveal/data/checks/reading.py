"""What reading the annotations met, explained: a finding for each kind of problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.data.checks.findings import Finding, Level, make_finding
from foveal.data.formats.issues import count_by_kind
from foveal.data.images.pages import file_of

if TYPE_CHECKING:
    from foveal.data.checks.subject import Part
    from foveal.data.formats.issues import Kind

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


def check_annotations(part: Part) -> list[Finding]:
    """One finding for each kind of problem that reading collected.

    Missing images are the file check's to report, whichever format needed their size.
    """
    findings: list[Finding] = []
    for kind, _, problems in count_by_kind(list(part.reading.problems)):
        if kind == "image not readable":
            problems = [p for p in problems if p.image is None or file_of(p.image).is_file()]
        if not problems:
            continue
        what, advice = _EXPLANATIONS.get(problems[0].kind, _UNTOLD)
        level = _LEVELS.get(problems[0].kind, "fault")
        findings += make_finding(kind, level, what, [str(p) for p in problems], advice=advice)
    return findings
