"""What was found in a request's images, in the form that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from foveal.serving.problems import Problem
from foveal.serving.service import Found
from foveal.text import counted

if TYPE_CHECKING:
    from foveal.geometry.georeference import Georeference
    from foveal.serving.models import ServedModel
    from foveal.structures import Detections

Form = Literal["json", "coco", "csv", "geojson", "image"]

PROBLEMS = "Foveal-Problems"
"""The header that says, in JSON, which images were not looked at: each with name and problem."""
NOTES = "Foveal-Notes"
"""The header that says, in JSON, what is to be told of images, a sentence each."""

_DECIMALS = 3
"""Of a pixel."""
_DIGITS = 6
"""Of a score."""
_QUALITY = 92
_LONGEST_HEADER = 4000


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of HTTP.

    Attributes:
        status: of HTTP.
        media_type: of the content.
        content: the body.
        headers: besides.
    """

    status: int
    media_type: str
    content: bytes
    headers: dict[str, str]


def make_answer(
    form: Form,
    model: ServedModel,
    results: Sequence[Found | Problem],
    names: Sequence[str],
    *,
    seconds: float,
) -> Answer:
    """Put what was found into the form that was asked for.

    Args:
        form: of the answer.
        model: that looked at the images.
        results: one for each image.
        names: of the images.
        seconds: since the request came.

    Raises:
        Problem: none of the images was looked at; or the form can't hold what was found.
        DataError: a place on the map is missing or can't be turned into longitude and latitude.
    """
    found = [each for each in results if isinstance(each, Found)]
    if not found:
        raise _nothing(results)
    problems = [
        {"name": name, **each.document()}
        for name, each in zip(names, results, strict=True)
        if isinstance(each, Problem)
    ]
    if form == "json":
        document = _document(model, results, names, seconds=seconds)
        return Answer(200, "application/json", _to_json(document), {})
    headers = {}
    notes = [note for each in found for note in each.notes]
    for name, said in ((PROBLEMS, problems), (NOTES, notes)):
        if said:
            headers[name] = _header(said)
    return Answer(200, *_WRITERS[form](found), headers)


def _nothing(results: Sequence[Found | Problem]) -> Problem:
    """The problem of a request of which no image was looked at."""
    problems = [each for each in results if isinstance(each, Problem)]
    first = problems[0]
    status = first.status if len({each.status for each in problems}) == 1 else 422
    more = len(problems) - 1
    said = f" {counted(more, 'more image')} can't be looked at either." if more else ""
    return Problem(status, first.detail + said)


def _document(
    model: ServedModel,
    results: Sequence[Found | Problem],
    names: Sequence[str],
    *,
    seconds: float,
) -> dict[str, Any]:
    return {
        "model": {
            "name": model.name,
            "version": model.version,
            "classes": list(model.classes),
            "score_threshold": model.predictor.score_threshold,
        },
        "images": [
            {"name": name, "problem": each.document()}
            if isinstance(each, Problem)
            else describe_found(each)
            for name, each in zip(names, results, strict=True)
        ],
        "milliseconds": _milliseconds(seconds),
    }


def describe_found(found: Found) -> dict[str, Any]:
    """What was found in one image, as JSON values: boxes are xyxy in original pixels."""
    detections = found.detections
    return {
        "name": found.name,
        "width": detections.width,
        "height": detections.height,
        "boxes": np.round(detections.boxes.astype(np.float64), _DECIMALS).tolist(),
        "scores": [float(f"{score:.{_DIGITS}g}") for score in detections.scores.tolist()],
        "labels": detections.labels.tolist(),
        "names": detections.names,
        "capped": detections.capped,
        "left_out_score": float(f"{detections.left_out_score:.{_DIGITS}g}"),
        "georeference": _place(detections.georeference),
        "notes": list(found.notes),
        "milliseconds": {stage: _milliseconds(each) for stage, each in found.seconds.items()},
    }


def _place(georeference: Georeference | None) -> dict[str, Any] | None:
    if georeference is None:
        return None
    return {"crs": georeference.crs, "transform": list(georeference.transform)}


def _named(found: Sequence[Found], folder: Path) -> list[Detections]:
    """Detections that are written under their images' names, no two of them the same."""
    taken: set[str] = set()
    named = []
    for each in found:
        name, number = each.name, 1
        while name in taken:
            number += 1
            name = f"{Path(each.name).stem} ({number}){Path(each.name).suffix}"
        taken.add(name)
        named.append(replace(each.detections, path=folder / name))
    return named


_FOLDER = Path("/images")
"""A folder that nothing is written into: names are said relative to it."""


def _coco(found: Sequence[Found]) -> tuple[str, bytes]:
    from foveal.outputs.files import coco_parts

    text = "".join(coco_parts(_named(found, _FOLDER), _FOLDER))
    return "application/json", text.encode()


def _csv(found: Sequence[Found]) -> tuple[str, bytes]:
    from foveal.outputs.files import csv_parts

    text = "".join(csv_parts(_named(found, _FOLDER), _FOLDER))
    return "text/csv; charset=utf-8", text.encode()


def _geojson(found: Sequence[Found]) -> tuple[str, bytes]:
    from foveal.outputs.geojson import geojson_parts

    lost = [each for each in found if each.detections.georeference is None]
    if lost:
        raise Problem(
            422,
            f"{lost[0].name}: has no place on the map (a coordinate reference system and a "
            "transform), so that there is no GeoJSON of it. Expected a GeoTIFF, or format=json.",
        )
    text = "".join(geojson_parts(_named(found, _FOLDER), _FOLDER))
    return "application/geo+json", text.encode()


def _image(found: Sequence[Found]) -> tuple[str, bytes]:
    if len(found) > 1 or found[0].picture is None:
        raise Problem(
            422, f"format=image gives one picture, and {len(found)} images came. Send one."
        )
    encoded = BytesIO()
    Image.fromarray(found[0].picture).save(encoded, format="JPEG", quality=_QUALITY)
    return "image/jpeg", encoded.getvalue()


_WRITERS: dict[str, Callable[[Sequence[Found]], tuple[str, bytes]]] = {
    "coco": _coco,
    "csv": _csv,
    "geojson": _geojson,
    "image": _image,
}


def _header(said: Sequence[Any]) -> str:
    """JSON in ASCII, as headers have it; of a long list the beginning and how many more."""
    kept = list(said)
    while True:
        left = len(said) - len(kept)
        text = json.dumps([*kept, *([f"and {left} more"] if left else [])])
        if len(text) <= _LONGEST_HEADER or not kept:
            return text
        kept = kept[: len(kept) // 2]


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _to_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
