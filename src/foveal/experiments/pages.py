"""The reports of experiments, each one page that leads to the reports of its runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.data.transforms.preparation import make_pixel_range
from foveal.experiments.cross_validation import describe_folds
from foveal.experiments.parts import number
from foveal.reports.errors import pictures_section
from foveal.reports.evaluation import make_report
from foveal.reports.html import write_report
from foveal.reports.parts import (
    Bar,
    Chart,
    Charts,
    Link,
    Number,
    Numbers,
    Report,
    Section,
    Table,
)
from foveal.text import UNDEFINED, between, counted, decimal
from foveal.visualization import charts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from foveal.data.dataset import Dataset
    from foveal.experiments.cross_validation import CrossValidation, Fold
    from foveal.experiments.fractions import Fractions

_PICTURES = 12


def write_folds_page(path: Path, result: CrossValidation, data: Dataset) -> None:
    """Write the report of a cross-validation: its folds, then all out-of-fold detections.

    Args:
        path: of the HTML file, in the folder of all runs.
        result: what the folds say.
        data: all images.

    Raises:
        FovealError: the file can't be written.
    """
    settings = result.detector.settings
    whole = make_report(
        result.evaluation,
        dataset=data,
        training=None,
        model=f"the {settings.model.backbone} RetinaNet, in {len(result.folds)} folds,",
        settings="",
        history=(),
        anchors=None,
        hardest=pictures_section(
            result.evaluation,
            data,
            limit=_PICTURES,
            pixel_range=make_pixel_range(settings.model, settings.preparation),
        ),
    )
    summary, *others = whole.sections
    sections = [_folds_section(result), replace(summary, title="All folds together"), *others]
    write_report(path, replace(whole, sections=sections))


def write_fractions_page(path: Path, result: Fractions) -> None:
    """Write the report of a learning curve.

    Args:
        path: of the HTML file, in the folder of all runs.
        result: what the fractions say.

    Raises:
        FovealError: the file can't be written.
    """
    from foveal import __version__

    curve = result.curve
    chart = Chart(
        "AP by how many images were learned from",
        charts.draw_learning_curve(
            curve.images,
            curve.aps,
            [(ends.low, ends.high) for ends in curve.intervals],
            line=None if curve.forecast is None else curve.forecast.line,
        ),
        "The lines through the points are 95% intervals when the validation images are drawn anew. "
        + (
            ""
            if curve.forecast is None
            else "The curve is a power law fitted to the points, dashed where it is a guess; the "
            "band is its 95% interval."
        ),
        size="wide",
    )
    runs = Table(
        ("run", "fraction", "images", "AP", "AP50", "score threshold"),
        [
            (
                _run_cell(result.folder, one.run),
                f"{one.fraction:g}",
                f"{len(one.images):,}",
                _bar(one.metrics, "AP"),
                _bar(one.metrics, "AP50"),
                decimal(min(1.0, number(one.metrics, "score_threshold")), 2),
            )
            for one in result.fractions
        ],
        "The runs' names lead to their reports. Each fraction holds the smaller ones.",
    )
    classes = Table(
        ("class", "objects to measure on", *(f"AP, {one.run}" for one in result.fractions)),
        [
            (
                name,
                f"{result.fractions[-1].metrics['per_class'][name]['objects']:,}",
                *(
                    decimal(number(one.metrics["per_class"][name], "AP"))
                    for one in result.fractions
                ),
            )
            for name in result.classes
        ],
        "AP of each class.",
    )
    how = (
        f"All runs are measured on the same {counted(result.validation, 'validation image')}, by "
        "which each chooses its best epoch, as a training alone does. " + result.length
    )
    write_report(
        path,
        Report(
            title=f"What more images bring: {Path(result.name).name or 'a learning curve'}",
            subtitle=f"{counted(curve.images[-1], 'image')} to learn from at most, "
            f"{counted(len(result.classes), 'class')}",
            sections=[
                Section("Learning curve", [*curve.describe(), Charts([chart]), runs, how]),
                Section("Classes", [classes]),
            ],
            footer=f"Made by foveal {__version__}.",
        ),
    )


def _folds_section(result: CrossValidation) -> Section:
    whole = result.evaluation
    mean, deviation = result.spread("AP")
    mean50, deviation50 = result.spread("AP50")
    numbers = Numbers(
        [
            Number(
                "AP, mean of the folds",
                decimal(mean),
                f"± {decimal(deviation)}, standard deviation",
                "How good a model is on images that it did not learn from, and how much that "
                "depends on which images it learned from.",
            ),
            Number(
                "AP, all folds together",
                decimal(whole.ap),
                f"{between(whole.ap_interval.low, whole.ap_interval.high)}, 95 % interval",
                "All detections at once, each by the model that did not learn from its image.",
            ),
            Number(
                "AP50, mean of the folds",
                decimal(mean50),
                f"± {decimal(deviation50)}, standard deviation",
                "The same, where a box counts from an overlap of one half.",
            ),
            Number(
                "Score threshold",
                decimal(min(1.0, whole.score_threshold), 2),
                "of the best F1, all folds together",
                "The model of all images has it.",
            ),
        ]
    )
    runs = Table(
        ("run", "images", "objects", "AP", "AP50", "score threshold"),
        [_fold_row(result.folder, fold) for fold in result.folds],
        "Each run learned from all images but these. The marks on the bars are 95% intervals when "
        "the images are drawn anew; the runs' names lead to their reports.",
    )
    names = [fold.run for fold in result.folds]
    classes = Table(
        ("class", "objects", "AP, all together", "mean", "deviation", *names),
        [
            (
                one.name,
                f"{one.objects:,}",
                Bar(decimal(one.coco.ap), one.coco.ap, one.ap_interval.low, one.ap_interval.high),
                *(decimal(value) for value in result.spread("AP", one.name)),
                *(
                    decimal(number(fold.metrics["per_class"][one.name], "AP"))
                    for fold in result.folds
                ),
            )
            for one in whole.per_class
        ],
        "AP of each class.",
    )
    return Section(
        "Folds",
        [
            *describe_folds(result),
            numbers,
            runs,
            classes,
            "Every run kept its last epoch, so no fold chose what it measures. The model to use "
            f"learned from all {counted(whole.images, 'image')} in the same way; it has learned "
            "from more images than any fold's, so it may be a little better than these numbers. "
            "Scores of different models are not quite the same measure: AP of all folds together "
            "may lie a little below the mean of the folds.",
        ],
    )


def _fold_row(folder: Path, fold: Fold) -> tuple[str | Bar | Link, ...]:
    metrics = fold.metrics
    return (
        _run_cell(folder, fold.run),
        f"{metrics['images']:,}",
        f"{metrics['objects']:,}",
        _bar(metrics, "AP"),
        _bar(metrics, "AP50"),
        decimal(min(1.0, number(metrics, "score_threshold")), 2),
    )


def _run_cell(folder: Path, run: str) -> str | Link:
    """The run's name, which leads to its report where there is one."""
    report = folder / run / "report.html"
    return Link(run, f"{run}/report.html") if report.is_file() else run


def _bar(metrics: Mapping[str, Any], name: str) -> Bar:
    value = number(metrics, name)
    low, high = (float("nan") if end is None else end for end in metrics[f"{name}_interval"])
    return Bar(decimal(value) if value == value else UNDEFINED, value, low, high)
