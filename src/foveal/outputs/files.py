"""Detections as files that other tools read: COCO JSON, CSV, counts; and as supervision's.

`write_coco` writes a COCO data set whose annotations carry a `score`. It says by itself which
image is which, so COCO tools, annotation tools and `foveal.read` open it like any data set, for
example to correct detections into annotations. Its list of annotations alone is what COCO calls
results: pycocotools' `loadRes` takes it as it is, where image and category ids agree.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.dataset import Dataset
from foveal.errors import FovealError, MissingExtraError
from foveal.files import write_file, write_parts
from foveal.outputs.map_rings import closed, counter_clockwise
from foveal.outputs.rows import DECIMALS, Rows, image_name, names_below, relative_name, rows_of
from foveal.structures import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from foveal.geometry.georeference import Georeference

CAPPED = "capped"
"""The column, or key of an image, that marks where a limit of detections was reached."""
_MAP_COLUMNS = ("map_x", "map_y", "crs", "wkt")
_ROWS_AT_ONCE = 1 << 14


def write(
    detections: Detections | Sequence[Detections] | Dataset,
    path: str | Path,
    format: str | None = None,  # noqa: A002
    *,
    counts: bool = False,
) -> None:
    """Write what was found in one image or in many, or a data set.

    Args:
        detections: one for each image, all of the same classes; or a data set.
        path: of detections the file, which its ending says the kind of: .json for COCO (see
            `write_coco`), .csv for a table (see `write_csv`); of georeferenced images .gpkg (see
            `write_geopackage`) or .geojson (see `write_geojson`). Of a data set a new or empty
            folder for annotations and copies of the images; or a .json file for COCO annotations
            alone, which name the images where they are.
        format: of a data set's folder, one of FORMATS.
        counts: write how many of each class are in each image instead (see `write_counts`), .csv.

    Raises:
        FovealError: the ending is another one, an image for a map has no georeference, or the file
            can't be written.
        MissingExtraError: a package for map files is not installed.

    Examples:
        >>> found = foveal.load("run").detect("smear.jpg")
        >>> foveal.write(found, "found.csv")
        >>> foveal.write(foveal.read("cells:train"), "cells-yolo", "yolo")
    """
    if not isinstance(path, str | Path):
        raise FovealError(
            f"The file to write is {type(path).__name__}. Expected a path, after the detections."
        )
    path = Path(path)
    if not isinstance(detections, (Dataset, Detections, Iterable)):
        raise FovealError(
            f"{path}: a {type(detections).__name__} can't be written. Expected detections, those "
            "of several images, or a data set."
        )
    if isinstance(detections, Dataset):
        _write_dataset(detections, path, format)
        return
    if not isinstance(detections, Detections):
        detections = list(detections)
        strange = [each for each in detections if not isinstance(each, Detections)]
        if strange:
            raise FovealError(
                f"{path}: a {type(strange[0]).__name__} can't be written. Expected detections, "
                "those of several images, or a data set."
            )
    if format is not None:
        raise FovealError(
            f"{path}: detections are written as the file's ending says, not as {format!r}. Leave "
            "the format out."
        )
    writers = {".csv": write_counts} if counts else _writers()
    writer = writers.get(path.suffix.lower())
    if writer is None:
        expected = (
            ".csv for counts"
            if counts
            else ".json (COCO) or .csv, or of georeferenced images .gpkg or .geojson"
        )
        raise FovealError(f"{path}: its ending says no format. Expected {expected}.")
    writer(path, [detections] if isinstance(detections, Detections) else detections)


def _writers() -> dict[str, Callable[[Path, Sequence[Detections]], Any]]:
    """What writes detections, by the file's ending."""
    from foveal.outputs.geojson import write_geojson
    from foveal.outputs.geopackage import write_geopackage

    return {
        ".json": write_coco,
        ".csv": write_csv,
        ".gpkg": write_geopackage,
        ".geojson": write_geojson,
    }


def _write_dataset(data: Dataset, path: Path, format_name: str | None) -> None:
    from foveal.data import formats
    from foveal.data.formats import coco

    if format_name is not None:
        formats.write(data, path, format_name)
    elif path.suffix.lower() == ".json":
        names = [
            relative_name(record.path, path.parent) or record.path.name for record in data.records
        ]
        document = coco.to_document(data, names, range(len(data)))
        write_file(path, json.dumps(document, ensure_ascii=False) + "\n")
    else:
        raise FovealError(
            f"{path}: in which format is the data set to be written? Expected a name that ends in "
            ".json for COCO annotations alone, or a format and a folder: foveal data convert DATA "
            "DEST --to coco (in Python format='coco')."
        )


def write_coco(
    path: Path,
    detections: Sequence[Detections],
    *,
    image_ids: Sequence[int] = (),
    category_ids: Sequence[int] = (),
) -> None:
    """Write detections as a COCO data set with scores; boxes are [x, y, width, height].

    Args:
        path: the file. Images are named relative to its folder (where that is not above them,
            `foveal.read` must be told theirs: images=FOLDER), and marked where a limit of
            detections was reached.
        detections: one for each image, boxes in original pixels, all of the same classes.
        image_ids, category_ids: COCO's ids, where they are not 1, 2, 3 ...

    Raises:
        FovealError: the file can't be written.
    """
    write_parts(
        path,
        coco_parts(detections, path.parent, image_ids=image_ids, category_ids=category_ids),
    )


def coco_parts(
    detections: Sequence[Detections],
    folder: Path,
    *,
    image_ids: Sequence[int] = (),
    category_ids: Sequence[int] = (),
) -> Iterator[str]:
    """What `write_coco` writes into a file in a folder, part by part."""
    image_ids = image_ids or range(1, len(detections) + 1)
    classes = detections[0].classes if detections else ()
    category_ids = category_ids or range(1, len(classes) + 1)
    document: dict[str, Any] = {
        "info": {"description": "Detections, not checked by a person"},
        "images": [
            {
                "id": image_id,
                "file_name": image_name(each, number, folder),
                "width": each.width,
                "height": each.height,
                CAPPED: each.capped,
                **({"left_out_score": _score(each.left_out_score)} if each.capped else {}),
            }
            for number, (image_id, each) in enumerate(zip(image_ids, detections, strict=True))
        ],
        "categories": [
            {"id": number, "name": name} for number, name in zip(category_ids, classes, strict=True)
        ],
        "annotations": [],
    }
    begin, end = json.dumps(document, ensure_ascii=False, indent=1).rsplit("[]", 1)
    yield begin + "["
    yield from _coco_annotations(detections, image_ids, category_ids)
    yield "\n ]" if any(map(len, detections)) else "]"
    yield end + "\n"


_COCO_ANNOTATION = """
  {
   "id": %d,
   "image_id": %r,
   "category_id": %r,
   "bbox": [
    %r,
    %r,
    %r,
    %r
   ],
   "area": %r,
   "iscrowd": 0,
   "score": %r
  }"""


def _coco_annotations(
    detections: Sequence[Detections], image_ids: Sequence[int], category_ids: Sequence[int]
) -> Iterator[str]:
    """The annotations as JSON, some at a time; `json.dumps` would need a dictionary of each."""
    first = 1
    for image_id, each in zip(image_ids, detections, strict=True):
        for rows in rows_of([each], Path(), at_most=_ROWS_AT_ONCE):
            corners = rows.rounded
            sides = np.round(corners[:, 2:] - corners[:, :2], DECIMALS)
            columns: list[Iterable[Any]] = [
                range(first, first + len(rows)),
                repeat(image_id),
                [category_ids[label] for label in rows.labels.tolist()],
                *corners[:, :2].T.tolist(),
                *sides.T.tolist(),
                np.round(sides.prod(axis=1), DECIMALS).tolist(),
                rows.scores,
            ]
            values = tuple(chain.from_iterable(zip(*columns, strict=False)))
            yield ("," if first > 1 else "") + ",".join([_COCO_ANNOTATION] * len(rows)) % values
            first += len(rows)


def write_csv(path: Path, detections: Sequence[Detections]) -> None:
    """Write one line for each detection: image, corners in original pixels, class, score.

    `foveal.read` and tools that read such annotations take it too. The column `capped` says whether
    the image had more detections than the limit lets through. Where an image is georeferenced,
    four columns follow: `map_x` and `map_y` of the box's center, `crs`, the coordinate reference
    system of both, and `wkt`, the polygon of the box's four corners, which QGIS and GDAL show. They
    are empty for images without georeference.

    Args:
        path: the file. Images are named relative to its folder.
        detections: one for each image.

    Raises:
        FovealError: the file can't be written.
    """
    write_parts(path, csv_parts(detections, path.parent))


def csv_parts(detections: Sequence[Detections], folder: Path) -> Iterator[str]:
    """What `write_csv` writes into a file in a folder, part by part."""
    on_map = any(each.georeference is not None for each in detections)
    columns = ("image", "xmin", "ymin", "xmax", "ymax", "label", "score", "width", "height", CAPPED)
    header = (*columns, *(_MAP_COLUMNS if on_map else ()))
    yield ",".join(header) + "\n"
    for rows in rows_of(detections, folder, at_most=_ROWS_AT_ONCE):
        yield _csv_lines(rows, on_map=on_map)


def _csv_lines(rows: Rows, *, on_map: bool) -> str:
    classes = [_field(name) for name in rows.classes]
    template = "%s,%.2f,%.2f,%.2f,%.2f,%s,%r,%d,%d,%s"
    columns: list[Iterable[Any]] = [
        repeat(_field(rows.image)),
        *rows.rounded.T.tolist(),
        [classes[label] for label in rows.labels.tolist()],
        rows.scores,
        repeat(rows.width),
        repeat(rows.height),
        repeat(_word(rows.capped)),
    ]
    if on_map and rows.georeference is None:
        template += "," * len(_MAP_COLUMNS)
    elif rows.georeference is not None:
        point = f"%.{_map_decimals(rows.georeference)}f"
        ring = ", ".join([f"{point} {point}"] * 5)
        template += f',{point},{point},%s,"POLYGON (({ring}))"'
        corners = rows.georeference.corners(rows.boxes)
        outlines = closed(counter_clockwise(corners)).reshape(len(rows), -1)
        centers = corners.mean(axis=1)
        columns += [*centers.T.tolist(), repeat(_field(rows.georeference.crs))]
        columns += outlines.T.tolist()
    values = tuple(chain.from_iterable(zip(*columns, strict=False)))
    return (template + "\n") * len(rows) % values


def _map_decimals(georeference: Georeference) -> int:
    """As many of the map's unit as a hundredth of a pixel needs."""
    side = min(georeference.pixel_size)
    return max(0, math.ceil(-math.log10(side / 100))) if 0 < side < math.inf else DECIMALS


def _field(text: str) -> str:
    """A field of a CSV file, in quotation marks where it needs them."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([text])
    return line.getvalue()[:-1]


def write_counts(
    path: Path, detections: Sequence[Detections], *, folder: Path | None = None
) -> None:
    """Write one line for each image: how many of each class were found, and of all.

    The last column says whether the image had more detections than the limit lets through, so that
    its counts may be too low.

    Args:
        path: the file.
        detections: one for each image.
        folder: images are called by the way to them from here; without it from the deepest folder
            that holds them all.

    Raises:
        FovealError: the file can't be written.
    """
    classes = detections[0].classes if detections else ()
    lines: list[Sequence[Any]] = [("image", *classes, "total", CAPPED)]
    names = names_below([each.path for each in detections], folder)
    for number, (each, name) in enumerate(zip(detections, names, strict=True)):
        lines.append(
            (name or f"image {number}", *each.counts().values(), len(each), _word(each.capped))
        )
    _write_lines(path, lines)


def to_supervision(detections: Detections) -> Any:
    """The detections as `supervision.Detections`, names under `data["class_name"]`.

    Raises:
        MissingExtraError: supervision is not installed.

    Examples:
        >>> found = foveal.load("run").detect("smear.jpg")
        >>> len(foveal.to_supervision(found)) == len(found)
        True
    """
    if not isinstance(detections, Detections):
        raise FovealError(
            f"to_supervision takes Detections of one image, and not a {type(detections).__name__}. "
            "Give them one by one."
        )
    try:
        import supervision
    except ImportError:
        raise MissingExtraError(
            "supervision is not installed. Install it: pip install 'foveal[supervision]'"
        ) from None
    return supervision.Detections(
        xyxy=detections.boxes.astype(np.float32).reshape(-1, 4),
        confidence=detections.scores,
        class_id=detections.labels,
        data={"class_name": np.array(detections.names, dtype=str)},
    )


def _score(score: Any) -> float:
    return float(f"{float(score):.6g}")


def _word(value: bool) -> str:
    """As JSON has it, and as spreadsheets and pandas read it."""
    return "true" if value else "false"


def _write_lines(path: Path, lines: list[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_file(path, text.getvalue())
