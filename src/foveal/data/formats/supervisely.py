"""Supervisely: a project folder with meta.json, and in each data set `img/` and `ann/`."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import TYPE_CHECKING, Any

from foveal.data.folders import files_below, files_in
from foveal.data.formats.class_names import IGNORE
from foveal.data.formats.extents import box_of_points
from foveal.data.formats.image_files import ImageFinder
from foveal.data.formats.issues import AnnotationIssue, IssuePolicy
from foveal.data.formats.json_files import write_json
from foveal.data.formats.json_kinds import expect_kind, refusal
from foveal.data.formats.named_objects import (
    NamedImage,
    NamedObject,
    gather,
    numbers_of,
    size_of,
    text_of_name,
)
from foveal.data.formats.parsing import as_number, expect, read_json
from foveal.data.formats.splits import take_split
from foveal.data.formats.writing import class_name, image_names, parts, place_images, tidy
from foveal.data.images.kinds import IMAGE_ENDINGS
from foveal.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from foveal.data.dataset import Dataset, Record
    from foveal.data.formats.records import ImageRow
    from foveal.data.formats.writing import ImageMode

_META = "meta.json"
_PNG = b"\x89PNG\r\n\x1a\n"
_WITHOUT_BOX = ("point", "line", "polyline", "graph", "cuboid", "cuboid_3d", "multichannel_bitmap")


def read(
    path: Path,
    split: str | None = None,
    *,
    images: Path | None = None,
    policy: IssuePolicy | None = None,
) -> Dataset:
    """Read a project's folder, one of its data sets or one annotation; a split is a data set.

    Classes are those of `meta.json` in their order, else the names found, sorted. Of a polygon or a
    bitmap the extent is taken; points and lines have none. `__ignore__` marks regions to ignore
    whatever the class, and an object's tag `ignored` one of its class.

    Raises:
        DataError: there are no annotations, the split does not exist, or an object can't be right.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.name != _META:
        everything = [path]
    else:
        everything = [f for f in files_below(folder, ".json") if f.parent.name == "ann"]
    files: Sequence[Path] = everything
    if split is not None:
        _, files = take_split(
            split, folder, lambda name: [f for f in everything if f.parent.parent == folder / name]
        )
    where = folder if split is None else folder / split
    if not (files or (where / _META).is_file() or (where / "ann").is_dir()):
        raise DataError(f"{where}: no annotations. Expected {where}/ann/IMAGE.json (Supervisely).")
    policy = policy or IssuePolicy()
    classes = _classes(folder)
    more: set[str] = set()
    if not classes and files != everything:
        more = {name for f in everything if f not in set(files) for name in _names(_document(f))}
    image_folders = dict.fromkeys(file.parent.parent / "img" for file in files)
    finder = ImageFinder(folder, images=images, more=image_folders)
    return gather(
        [_image(_document(file), file, folder, images) for file in files],
        lambda image, row: _objects(image, row, policy),
        finder,
        policy,
        written="xyxy",
        classes=classes,
        more_names=more,
    )


def write(
    data: Dataset,
    folder: Path,
    *,
    images: ImageMode = "copy",
    splits: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Write `meta.json` and a data set (`dataset`, or one for each split) with `img/` and `ann/`.

    Boxes are rectangles; a region to ignore has the tag `ignored`.

    Raises:
        ImageError: an image does not exist.
    """
    names = image_names(data.records)
    any_class = any((record.labels < 0).any() for record in data)
    titles = [*data.classes, *([IGNORE] if any_class else [])]
    meta: dict[str, Any] = {
        "classes": [
            {"title": name, "shape": "rectangle", "color": "#208020", "geometry_config": {}}
            for name in titles
        ],
        "tags": [{"name": "ignored", "value_type": "none", "color": "#808080"}],
        "projectType": "images",
    }
    write_json(folder / _META, meta)
    for part, indices in parts(data, splits, "dataset").items():
        records = [data.records[i] for i in indices]
        place_images(records, [names[i] for i in indices], folder / part / "img", images=images)
        (folder / part / "ann").mkdir()
        for i, record in zip(indices, records, strict=True):
            document: dict[str, Any] = {
                "description": "",
                "tags": [],
                "size": {"height": record.height, "width": record.width},
                "objects": list(_written(record, data.classes)),
            }
            write_json(folder / part / "ann" / f"{names[i]}.json", document)


def _written(record: Record, classes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for box, label, ignored in zip(record.boxes, record.labels, record.ignored, strict=True):
        x1, y1, x2, y2 = map(tidy, box)
        yield {
            "description": "",
            "geometryType": "rectangle",
            "tags": [{"name": "ignored", "value": None}] if ignored else [],
            "classTitle": class_name(int(label), classes),
            "points": {"exterior": [[x1, y1], [x2, y2]], "interior": []},
        }


def _classes(folder: Path) -> tuple[str, ...]:
    """The classes of the project that a folder is or lies in; none without a meta.json."""
    for place in (folder, *list(folder.parents)[:2]):
        file = place / _META
        if not file.is_file():
            continue
        document = read_json(file)
        listed = document.get("classes") if isinstance(document, dict) else None
        expect(listed, list, file=file, place="classes", what='"classes"')
        names = []
        for number, entry in enumerate(listed or (), 1):
            name = entry.get("title") if isinstance(entry, dict) else None
            names.append(expect(name, str, file=file, place=f"class {number}", what='"title"'))
        return tuple(dict.fromkeys(name for name in names if name != IGNORE))
    return ()


def _document(file: Path) -> dict[str, Any]:
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("objects"), list):
        raise refusal(file, document, wanted="an object with size and objects")
    expect_kind(file, document, "supervisely", wanted="an object with size and objects")
    return document


def _names(document: dict[str, Any]) -> set[str]:
    return {_name(item) for item in document["objects"] if isinstance(item, dict)}


def _name(item: dict[str, Any]) -> str:
    return text_of_name(item.get("classTitle"))


def _image(document: dict[str, Any], file: Path, folder: Path, images: Path | None) -> NamedImage:
    found = document.get("size")
    size = found if isinstance(found, dict) else {}
    width, height = (
        size_of(size.get(side), file=file, place="size", side=side) for side in ("width", "height")
    )
    name = file.name[: -len(".json")]
    beside = file.parent.parent / "img"
    if not name.lower().endswith(IMAGE_ENDINGS):
        # the projects of before are called after the image's stem
        stems = {f.stem: f.name for f in files_in(images or beside)}
        name = stems.get(name, name)
    if images is None and beside.is_relative_to(folder):
        name = (beside / name).relative_to(folder).as_posix()
    return NamedImage(
        file, name, f"image {file.name!r}", document["objects"], width, height, file.stem
    )


def _objects(image: NamedImage, row: ImageRow, policy: IssuePolicy) -> Iterator[NamedObject]:
    for number, item in enumerate(image.entry, 1):
        place = f"object {number}"
        if not isinstance(item, dict):
            message = f"it is {str(item)[:40]!r}. Expected an object with points."
            policy.report(AnnotationIssue("not a box", image.file, place, message, row.path))
            continue
        kind = item.get("geometryType")
        if kind in _WITHOUT_BOX:
            message = f"a {kind} has no box. Expected a rectangle, polygon or bitmap."
            policy.report(AnnotationIssue("no box", image.file, place, message, row.path))
            continue
        box = _box(item)
        if box is None:
            words = " ".join(str(kind).split())[:20]
            message = f"its {words} can't be read. Expected points.exterior [[x, y], ...]."
            policy.report(AnnotationIssue("not a box", image.file, place, message, row.path))
            continue
        tags = item.get("tags")
        ignored = isinstance(tags, list) and any(
            isinstance(tag, dict) and tag.get("name") == "ignored" for tag in tags
        )
        yield NamedObject(place, _name(item), box, ignored, kind == "rectangle")


def _box(item: dict[str, Any]) -> Sequence[float] | None:
    """The extent xyxy of an object in pixels, None where its numbers are missing."""
    if isinstance(item.get("bitmap"), dict):
        return _box_of_bitmap(item["bitmap"])
    found = item.get("points")
    points = found.get("exterior") if isinstance(found, dict) else None
    if not isinstance(points, list) or len(points) < 2:
        return None
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        return None
    xs, ys = [as_number(p[0]) for p in points], [as_number(p[1]) for p in points]
    if None in xs or None in ys:
        return None
    return box_of_points(xs, ys)  # pyrefly: ignore[bad-argument-type]


def _box_of_bitmap(bitmap: dict[str, Any]) -> Sequence[float] | None:
    """The extent of a mask: a PNG packed into text, cut to the object, with an origin."""
    origin, data = bitmap.get("origin"), bitmap.get("data")
    if not isinstance(origin, list) or len(origin) != 2 or not isinstance(data, str):
        return None
    corner = numbers_of({"x": origin[0], "y": origin[1]}, "x", "y")
    try:
        packed = base64.b64decode(data, validate=True)
        head = zlib.decompressobj().decompress(packed, 24)
    except (binascii.Error, ValueError, zlib.error):
        return None
    if corner is None or not head.startswith(_PNG) or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return corner[0], corner[1], corner[0] + width, corner[1] + height
