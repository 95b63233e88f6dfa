"""The report's sections on results: the numbers that matter, classes, counts."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from foveal.evaluation.story import bias_in_words, cautions, overview
from foveal.reports.parts import Bar, Chart, Charts, Folded, Number, Numbers, Part, Section, Table
from foveal.text import UNDEFINED, decimal, percent, plain_number
from foveal.visualization import charts

if TYPE_CHECKING:
    from foveal.evaluation.results import ClassResult, Counts, Evaluation, Interval

MOST_CLASSES = 8
"""So many classes at most have a curve or chart of their own."""

_COCO_NAMES = {
    "ap": ("AP", "mean over the overlaps 0.50 to 0.95"),
    "ap50": ("AP50", "a box counts from an overlap (IoU) of 0.50"),
    "ap75": ("AP75", "a box counts from an overlap of 0.75"),
    "ap_small": ("AP small", "objects under 32 x 32 px"),
    "ap_medium": ("AP medium", "objects from 32 x 32 to 96 x 96 px"),
    "ap_large": ("AP large", "objects over 96 x 96 px"),
    "ar_1": ("AR 1", "recall with one detection an image"),
    "ar_10": ("AR 10", "recall with at most 10"),
    "ar_100": ("AR 100", "recall with at most 100"),
    "ar_small": ("AR small", "recall of objects under 32 x 32 px"),
    "ar_medium": ("AR medium", "recall of those up to 96 x 96 px"),
    "ar_large": ("AR large", "recall of those over 96 x 96 px"),
    "ar_max": ("AR max", "recall with as many detections an image as were asked for"),
}


def summary_section(evaluation: Evaluation) -> Section:
    """The numbers that matter, in words."""
    counts = evaluation.counts
    numbers = [
        Number(
            "Found",
            percent(evaluation.recall),
            "recall",
            "Of the objects that are there, this share was found.",
        ),
        Number(
            "Right",
            percent(evaluation.precision),
            "precision",
            "Of the detections, this share is an object of the stated class.",
        ),
        Number(
            "AP50",
            decimal(evaluation.ap50),
            _range(evaluation.ap50_interval),
            "Quality over all score thresholds; a box may be off by a good deal. 1 is perfect.",
        ),
        Number(
            "AP",
            decimal(evaluation.ap),
            _range(evaluation.ap_interval),
            "The same, where boxes must also fit tightly: COCO's main number.",
        ),
        Number(
            "Count error",
            plain_number(counts.mean_absolute_error),
            f"objects an image, {percent(counts.relative_error)} of the true number",
            bias_in_words(counts),
        ),
    ]
    parts: list[Part] = [overview(evaluation), Numbers(numbers), *cautions(evaluation)]
    return Section("Summary", parts)


def classes_section(evaluation: Evaluation) -> Section | None:
    """One row a class."""
    if not evaluation.per_class:
        return None
    columns = ("class", "objects", "images", "AP50", "AP", "found", "right", "F1", "count error")
    rows = [
        (
            one.name,
            f"{one.objects:,}",
            f"{one.images:,}",
            _bar(one.coco.ap50, one.ap50_interval),
            _bar(one.coco.ap, one.ap_interval),
            percent(one.recall),
            percent(one.precision),
            decimal(one.f1, 2),
            plain_number(one.counts.mean_absolute_error),
        )
        for one in evaluation.per_class
    ]
    caption = (
        "The marks on the bars are intervals: 95% of the values lie there when the images are "
        "drawn anew. "
        f"Found, right, F1 and the count error (objects an image) are those at the score threshold "
        f"{evaluation.score_threshold:.2f}."
    )
    return Section("Classes", [Table(columns, rows, caption)])


def counting_section(evaluation: Evaluation) -> Section | None:
    """Predicted against true numbers."""
    if not evaluation.images:
        return None
    groups: list[tuple[str, Counts]] = [("all", evaluation.counts)]
    if len(evaluation.per_class) > 1:
        groups += [(one.name, one.counts) for one in evaluation.per_class]
    columns = (
        "class",
        "true",
        "predicted",
        "bias an image",
        "mean error an image",
        "95% interval",
        "relative error",
        "R²",
    )
    rows = [
        (
            name,
            f"{int(counts.true.sum()):,}",
            f"{int(counts.predicted.sum()):,}",
            plain_number(counts.bias, signed=True),
            plain_number(counts.mean_absolute_error),
            between(counts.mean_absolute_error_interval, places=2),
            percent(counts.relative_error, 1),
            decimal(counts.r2, 2),
        )
        for name, counts in groups
    ]
    shown = [("all", evaluation.counts)]
    if len(evaluation.per_class) > 1:
        largest = largest_classes(evaluation, count=MOST_CLASSES - 1)
        shown += [(one.name, one.counts) for _, one in largest]
    drawn = [
        Chart(name, charts.draw_counts(counts.true, counts.predicted), size="small")
        for name, counts in shown
    ]
    text = (
        "Each dot is an image (a larger dot: several); on the dashed line the number is exact. "
        "A bias above zero means that too many are counted."
    )
    return Section("Counting", [text, Charts(drawn), Table(columns, rows)])


def numbers_section(evaluation: Evaluation) -> Section:
    """COCO's and Pascal VOC's numbers, all classes and each."""
    names = [one.name for one in fields(evaluation.coco)]
    rows = [
        (_COCO_NAMES[name][0], _COCO_NAMES[name][1], decimal(getattr(evaluation.coco, name)))
        for name in names
    ]
    rows += [
        ("VOC 2007", "AP at an overlap of 0.50 by 11 points", decimal(evaluation.voc2007)),
        ("VOC 2012", "AP at an overlap of 0.50 by the area", decimal(evaluation.voc2012)),
    ]
    per_class = [
        (
            one.name,
            *(decimal(getattr(one.coco, name)) for name in names),
            decimal(one.voc2007),
            decimal(one.voc2012),
        )
        for one in evaluation.per_class
    ]
    headings = ("class", *(_COCO_NAMES[name][0] for name in names), "VOC 2007", "VOC 2012")
    parts: list[Part] = [
        f"At most {evaluation.max_detections} detections an image; a dash: there are no such "
        "objects.",
        Table(("number", "meaning", "value"), rows, text_columns=2),
        Folded("Each class", Table(headings, per_class)),
    ]
    return Section("All numbers", parts)


def settings_section(settings: str) -> Section | None:
    """The settings as text."""
    return Section("Settings", [Folded("Show all settings", settings)]) if settings else None


def _bar(value: float, interval: Interval) -> Bar:
    return Bar(decimal(value), value, interval.low, interval.high)


def _range(interval: Interval) -> str:
    words = between(interval)
    return words if words == UNDEFINED else f"{words} (95% interval)"


def between(interval: Interval, *, places: int = 3) -> str:
    """Where the interval begins and ends."""
    if interval.low != interval.low or interval.high != interval.high:
        return UNDEFINED
    return f"{interval.low:.{places}f} to {interval.high:.{places}f}"


def largest_classes(evaluation: Evaluation, *, count: int) -> list[tuple[int, ClassResult]]:
    """The classes with the most objects, in the classes' order."""
    numbered = list(enumerate(evaluation.per_class))
    chosen = sorted(numbered, key=lambda pair: -pair[1].objects)[:count]
    return sorted(chosen, key=lambda pair: pair[0])
