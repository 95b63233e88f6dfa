"""What a JSON file holds: annotations of a format, or something of a tool that is not read here.

A file is known by its structure, not by words in it: the keys of its top level and of its first
entries. Of a large file only the beginning is looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.data.formats.parsing import head_text
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOKED_AT = 1 << 20
"""Bytes of a file that are looked at."""

_DEEPEST = 8
"""Levels into which a value that the beginning of a file cuts short is followed."""

_CUT = object()
"""Stands for a value of which the beginning of a file does not show anything."""


@dataclass(frozen=True, slots=True)
class JsonKind:
    """What a JSON file holds.

    Attributes:
        format: one of FORMATS, None where the file is not read.
        what: what it is, in words; empty where the format says it.
        advice: what to do instead, where it is not read.
    """

    format: str | None
    what: str = ""
    advice: str = ""


def json_kind(file: Path) -> JsonKind | None:
    """What a JSON file holds; None where it holds no annotations that are known.

    Raises:
        DataError: the file can't be read.
        ValueError: its beginning is not JSON.
    """
    return kind_of(look_at(file))


def look_at(file: Path) -> Any:
    """The value of a JSON file; of a large one what its beginning shows.

    Raises:
        DataError: the file can't be read.
        ValueError: its beginning is not JSON.
    """
    text = head_text(file, _LOOKED_AT).lstrip("\ufeff \t\r\n")
    if not text or text[0] not in "[{":
        raise ValueError("not a list or an object")
    return _beginning(text)


def kind_of(value: Any) -> JsonKind | None:
    """What the value of a JSON file, or the beginning of it, holds; None where it is not known."""
    if isinstance(value, dict):
        kinds = _OBJECTS
    elif isinstance(value, list):
        kinds = _LISTS
        value = next((entry for entry in value if isinstance(entry, dict)), None)
        if value is None:
            return None
    else:
        return None
    return next((kind for fits, kind in kinds if fits(value)), None)


def expect_kind(file: Path, value: Any, format: str, *, wanted: str) -> None:  # noqa: A002
    """Make sure that a JSON file does not hold something else that is known.

    Args:
        file: the file.
        value: what it holds.
        format: the one of FORMATS that it is read as.
        wanted: what was expected.

    Raises:
        DataError: it holds another format, or something that is not read.
    """
    kind = kind_of(value)
    if kind is not None and kind.format != format:
        raise refusal(file, value, wanted=wanted)


def refusal(file: Path, value: Any, *, wanted: str) -> DataError:
    """The error for a JSON file that does not hold what it was taken for.

    Args:
        file: the file.
        value: what it holds, or what its beginning shows.
        wanted: what was expected.
    """
    kind = kind_of(value)
    if kind is not None and kind.format is not None:
        return DataError(
            f"{file}, top level: it is {kind.format}. Expected {wanted}. Say which: "
            f"--format {kind.format} (in Python format={kind.format!r})."
        )
    if kind is not None:
        return DataError(f"{file}: it is {kind.what}, which is not read. {kind.advice}")
    return DataError(
        f"{file}, top level: no annotations in it, {_described(value)}. Expected {wanted}."
    )


def _described(value: Any) -> str:
    if isinstance(value, dict):
        keys = ", ".join(f"{str(key)[:40]!r}" for key in list(value)[:8])
        more = f" and {len(value) - 8} more" if len(value) > 8 else ""
        return f"it has the keys {keys}{more}" if value else "it is an empty object"
    if isinstance(value, list):
        return f"it is a list of {str(value[0])[:40]!r} ..." if value else "it is an empty list"
    return f"it is {str(value)[:40]!r}"


def _beginning(text: str) -> Any:
    """The value that a text begins with; where the text is cut short, what can be seen of it.

    Objects that follow each other, one a line, count as a list.
    """
    decoder = json.JSONDecoder()
    try:
        try:
            value, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            value, _ = _seen(text, 0, decoder, 0)
            if value in ([], {}) or value is _CUT:
                raise
            return value
    except RecursionError:
        raise ValueError("nested too deeply") from None
    more = text[_skip(text, end) :].startswith("{")
    return [value] if more else value


def _seen(text: str, start: int, decoder: json.JSONDecoder, depth: int) -> tuple[Any, int | None]:
    """What can be seen of the value at a place, and where it ends; None where it is cut short."""
    try:
        value, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError:
        pass
    else:
        return value, end
    opening = text[start : start + 1]
    if opening not in ("[", "{") or depth > _DEEPEST:
        return _CUT, None
    entries: list[Any] = []
    pairs: dict[str, Any] = {}
    place: int | None = start
    while place is not None:
        place = _skip(text, place + 1)
        key = ""
        if opening == "{":
            try:
                key, end = decoder.raw_decode(text, place)
            except json.JSONDecodeError:
                break
            place = _skip(text, end)
            if not isinstance(key, str) or text[place : place + 1] != ":":
                break
            place = _skip(text, place + 1)
        value, after = _seen(text, place, decoder, depth + 1)
        if opening == "{":
            pairs[key] = None if value is _CUT else value
        elif value is not _CUT:
            entries.append(value)
        place = None if after is None else _skip(text, after)
        if place is not None and text[place : place + 1] != ",":
            break
    return (pairs if opening == "{" else entries), None


def _skip(text: str, place: int) -> int:
    """The next place that is not blank."""
    while text[place : place + 1] in (" ", "\n", "\r", "\t"):
        place += 1
    return place


def _first(value: Any, *names: str) -> dict[str, Any]:
    """The first entry of the first of these fields that is a list or an object with entries."""
    for name in names:
        found = value.get(name)
        entries = found.values() if isinstance(found, dict) else found
        if isinstance(found, (list, dict)):
            for entry in entries:
                if isinstance(entry, dict):
                    return entry
    return {}


def _is(value: Any, name: str, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value.get(name), kind)


def _is_coco(value: dict[str, Any]) -> bool:
    """Two of the three lists; or one of them, in a large file whose beginning shows no more."""
    lists = [name for name in ("images", "annotations", "categories") if name in value]
    if len(lists) > 1:
        return True
    image, annotation = _first(value, "images"), _first(value, "annotations")
    return bool(image.keys() & {"file_name", "coco_url"}) or "image_id" in annotation


def _is_via(value: dict[str, Any]) -> bool:
    entries = list(value.values())[:3]
    return "_via_img_metadata" in value or (
        bool(entries)
        and all(isinstance(e, dict) and "filename" in e and "regions" in e for e in entries)
    )


def _is_createml(value: dict[str, Any]) -> bool:
    name = value.get("image", value.get("imagefilename"))
    listed = value.get("annotations", value.get("annotation"))
    if not isinstance(name, str) or not isinstance(listed, list):
        return False
    return not listed or any(isinstance(a, dict) and "coordinates" in a for a in listed)


def _is_label_studio(value: dict[str, Any]) -> bool:
    """A task with its annotations, or an entry of JSON-MIN, whose lists hold shapes."""
    if _is(value, "data", dict):
        return bool(value.keys() & {"annotations", "completions", "predictions"})
    shapes = [e for found in value.values() if isinstance(found, list) for e in found[:1]]
    return any(isinstance(e, dict) and "original_width" in e for e in shapes) or (
        {"annotation_id", "annotator"} <= value.keys()
    )


_AS_COCO = "Export it as COCO instead."

_OBJECTS: tuple[tuple[Callable[[dict[str, Any]], bool], JsonKind], ...] = (
    (
        lambda v: v.get("type") in ("FeatureCollection", "Feature"),
        JsonKind("geo"),
    ),
    (
        lambda v: "segments_info" in _first(v, "annotations"),
        JsonKind(None, "COCO's panoptic annotations", "Take the instances file."),
    ),
    (
        lambda v: "caption" in (entry := _first(v, "annotations")) and "bbox" not in entry,
        JsonKind(None, "COCO's captions, without boxes", "Take the instances file."),
    ),
    (
        lambda v: _is(v, "items", list) and _is(v, "categories", dict),
        JsonKind("datumaro"),
    ),
    (lambda v: "dm_format_version" in v, JsonKind("datumaro")),
    (
        lambda v: "label_classes" in v and "images" in v,
        JsonKind(None, "an export of Hasty", _AS_COCO),
    ),
    (
        lambda v: _is(v, "item", dict) or (_is(v, "image", dict) and "annotations" in v),
        JsonKind(None, "V7 Darwin", _AS_COCO),
    ),
    (_is_coco, JsonKind("coco")),
    (_is_via, JsonKind("via")),
    (
        lambda v: {"project", "metadata", "view"} <= v.keys(),
        JsonKind(None, "a project of VIA 3", "Export it as COCO, or use VIA 2."),
    ),
    (
        lambda v: _is(v, "frames", dict) and "inputTags" in v,
        JsonKind(None, "an export of VoTT 1", "Open and export it with VoTT 2."),
    ),
    (
        lambda v: (_is(v, "assets", dict) and "tags" in v) or (_is(v, "asset", dict)),
        JsonKind("vott"),
    ),
    (
        lambda v: (
            "title" in _first(v, "classes") or (_is(v, "objects", list) and _is(v, "size", dict))
        ),
        JsonKind("supervisely"),
    ),
    (
        lambda v: _is(v, "classes", list) and bool({"projectType", "tags"} & v.keys()),
        JsonKind("supervisely"),
    ),
    (lambda v: bool({"shapes", "imagePath", "imageData"} & v.keys()), JsonKind("labelme")),
    (
        lambda v: "filepath" in _first(v, "samples"),
        JsonKind(None, "an export of FiftyOne", _AS_COCO),
    ),
    (
        lambda v: "metainfo" in v and "data_list" in v,
        JsonKind(None, "MMDetection's own format", "Take the COCO file it was made of."),
    ),
    (
        lambda v: "imgHeight" in v and "objects" in v,
        JsonKind(None, "Cityscapes' polygons", "Convert them to COCO."),
    ),
    (
        lambda v: "instances" in v and _is(v, "metadata", dict),
        JsonKind(None, "an export of SuperAnnotate", _AS_COCO),
    ),
    (
        lambda v: "imgs" in v and bool(v.keys() & {"anns", "types"}),
        JsonKind(None, "the format of COCO-Text or Tsinghua-Tencent 100K", "Convert it to COCO."),
    ),
    (
        lambda v: _is(v, "task", dict) and "result" in v,
        JsonKind(None, "one of the files in Label Studio's storage", "Export the project as JSON."),
    ),
    (
        lambda v: "bbox" in _first(v, "objects") and "width" in v,
        JsonKind(None, "Mapillary's objects", "Convert them to COCO."),
    ),
    (
        lambda v: "label_hash" in v or "data_units" in v,
        JsonKind(None, "an export of Encord", _AS_COCO),
    ),
    (
        lambda v: _is(v, "dataset", dict) and "samples" in v["dataset"],
        JsonKind(None, "a release of Segments.ai", _AS_COCO),
    ),
)
"""How an object at the top level is known."""

_LISTS: tuple[tuple[Callable[[dict[str, Any]], bool], JsonKind], ...] = (
    (
        lambda v: "image_id" in v and "keypoints" in v,
        JsonKind(None, "COCO's results for keypoints", "Take annotations with boxes."),
    ),
    (
        lambda v: "image_id" in v and bool({"category_id", "bbox", "segmentation"} & v.keys()),
        JsonKind(
            None,
            "a list of results that a detector wrote in COCO's way, not annotations",
            "Give the annotations here; `foveal evaluate RESULTS DATA` takes results first.",
        ),
    ),
    (_is_createml, JsonKind("createml")),
    (_is_label_studio, JsonKind("label_studio")),
    (
        lambda v: bool({"data_row", "Labeled Data", "DataRow ID"} & v.keys()),
        JsonKind(None, "an export of Labelbox", "Convert it to COCO with Labelbox's own tools."),
    ),
    (
        lambda v: "task_id" in v and "response" in v,
        JsonKind(None, "Scale AI's tasks", "Convert them to COCO."),
    ),
    (
        lambda v: "name" in v and ("category" in _first(v, "labels") or "frames" in v),
        JsonKind(None, "BDD100K's (Scalabel's) labels", "Convert them to COCO with bdd100k."),
    ),
    (
        lambda v: "source-ref" in v,
        JsonKind(None, "a manifest of SageMaker Ground Truth", "Convert it to COCO."),
    ),
    (
        lambda v: "image_url" in v and "label" in v,
        JsonKind(None, "Azure Machine Learning's lines", "Export it as COCO from Azure."),
    ),
    (
        lambda v: "gtboxes" in v,
        JsonKind(None, "CrowdHuman's lines", "Convert them to COCO."),
    ),
    (
        lambda v: bool({"externalId", "jsonResponse"} & v.keys()),
        JsonKind(None, "an export of Kili", _AS_COCO),
    ),
    (
        lambda v: "ann" in v and "filename" in v,
        JsonKind(None, "MMDetection's own format", "Take the COCO file it was made of."),
    ),
    (
        lambda v: "detection" in v and "filename" in v,
        JsonKind(None, "the ODVG format of MMDetection", "Take the COCO file it was made of."),
    ),
    (
        lambda v: "file_name" in v and "annotations" in v,
        JsonKind(None, "a list of Detectron2's own", "Write it as COCO."),
    ),
    (
        lambda v: "objects" in v and bool({"image_id", "image_url"} & v.keys()),
        JsonKind(None, "Visual Genome's objects", "Convert them to COCO."),
    ),
    (
        lambda v: v.get("class") == "image" and "filename" in v,
        JsonKind(None, "Sloth's labels", "Convert them to COCO."),
    ),
    (
        lambda v: "fileName" in v and "result" in v,
        JsonKind(None, "an export of LabelU", _AS_COCO),
    ),
)
"""How a list is known by its first object; files of one object a line count as lists."""
