"""The page of an audit of labels: each suggestion as a crop with the label and what disputes it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from foveal.data.images.rasters import open_raster
from foveal.errors import FovealError
from foveal.evaluation.label_audit import EXPECTED, Dispute
from foveal.outputs.result_folder import ResultFolder
from foveal.reports.html import write_report
from foveal.reports.parts import (
    Key,
    KeyEntry,
    Number,
    Numbers,
    Part,
    Picture,
    Pictures,
    Report,
    Section,
    Table,
)
from foveal.text import counted, listed, percent
from foveal.visualization import colors
from foveal.visualization.boxes import draw_boxes, to_rgb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset
    from foveal.data.images.rasters import Raster
    from foveal.evaluation.label_audit import LabelAudit, Suggestion
    from foveal.visualization.boxes import Style
    from foveal.visualization.colors import Color

PAGE, SUGGESTIONS, TABLE = "audit.html", "suggestions.json", "suggestions.csv"
"""The files of an audit."""
KEPT = "Nothing was changed in the data."
_SIDE = 320
"""Pixels of a crop on the page."""
_LEAST_SIDE = 40
"""Pixels of the image that a crop shows at least."""
_ACROSS = 2.4
"""So many times as wide as the disputed box is its crop."""
_MOST_IMAGES = 15
_MAX_NAMES = 8

MEANINGS = {
    Dispute.MISSING: "the model is sure of an object where there is no label",
    Dispute.NOTHING_THERE: "there is a label where the model sees nothing, or hardly anything",
    Dispute.OTHER_CLASS: "the model is sure of another class",
    Dispute.LOOSE_BOX: "the label's box is far from the model's, for boxes that agree well else",
    Dispute.DOUBLE: "two labels mean one object",
}
"""What each kind of dispute says, for people."""


def check_audit_folder(folder: Path, *, overwrite: bool) -> ResultFolder:
    """See whether an audit may be written into a folder; nothing is changed.

    Args:
        folder: it need not exist.
        overwrite: whether an earlier audit may be replaced.

    Raises:
        FovealError: it may not; the message says what to pass.
    """
    results = ResultFolder(folder, "audit", (SUGGESTIONS, TABLE, PAGE))
    results.check(overwrite=overwrite)
    return results


def write_audit_report(
    path: Path,
    audit: LabelAudit,
    data: Dataset,
    *,
    source: str,
    caution: str = "",
    left_out: str = "",
    pictures: int = 100,
) -> None:
    """Write an audit as one HTML file that needs no network.

    Args:
        path: of the HTML file.
        audit: its suggestions, the most suspicious first.
        data: what was audited.
        source: of the detections, for the page's second line.
        caution: a sentence on what the detections can't tell.
        left_out: a sentence on suggestions that are not among these.
        pictures: at most so many suggestions are drawn.

    Raises:
        FovealError: the file can't be written.
    """
    from foveal import __version__

    drawn = audit.best(pictures)
    sections = (
        _summary(audit, caution=caution, left_out=left_out),
        _crops(drawn, len(audit), data),
        _images(audit, data),
        _classes(audit, data),
    )
    report = Report(
        title="Labels to look at",
        subtitle=(
            f"{counted(len(data), 'image')}, {counted(audit.labels, 'label')}, classes: "
            f"{listed(data.classes, _MAX_NAMES)}; disputed by {source}"
        ),
        sections=[section for section in sections if section is not None],
        footer=f"Made by foveal {__version__}.",
    )
    write_report(path, report)


def summary_of(audit: LabelAudit) -> str:
    """How many suggestions there are and of which kinds, in a sentence."""
    if not len(audit):
        return f"No label is disputed among {counted(audit.labels, 'label')}."
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in audit.counts().items() if number)
    return (
        f"{counted(len(audit), 'suggestion')} for {counted(audit.labels, 'label')} in "
        f"{counted(len(np.unique(audit.images)), 'image')}: {kinds}."
    )


def weakness_of(audit: LabelAudit) -> str:
    """A sentence where the model sees too little to dispute labels; else nothing."""
    if 2 * audit.seen >= audit.labels:
        return ""
    return (
        f"The model sees only {audit.seen:,} of {counted(audit.labels, 'label')}: it is too weak "
        "to tell which of them are wrong. Train longer, or on more images."
    )


def _summary(audit: LabelAudit, *, caution: str, left_out: str) -> Section:
    parts: list[Part] = [summary_of(audit)]
    if len(audit):
        parts.append(
            Numbers(
                [
                    Number(str(kind), f"{number:,}", "", f"{MEANINGS[kind].capitalize()}.")
                    for kind, number in audit.counts().items()
                ]
            )
        )
        parts.append(
            "The most suspicious ones come first, all kinds in one list. A score near 1 says that "
            "the model is sure and the label fits badly. What is disputed often in one way, in "
            f"more than {percent(EXPECTED, 1)} of the labels, sinks: it is rather a habit than a "
            "mistake. Only a person can tell who is right."
        )
    parts += [
        f"{KEPT} {SUGGESTIONS} holds the labels as they would be, with a list of what differs "
        f"(foveal reads it with --images FOLDER, the folder of the images), and {TABLE} that list "
        "as a table.",
        *(text for text in (left_out, caution) if text),
    ]
    return Section("Summary", parts)


def _crops(drawn: LabelAudit, number: int, data: Dataset) -> Section | None:
    if not len(drawn):
        return None
    pictures: dict[int, Picture] = {}
    messages = []
    suggestions = list(drawn)
    # All crops of an image at once, so that it is opened once.
    by_image = np.argsort(drawn.images, kind="stable")
    for rows in np.split(by_image, np.flatnonzero(np.diff(drawn.images[by_image])) + 1):
        record = data.records[suggestions[rows[0]].image]
        try:
            with open_raster(record.path) as raster, raster.for_display() as shown:
                for row in rows.tolist():
                    pictures[row] = _picture(row + 1, suggestions[row], shown, data)
        except FovealError as error:
            messages.append(str(error))
    key = Key(
        [
            KeyEntry(colors.FALSE_NEGATIVE, "the disputed label", dashed=True),
            KeyEntry(
                colors.TRUE_POSITIVE,
                "the detection; where nothing is there, the weak one that is nearest",
            ),
            KeyEntry(colors.IGNORED, "other labels", dashed=True),
        ]
    )
    text = "Click a picture to enlarge it."
    if len(drawn) < number:
        text = f"The first {len(drawn):,} of {number:,} suggestions; {TABLE} lists all. {text}"
    return Section(
        "Suggestions",
        [
            text,
            key,
            Pictures([pictures[row] for row in sorted(pictures)]),
            *(f"Not shown: {message}" for message in messages),
        ],
    )


def _picture(number: int, one: Suggestion, raster: Raster, data: Dataset) -> Picture:
    """A square around both boxes, with all labels in it."""
    boxes = [box for box in (one.box, one.detection_box) if box is not None]
    window = _window(np.stack(boxes), raster.width, raster.height)
    left, top, right, bottom = window
    pixels = to_rgb(raster.read(left, top, right, bottom).pixels)
    scale = _SIDE / max(right - left, bottom - top)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
    drawn: list[tuple[NDArray[np.float32], Color, Style, str]] = []
    if one.box is not None and one.label is not None:
        drawn.append((one.box, colors.FALSE_NEGATIVE, "dashed", data.classes[one.label]))
    if one.detection_box is not None and one.detection_label is not None:
        words = f"{data.classes[one.detection_label]} {one.detection_score:.2f}"
        drawn.append((one.detection_box, colors.TRUE_POSITIVE, "solid", words))
    target = data.target(one.image)
    others = ~target.ignored
    if one.index is not None:
        others[one.index] = False
    near = (target.boxes[:, :2] < window[2:]).all(axis=1) & (target.boxes[:, 2:] > window[:2]).all(
        axis=1
    )
    drawn.extend((box, colors.IGNORED, "dashed", "") for box in target.boxes[others & near])
    corner = np.array([left, top, left, top], np.float32)
    image = draw_boxes(
        Image.fromarray(shown),
        (np.stack([box for box, *_ in drawn]) - corner) * np.float32(scale),
        [color for _, color, _, _ in drawn],
        [style for _, _, style, _ in drawn],
        [words for *_, words in drawn],
        [],
    )
    return Picture(
        f"{number:,}. {one.kind}, {one.score:.2f}",
        image,
        f"{in_words(one, data)}. {data.records[one.image].path.name}",
    )


def in_words(one: Suggestion, data: Dataset) -> str:
    """What a suggestion says, in a few words."""
    ours = "" if one.label is None else data.classes[one.label]
    theirs = "" if one.detection_label is None else data.classes[one.detection_label]
    if one.kind is Dispute.MISSING:
        return f"{theirs} without a label"
    if one.kind is Dispute.OTHER_CLASS:
        return f"{ours}, or rather {theirs}"
    if one.kind is Dispute.LOOSE_BOX:
        return f"{ours}, in another box"
    if one.kind is Dispute.DOUBLE:
        return f"{ours}, labeled twice"
    return f"{ours}, where hardly anything is seen"


def _window(boxes: NDArray[np.float32], width: int, height: int) -> tuple[int, int, int, int]:
    """Whole pixels of a square around boxes, moved into the image."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = int(max(_ACROSS * float((high - low).max()), _LEAST_SIDE))
    room = np.maximum(0, np.array([width, height]) - side)
    left, top = np.clip((low + high) / 2 - side / 2, 0, room).astype(int).tolist()
    return left, top, min(left + side, width), min(top + side, height)


def _images(audit: LabelAudit, data: Dataset) -> Section | None:
    """The images with the most suspicion: where somebody should look at all labels."""
    weights = np.bincount(audit.images, weights=audit.scores, minlength=len(data))
    numbers = np.bincount(audit.images, minlength=len(data))
    most = np.argsort(-weights, kind="stable")[:_MOST_IMAGES]
    rows = [
        (
            data.records[image].path.name,
            f"{numbers[image]:,}",
            f"{weights[image]:.1f}",
            f"{len(data.records[image]):,}",
        )
        for image in most[numbers[most] > 1].tolist()
    ]
    if not rows:
        return None
    several = int((numbers > 1).sum())
    caption = "Images with two suggestions or more, by the sum of their scores."
    if several > len(rows):
        caption = f"The first {len(rows)} of {several:,}. {caption}"
    return Section(
        "Images", [Table(("image", "suggestions", "sum of scores", "labels"), rows, caption)]
    )


def _classes(audit: LabelAudit, data: Dataset) -> Section | None:
    """Kinds by class: what is disputed again and again is a question for who writes the rules."""
    counts: Counter[tuple[str, Dispute]] = Counter()
    changes: Counter[tuple[str, str]] = Counter()
    for one in audit:
        label = one.detection_label if one.label is None else one.label
        assert label is not None
        counts[data.classes[label], one.kind] += 1
        if one.kind is Dispute.OTHER_CLASS and one.detection_label is not None:
            changes[data.classes[label], data.classes[one.detection_label]] += 1
    if not counts:
        return None
    totals = {name: sum(counts[name, kind] for kind in Dispute) for name in data.classes}
    names = sorted((name for name in totals if totals[name]), key=lambda name: -totals[name])
    rows = [(name, *(f"{counts[name, kind]:,}" for kind in Dispute)) for name in names]
    parts: list[Part] = [
        Table(
            ("class", *map(str, Dispute)),
            rows,
            "By the class of the label, of missing ones by that of the detection.",
        )
    ]
    if changes:
        pairs: Sequence[tuple[tuple[str, str], int]] = changes.most_common(_MOST_IMAGES)
        parts.append(
            Table(
                ("labeled", "detected as", "suggestions"),
                [(ours, theirs, f"{number:,}") for (ours, theirs), number in pairs],
                "Classes that are taken for one another"
                + (
                    f": the first {len(pairs)} of {len(changes):,} pairs."
                    if len(pairs) < len(changes)
                    else "."
                ),
                text_columns=2,
            )
        )
    return Section("Classes", parts)
