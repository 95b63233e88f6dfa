"""What an audit of labels suggests, as files: a COCO data set of what the labels would be, a table.

Nothing is written into the data: who wants a suggestion takes it over with a tool of their own.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.formats import coco
from foveal.evaluation.label_audit import Dispute
from foveal.files import write_file
from foveal.outputs.rows import DECIMALS, relative_name
from foveal.outputs.suggestion_row import SuggestionRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset, Record
    from foveal.evaluation.label_audit import LabelAudit, Suggestion

SCHEMA_VERSION = 1
"""Rises where a field goes or means something else; new fields leave it."""
_COLUMNS = (
    *("number", "kind", "score", "image", "label_index"),
    *("label", "xmin", "ymin", "xmax", "ymax"),
    *("suggested_label", "suggested_xmin", "suggested_ymin", "suggested_xmax", "suggested_ymax"),
    "detection_score",
)


def rows_of_audit(audit: LabelAudit, data: Dataset, folder: Path) -> tuple[SuggestionRow, ...]:
    """The suggestions as rows.

    Args:
        audit: the suggestions, the most suspicious first.
        data: what was audited.
        folder: images are named relative to it.
    """
    return tuple(
        SuggestionRow(
            number=number,
            kind=str(one.kind),
            score=_score(one.score),
            image=_name(data.records[one.image], folder),
            label_index=index,
            label=_class_name(one.label, data),
            bbox=_bbox(one.box),
            suggested_label=_class_name(one.suggested_label, data),
            suggested_bbox=_bbox(one.suggested_box),
            detection_score=None if one.detection_score is None else _score(one.detection_score),
        )
        for number, (one, index) in enumerate(
            zip(audit, _record_indices(audit, data), strict=True), 1
        )
    )


def write_suggestions(path: Path, audit: LabelAudit, data: Dataset, *, left_out: int = 0) -> None:
    """Write a COCO data set of what the labels would be, with a list of what was changed.

    Beside images, categories and annotations it has `suggestions`, each with the fields of
    `SuggestionRow`. Annotations that a suggestion made or changed name its number in their
    attributes.

    Args:
        path: of the file. Images are named relative to its folder; where that is not above them,
            `foveal.read` must be told theirs: images=FOLDER.
        audit: the suggestions that are taken over, the most suspicious first.
        data: what was audited.
        left_out: how many suggestions are left out, for they are less suspicious.

    Raises:
        FovealError: the file can't be written.
    """
    names = [_name(record, path.parent) for record in data]
    document = {
        **coco.to_document(corrected(data, audit), names, range(len(data))),
        "info": {
            "description": "Labels as an audit suggests them, not checked by a person; see "
            "suggestions"
        },
        "schema": "foveal-audit",
        "schema_version": SCHEMA_VERSION,
        "audited_labels": audit.labels,
        "by_kind": {str(kind): number for kind, number in audit.counts().items()},
        "left_out": left_out,
        "suggestions": [asdict(row) for row in rows_of_audit(audit, data, path.parent)],
    }
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    write_file(path, text + "\n")


def write_suggestion_table(path: Path, audit: LabelAudit, data: Dataset) -> None:
    """Write one line for each suggestion, the most suspicious first: CSV, corners of boxes.

    Args:
        path: of the file. Images are named relative to its folder.
        audit: the suggestions.
        data: what was audited.

    Raises:
        FovealError: the file can't be written.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_COLUMNS)
    for row in rows_of_audit(audit, data, path.parent):
        lines.writerow(
            [
                *(row.number, row.kind, row.score, row.image, row.label_index),
                *(row.label, *_corners(row.bbox)),
                *(row.suggested_label, *_corners(row.suggested_bbox)),
                row.detection_score,
            ]
        )
    write_file(path, text.getvalue())


def corrected(data: Dataset, audit: LabelAudit) -> Dataset:
    """The data set with all suggestions taken over; the records given stay as they are.

    Objects that are new or changed get the attributes `suggestion` (its number, from 1 on), `kind`
    and `score`. Outlines of boxes that change are left behind.

    Args:
        data: what was audited.
        audit: the suggestions.
    """
    changes: dict[int, list[tuple[int, int | None, Suggestion]]] = {}
    indices = _record_indices(audit, data)
    for number, (one, index) in enumerate(zip(audit, indices, strict=True), 1):
        changes.setdefault(one.image, []).append((number, index, one))
    records = list(data.records)
    for image, own in changes.items():
        records[image] = _corrected(records[image], own)
    return replace(data, records=tuple(records))


def _corrected(record: Record, changes: Sequence[tuple[int, int | None, Suggestion]]) -> Record:
    added = [(number, one) for number, index, one in changes if index is None]
    count, more = len(record), len(added)
    boxes = np.concatenate([record.boxes, np.zeros((more, 4), np.float32)])
    labels = np.concatenate([record.labels, np.zeros(more, np.int64)])
    areas = None if record.areas is None else np.concatenate([record.areas, np.zeros(more)])
    columns = {name: [*column, *[_plain(column)] * more] for name, column in record.flags.items()}
    attributes = columns.setdefault("attributes", [None] * (count + more))
    keep = np.ones(count + more, np.bool_)
    places = iter(range(count, count + more))
    for number, index, one in changes:
        place = next(places) if index is None else index
        if one.removes:
            keep[place] = False
            continue
        label, box = one.suggested_label, one.suggested_box
        assert label is not None
        assert box is not None
        labels[place] = label
        if one.kind is not Dispute.OTHER_CLASS:
            boxes[place] = box
            if areas is not None:
                areas[place] = np.prod((box[2:] - box[:2]).astype(np.float64))
            if "segmentation" in columns:
                columns["segmentation"][place] = None
        old = attributes[place] if isinstance(attributes[place], dict) else {}
        attributes[place] = {
            **old,
            "suggestion": number,
            "kind": str(one.kind),
            "score": _score(one.score),
        }
    return replace(
        record,
        boxes=boxes,
        labels=labels,
        ignored=np.concatenate([record.ignored, np.zeros(more, np.bool_)]),
        areas=areas,
        flags={name: tuple(column) for name, column in columns.items()},
    ).select(keep)


def _plain(column: tuple[Any, ...]) -> Any:
    """What a further column says of an object that no person described."""
    return type(column[0])() if column and isinstance(column[0], bool | int) else None


def _record_indices(audit: LabelAudit, data: Dataset) -> Iterator[int | None]:
    """The place of each suggestion's label in its record.

    A target may hold more than its record: a region to ignore of every class is there once for
    each. The objects are the same, in the same order.
    """
    for one in audit:
        if one.index is None:
            yield None
            continue
        before = int((~audit.targets[one.image].ignored[: one.index]).sum())
        yield int(np.flatnonzero(~data.records[one.image].ignored)[before])


def _name(record: Record, folder: Path) -> str:
    return relative_name(record.path, folder) or record.path.name


def _class_name(label: int | None, data: Dataset) -> str | None:
    return None if label is None else data.classes[label]


def _bbox(box: NDArray[np.float32] | None) -> tuple[float, ...] | None:
    if box is None:
        return None
    left, top, right, bottom = (round(float(side), DECIMALS) for side in box)
    return left, top, round(right - left, DECIMALS), round(bottom - top, DECIMALS)


def _corners(bbox: tuple[float, ...] | None) -> list[float | None]:
    if bbox is None:
        return [None] * 4
    left, top, width, height = bbox
    return [left, top, round(left + width, DECIMALS), round(top + height, DECIMALS)]


def _score(score: float) -> float:
    return round(score, 4)
