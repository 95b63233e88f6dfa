"""A suggestion of an audit of labels in plain values: the same in files and on the screen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SuggestionRow:
    """A suggestion in plain values.

    Attributes:
        number: its place in the list, from 1 on; the most suspicious comes first.
        kind: 'missing', 'nothing there', 'other class', 'loose box' or 'double'.
        score: in 0..1, the larger the more suspicious.
        image: the image's file, relative to the folder of the list.
        label_index: of the label among the objects of its image, from 0 on, in the order of the
            annotations, bad boxes left out; null of a missing one.
        label: its class; null of a missing one.
        bbox: [x, y, width, height], original pixels; null of a missing one.
        suggested_label, suggested_bbox: what they would be; null where the label would go.
        detection_score: the score of the detection that disputes it, or was the nearest to it.
    """

    number: int
    kind: str
    score: float
    image: str
    label_index: int | None
    label: str | None
    bbox: tuple[float, ...] | None
    suggested_label: str | None
    suggested_bbox: tuple[float, ...] | None
    detection_score: float | None
