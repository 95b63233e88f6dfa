"""The report's sections on results: the numbers that matter, classes, counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.evaluation.story import (
    benchmark_numbers,
    cautions,
    headlines,
    largest_classes,
    limit_of_coco,
    overview,
)
from foveal.reports.parts import Bar, Chart, Charts, Folded, Number, Numbers, Part, Section, Table
from foveal.text import between, decimal, percent, plain_number
from foveal.visualization import charts

if TYPE_CHECKING:
    from foveal.evaluation.results import Counts, Evaluation, Interval

MAX_CLASSES = 8
"""So many classes at most have a curve or chart of their own."""


def summary_section(evaluation: Evaluation) -> Section:
    """The numbers that matter, in words."""
    numbers = [
        Number(one.name, one.value, one.detail, one.meaning) for one in headlines(evaluation)
    ]
    parts: list[Part] = [overview(evaluation)]
    if numbers:
        parts.append(Numbers(numbers))
    return Section("Summary", [*parts, *cautions(evaluation)])


def classes_section(evaluation: Evaluation) -> Section | None:
    """One row a class."""
    if not evaluation.images or not evaluation.per_class:
        return None
    columns = (
        *("class", "objects", "images", "AP50", "AP", "found (recall)", "right (precision)"),
        *("F1", "count error"),
    )
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
        "drawn anew. Recall, precision, F1 and the count error (objects an image) are those at "
        f"the score threshold {evaluation.score_threshold:.2f}."
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
            _between(counts.mean_absolute_error_interval),
            percent(counts.relative_error, 1),
            decimal(counts.r2, 2),
        )
        for name, counts in groups
    ]
    shown = [("all", evaluation.counts)]
    if len(evaluation.per_class) > 1:
        largest = largest_classes(evaluation, count=MAX_CLASSES - 1)
        shown += [(one.name, one.counts) for _, one in largest]
    drawn = [
        Chart(name, charts.draw_counts(counts.true, counts.predicted), size="small")
        for name, counts in shown
    ]
    text = (
        "Each dot is an image (a larger dot: several); on the dashed line the number is exact. "
        "A bias above zero means that too many are counted."
    )
    caption = (
        "The relative error is the sum of all errors over the true number. R² is 1 where each "
        "number is exact, and below 0 where the mean true number would be nearer than the "
        "predicted ones."
    )
    hidden = len(groups) - len(shown)
    if hidden > 0:
        text += f" Of the classes those with the most objects are drawn, {hidden:,} others are not."
    return Section("Counting", [text, Charts(drawn), Table(columns, rows, caption)])


def numbers_section(evaluation: Evaluation) -> Section | None:
    """COCO's and Pascal VOC's numbers, all classes and each; without objects there are none."""
    if not evaluation.objects:
        return None
    limit = evaluation.max_detections
    numbers = benchmark_numbers(evaluation, max_detections=limit)
    rows = [(number.name, number.meaning, decimal(number.value)) for number in numbers]
    class_rows = [
        (
            one.name,
            *(decimal(number.value) for number in benchmark_numbers(one, max_detections=limit)),
        )
        for one in evaluation.per_class
    ]
    parts: list[Part] = [
        f"{limit_of_coco(evaluation)} A dash: there are no such objects.",
        Table(("number", "meaning", "value"), rows, text_columns=2),
        Folded("Each class", Table(("class", *(number.name for number in numbers)), class_rows)),
    ]
    return Section("All numbers", parts)


def settings_section(settings: str) -> Section | None:
    """The settings as text."""
    return Section("Settings", [Folded("Show all settings", settings)]) if settings else None


def _bar(value: float, interval: Interval) -> Bar:
    return Bar(decimal(value), value, interval.low, interval.high)


def _between(interval: Interval) -> str:
    return between(interval.low, interval.high, 2)
