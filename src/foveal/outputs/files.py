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
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.dataset import Dataset
from foveal.errors import FovealError, MissingExtraError
from foveal.files import write_file
from foveal.structures import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CAPPED = "capped"
"""The column, or key of an image, that marks where a limit of detections was reached."""
_HUNDREDTHS = 2
"""Decimals of a pixel that are written."""


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
            `write_coco`), .csv for a table (see `write_csv`). Of a data set a new or empty folder
            for annotations and copies of the images; or a .json file for COCO annotations alone,
            which name the images where they are.
        format: of a data set's folder, one of FORMATS.
        counts: write how many of each class are in each image instead (see `write_counts`), .csv.

    Raises:
        FovealError: the ending is another one, or it can't be written.
    """
    path = Path(path)
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
    writers = {".csv": write_counts} if counts else {".json": write_coco, ".csv": write_csv}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        expected = ".csv for counts" if counts else ".json (COCO) or .csv"
        raise FovealError(f"{path}: its ending says no format. Expected {expected}.")
    writer(path, [detections] if isinstance(detections, Detections) else detections)


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
    image_ids = image_ids or range(1, len(detections) + 1)
    classes = detections[0].classes if detections else ()
    category_ids = category_ids or range(1, len(classes) + 1)
    annotations: list[dict[str, Any]] = []
    for image_id, each in zip(image_ids, detections, strict=True):
        for box, score, label in _rows(each):
            x, y, right, bottom = (round(float(value), _HUNDREDTHS) for value in box)
            width, height = round(right - x, _HUNDREDTHS), round(bottom - y, _HUNDREDTHS)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_ids[label],
                    "bbox": [x, y, width, height],
                    "area": round(width * height, _HUNDREDTHS),
                    "iscrowd": 0,
                    "score": score,
                }
            )
    document = {
        "info": {"description": "Detections, not checked by a person"},
        "images": [
            {
                "id": image_id,
                "file_name": relative_name(each.path, path.parent) or f"image {number}",
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
        "annotations": annotations,
    }
    write_file(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def write_csv(path: Path, detections: Sequence[Detections]) -> None:
    """Write one line for each detection: image, corners in original pixels, class, score.

    `foveal.read` and tools that read such annotations take it too. The last column says whether the
    image had more detections than the limit lets through.

    Args:
        path: the file. Images are named relative to its folder.
        detections: one for each image.

    Raises:
        FovealError: the file can't be written.
    """
    lines: list[Sequence[Any]] = [
        ("image", "xmin", "ymin", "xmax", "ymax", "label", "score", "width", "height", CAPPED)
    ]
    for number, each in enumerate(detections):
        name = relative_name(each.path, path.parent) or f"image {number}"
        rest = (each.width, each.height, _word(each.capped))
        for box, score, label in _rows(each):
            corners = (f"{float(value):.{_HUNDREDTHS}f}" for value in box)
            lines.append((name, *corners, each.classes[label], score, *rest))
    _write_lines(path, lines)


def write_counts(path: Path, detections: Sequence[Detections]) -> None:
    """Write one line for each image: how many of each class were found, and of all.

    The last column says whether the image had more detections than the limit lets through, so that
    its counts may be too low.

    Raises:
        FovealError: the file can't be written.
    """
    classes = detections[0].classes if detections else ()
    lines: list[Sequence[Any]] = [("image", *classes, "total", CAPPED)]
    for number, each in enumerate(detections):
        name = relative_name(each.path, path.parent) or f"image {number}"
        lines.append((name, *each.counts().values(), len(each), _word(each.capped)))
    _write_lines(path, lines)


def to_supervision(detections: Detections) -> Any:
    """The detections as `supervision.Detections`, names under `data["class_name"]`.

    Raises:
        MissingExtraError: supervision is not installed.
    """
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


def _rows(detections: Detections) -> list[tuple[NDArray[np.float32], float, int]]:
    """Each detection's box, score and label; scores with the digits that a float32 has."""
    return [
        (box, _score(score), int(label))
        for box, score, label in zip(
            detections.boxes, detections.scores, detections.labels, strict=True
        )
    ]


def _score(score: Any) -> float:
    return float(f"{float(score):.6g}")


def _word(value: bool) -> str:
    """As JSON has it, and as spreadsheets and pandas read it."""
    return "true" if value else "false"


def relative_name(image: Path | None, folder: Path) -> str:
    """An image's path from the folder, with slashes; nothing where there is none."""
    if image is None:
        return ""
    try:
        return Path(os.path.relpath(image.resolve(), folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return image.resolve().as_posix()


def _write_lines(path: Path, lines: list[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    write_file(path, text.getvalue())
