"""Pictures with boxes: what was found, what is known to be there, and how the two compare.

Lines and letters grow with the picture. A box's line lies outside of it, so that small objects stay
visible; labels are left out where they would hide objects or one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw

from foveal.text import shorten
from foveal.visualization import colors
from foveal.visualization.labels import (
    MIN_TEXT,
    Label,
    LegendRow,
    draw_labels,
    draw_legend,
    text_height,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.structures import Detections, Target
    from foveal.visualization.colors import Color

_MAX_NAME = 23
"""Letters of a name beside a score, which must not be what is cut off."""
_MAX_LABELS = 150
_MAX_ROWS = 8
_GAP = (0, 0, 0, 110)
"""Darkens what lies between dashes, so that they show on bright ground too."""
Style = Literal["solid", "dashed"]


def draw_detections(
    image: NDArray[np.uint8],
    detections: Detections,
    *,
    labels: bool = True,
    legend: bool = True,
    min_side: int = 0,
) -> NDArray[np.uint8]:
    """Draw what was found: one color a class, names and scores, the counts in a corner.

    Args:
        image: [H, W] or [H, W, C] uint8; of more than three bands the first three are shown.
        detections: boxes in the image's pixels, best first.
        labels: write class and score beside the boxes, where there is room.
        legend: write how many were found of each class, and whether a limit of detections was
            reached.
        min_side: enlarge a picture whose shorter side is below this by a whole factor, so that
            words fit into it; 0 keeps the size.

    Returns:
        [H, W, 3] uint8 RGB, a new array.

    Raises:
        ValueError: the image is not uint8 or has no pixels.
    """
    picture, zoom = _enlarge(image, min_side)
    words = scored_names(detections) if labels else []
    boxes = detections.boxes * zoom
    drawn = [colors.class_color(int(label)) for label in detections.labels]
    rows = class_rows(detections.labels, detections.classes) if legend else []
    if rows and detections.capped:
        rows.append(LegendRow("limit reached", len(detections), colors.IGNORED))
    return draw_boxes(picture, boxes, drawn, ["solid"] * len(boxes), words, rows)


def draw_comparison(
    image: NDArray[np.uint8],
    *,
    true_positives: Detections,
    false_positives: Detections,
    false_negatives: Target,
    labels: bool = True,
    legend: bool = True,
    min_side: int = 0,
) -> NDArray[np.uint8]:
    """Draw what was found (blue), missed (yellow, dashed) and falsely detected (red).

    Args:
        image: as for draw_detections.
        true_positives: the detections that found an object, in the image's pixels.
        false_positives: those that did not.
        false_negatives: the objects that no detection found; its regions to ignore are gray,
            dashed.
        labels: write the class of what is missed or false.
        legend: write how many were found, missed, false.
        min_side: as for draw_detections.

    Returns:
        [H, W, 3] uint8 RGB, a new array.

    Raises:
        ValueError: the image is not uint8 or has no pixels.
    """
    picture, zoom = _enlarge(image, min_side)
    objects, ignored = ~false_negatives.ignored, false_negatives.boxes[false_negatives.ignored]
    missed_words = [
        _name(false_positives.classes, int(label)) for label in false_negatives.labels[objects]
    ]
    groups: list[tuple[str, NDArray[np.float32], Color, Style, list[str]]] = [
        ("missed", false_negatives.boxes[objects], colors.FALSE_NEGATIVE, "dashed", missed_words),
        (
            "false",
            false_positives.boxes,
            colors.FALSE_POSITIVE,
            "solid",
            scored_names(false_positives),
        ),
        ("found", true_positives.boxes, colors.TRUE_POSITIVE, "solid", [""] * len(true_positives)),
        ("ignored", ignored, colors.IGNORED, "dashed", [""] * len(ignored)),
    ]
    rows = [LegendRow(title, len(boxes), color, style) for title, boxes, color, style, _ in groups]
    return draw_boxes(
        picture,
        np.concatenate([boxes for _, boxes, *_ in groups]) * zoom,
        [color for _, boxes, color, *_ in groups for _ in boxes],
        [style for _, boxes, _, style, _ in groups for _ in boxes],
        [word for *_, words in groups for word in words] if labels else [],
        [rows[2], rows[0], rows[1], *(rows[3:] if len(ignored) else [])] if legend else [],
    )


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Any image as [H, W, 3] uint8, a new array; of more than three bands the first three.

    Raises:
        ValueError: the image is not uint8 or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            f"image is {image.dtype} {list(image.shape)}. "
            "Expected uint8 [H, W] or [H, W, C] with at least one pixel."
        )
    bands = image[..., None] if image.ndim == 2 else image
    chosen = bands[..., :3] if bands.shape[2] >= 3 else bands[..., [0, 0, 0]]
    return np.array(chosen, order="C")


def _enlarge(image: NDArray[np.uint8], min_side: int) -> tuple[Image.Image, int]:
    picture = Image.fromarray(to_rgb(image))
    zoom = max(1, -(-min_side // min(picture.size)))
    if zoom > 1:
        picture = picture.resize(
            (picture.width * zoom, picture.height * zoom), Image.Resampling.BICUBIC
        )
    return picture, zoom


def draw_boxes(
    picture: Image.Image,
    boxes: NDArray[np.float32],
    drawn: Sequence[Color],
    styles: Sequence[Style],
    words: Sequence[str],
    rows: list[LegendRow],
    *,
    obstacles: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Draw boxes (the most important first), then the legend, then the labels.

    Args:
        picture: RGB; it is drawn upon.
        boxes: [N, 4] xyxy, pixels of the picture.
        drawn: the color of each box.
        styles: and its line's.
        words: and what is written beside it; without any, nothing is.
        rows: the legend's; without any there is none.
        obstacles: [M, 4] xyxy, what else neither legend nor labels should hide.

    Returns:
        [H, W, 3] uint8 RGB, a new array.
    """
    draw = ImageDraw.Draw(picture, "RGBA")
    size = text_height(*picture.size)
    small = max(MIN_TEXT, round(0.75 * size))
    for index in reversed(range(len(boxes))):
        _draw_box(draw, boxes[index], drawn[index], styles[index], line=max(1, round(size / 7)))
    hidden = boxes if obstacles is None else np.concatenate([boxes, obstacles])
    taken = draw_legend(draw, rows, size=small if len(hidden) > 100 else size, boxes=hidden)
    labels = (
        [
            Label(word, box, color)
            for word, box, color in zip(words, boxes, drawn, strict=True)
            if word
        ]
        if words
        else []
    )
    if len(labels) <= _MAX_LABELS:
        letters = small if len(labels) > 40 else size
        draw_labels(draw, labels, size=letters, obstacles=hidden, taken=taken)
    return np.asarray(picture).copy()


def _draw_box(
    draw: ImageDraw.ImageDraw, box: NDArray[np.float32], color: Color, style: Style, *, line: int
) -> None:
    """Draw a frame around a box, its line outside except at the picture's rim."""
    width, height = draw.im.size
    smaller = float(min(box[2] - box[0], box[3] - box[1]))
    line = min(line, max(1, round(smaller / 8)))
    x0 = max(0, int(np.floor(box[0])) - line)
    y0 = max(0, int(np.floor(box[1])) - line)
    x1 = min(width, int(np.ceil(box[2])) + line) - 1
    y1 = min(height, int(np.ceil(box[3])) + line) - 1
    if x1 < x0 or y1 < y0:
        return
    if style == "solid":
        draw.rectangle((x0, y0, x1, y1), outline=(*color, 255), width=line)
        return
    draw.rectangle((x0, y0, x1, y1), outline=_GAP, width=line)
    for piece in _dashes(x0, y0, x1, y1, line):
        draw.rectangle(piece, fill=(*color, 255))


def _dashes(x0: int, y0: int, x1: int, y1: int, line: int) -> list[tuple[int, int, int, int]]:
    """The pieces of a dashed frame; every corner is drawn."""
    pieces = []
    for begin, end in _runs(x0, x1, line):
        pieces.append((begin, y0, end, min(y1, y0 + line - 1)))
        pieces.append((begin, max(y0, y1 - line + 1), end, y1))
    for begin, end in _runs(y0, y1, line):
        pieces.append((x0, begin, min(x1, x0 + line - 1), end))
        pieces.append((max(x0, x1 - line + 1), begin, x1, end))
    return pieces


def _runs(low: int, high: int, line: int) -> list[tuple[int, int]]:
    """An odd number of even runs from low to high, every second one left out."""
    length = high - low + 1
    count = max(1, round(length / (4 * line)) // 2 * 2 + 1)
    edges = np.round(np.linspace(low, high + 1, count + 1)).astype(int)
    return [(int(edges[i]), int(edges[i + 1]) - 1) for i in range(0, count, 2)]


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else f"class {label}"


def scored_names(detections: Detections) -> list[str]:
    """What is written beside each detection: its class and score."""
    return [
        f"{shorten(_name(detections.classes, int(label)), _MAX_NAME)} {score:.2f}"
        for label, score in zip(detections.labels, detections.scores, strict=True)
    ]


def class_rows(
    labels: NDArray[np.int64],
    classes: Sequence[str],
    *,
    style: Literal["solid", "dot"] = "solid",
) -> list[LegendRow]:
    """One row a class; of many classes those with the most objects, then the others together.

    Args:
        labels: [N], 0..K-1.
        classes: the K names.
        style: how the objects are drawn.
    """
    counts = np.bincount(labels, minlength=len(classes))
    order = np.arange(len(counts))
    if len(order) > _MAX_ROWS:
        order = np.sort(np.argsort(-counts, kind="stable")[:_MAX_ROWS])
        order = order[counts[order] > 0]
    rows = [
        LegendRow(
            _name(classes, int(label)), int(counts[label]), colors.class_color(int(label)), style
        )
        for label in order
    ]
    rest = int(counts.sum() - counts[order].sum())
    if rest:
        rows.append(LegendRow("others", rest, colors.IGNORED, style))
    return rows
