"""The report's sections on where a model comes from: training, data, anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from foveal.drawing import curves
from foveal.drawing.report import Bar, Chart, Part, Section, Table
from foveal.reporting.words import decimal, percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from foveal.data.dataset import Dataset

_MOST_POINTS = 300
_VALIDATION = ("AP", "AP50", "AP75")


class GroupLike(Protocol):
    """How well anchors fit one group of objects."""

    @property
    def name(self) -> str:
        """The class or range of sizes."""

    @property
    def objects(self) -> int:
        """How many."""

    @property
    def recall(self) -> float:
        """Share with an anchor that overlaps enough, NaN where there are no objects."""

    @property
    def mean_iou(self) -> float:
        """Mean best overlap."""


class QualityLike(Protocol):
    """How well anchors fit objects."""

    @property
    def total(self) -> GroupLike:
        """All objects."""

    @property
    def by_class(self) -> Sequence[GroupLike]:
        """One group a class."""

    @property
    def by_size(self) -> Sequence[GroupLike]:
        """One group a range of sizes."""


class OptionLike(Protocol):
    """Anchors and how well they fit."""

    @property
    def name(self) -> str:
        """What they are called."""

    @property
    def quality(self) -> QualityLike:
        """How well they fit."""


class AnchorFitLike(Protocol):
    """What was found about anchors, as `foveal.tuning.anchors.AnchorFit` holds it."""

    @property
    def text(self) -> str:
        """The choice in one line."""

    @property
    def chosen(self) -> OptionLike:
        """What training uses."""

    @property
    def default(self) -> OptionLike:
        """What it would use without a search."""


def training_section(history: Sequence[Mapping[str, Any]]) -> Section | None:
    """Losses, validation and learning rate, from the lines of `metrics.jsonl`."""
    epochs = [row for row in history if row.get("kind") == "epoch"]
    steps = [row for row in history if row.get("kind") == "step"]
    charts: list[Chart] = []
    rows, x = (epochs, "epoch") if len(epochs) > 2 else (steps, "step")
    losses = [
        line
        for label, name in enumerate(("classification", "box"))
        if (line := _line(rows, x, name, label=label)) is not None
    ]
    if losses:
        caption = f"Means over each {x}." if x == "epoch" else ""
        charts.append(Chart("Losses", curves.draw_history(losses, x=x, y="loss"), caption))
    validated = [
        {"epoch": row.get("epoch"), **row["validation"]} for row in epochs if row.get("validation")
    ]
    quality = [
        line
        for label, name in enumerate(_VALIDATION)
        if (line := _line(validated, "epoch", name, label=label)) is not None
    ]
    if quality:
        best = [row["epoch"] for row in epochs if row.get("best")]
        drawn = curves.draw_history(
            quality, x="epoch", y="on validation images", best=best[-1] if best else None
        )
        charts.append(Chart("Validation", drawn, "The dashed line marks the epoch that was kept."))
    rows, x = (steps, "step") if steps else (epochs, "epoch")
    rate = _line(rows, x, "learning_rate", label=None)
    if rate is not None:
        drawn = curves.draw_history([rate], x=x, y="learning rate")
        charts.append(Chart("Learning rate", drawn))
    if not charts:
        return None
    return Section("Training", [_training_story(epochs), charts])


def data_section(datasets: Mapping[str, Dataset | None]) -> Section | None:
    """What the data sets hold: images, objects by class, sizes.

    Args:
        datasets: by what they were used for; None is left out.
    """
    given = {use: dataset for use, dataset in datasets.items() if dataset is not None}
    if not given:
        return None
    general = [_data_row(use, dataset) for use, dataset in given.items()]
    columns = (
        "data set",
        "images",
        "without objects",
        "objects",
        "to ignore",
        "objects an image",
        "image sides, px",
        "object size, px",
    )
    names = list(dict.fromkeys(name for dataset in given.values() for name in dataset.classes))
    counts = {use: _class_counts(dataset) for use, dataset in given.items()}
    classes = Table(
        ("class", *(f"objects {use}" for use in given)),
        [(name, *(f"{counts[use].get(name, 0):,}" for use in given)) for name in names],
    )
    caption = (
        "Median and, in brackets, the range of nine tenths. An object's size is the square root "
        "of its box's area."
    )
    return Section("Data", [Table(columns, general, caption), classes])


def anchors_section(fit: AnchorFitLike | None) -> Section | None:
    """How well anchors reach the objects, by class and size, before and after the search."""
    if fit is None or not fit.chosen.quality.total.objects:
        return None
    options = [fit.chosen] if fit.chosen is fit.default else [fit.chosen, fit.default]
    columns = ["objects", "number"]
    for option in options:
        columns += [f"reached, {option.name}", f"mean overlap, {option.name}"]

    def row(groups: Sequence[GroupLike]) -> list[str | Bar]:
        cells: list[str | Bar] = [groups[0].name, f"{groups[0].objects:,}"]
        for group in groups:
            cells.append(Bar(percent(group.recall, 1), group.recall))
            cells.append(decimal(group.mean_iou, 2))
        return cells

    qualities = [option.quality for option in options]
    rows = [row([quality.total for quality in qualities])]
    for kind in ("by_class", "by_size"):
        groups = [getattr(quality, kind) for quality in qualities]
        rows += [row(members) for members in zip(*groups, strict=True) if members[0].objects]
    text = (
        "Anchors are the boxes from which the network starts. It learns an object well when an "
        "anchor overlaps it by half; objects that no anchor reaches are often missed."
    )
    parts: list[Part] = [text, fit.text[:1].upper() + fit.text[1:] + ".", Table(columns, rows)]
    return Section("Anchors", parts)


def _training_story(epochs: Sequence[Mapping[str, Any]]) -> str:
    if not epochs:
        return "The run did not finish an epoch."
    seconds = sum(float(row.get("seconds") or 0) for row in epochs)
    text = f"{len(epochs)} epochs" + (f" in {_duration(seconds)}" if seconds else "")
    best = [row["epoch"] for row in epochs if row.get("best")]
    return text + (f"; the weights of epoch {best[-1]} were best." if best else ".")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _line(
    rows: Sequence[Mapping[str, Any]], x: str, y: str, *, label: int | None
) -> curves.Line | None:
    """A value of the journal; of many steps the means of as many stretches as can be drawn."""
    pairs = [
        (float(row[x]), float(row[y]))
        for row in rows
        if isinstance(row.get(x), int | float) and isinstance(row.get(y), int | float)
    ]
    if not pairs:
        return None
    points = np.asarray(pairs, float)
    if len(points) > _MOST_POINTS:
        points = np.stack([part.mean(axis=0) for part in np.array_split(points, _MOST_POINTS)])
    return curves.Line(y.replace("_", " "), points[:, 0], points[:, 1], label)


def _data_row(use: str, dataset: Dataset) -> tuple[str, ...]:
    per_image = np.asarray([int((~record.ignored).sum()) for record in dataset], float)
    ignored = sum(int(record.ignored.sum()) for record in dataset)
    boxes = np.concatenate(
        [record.boxes[~record.ignored] for record in dataset] or [np.zeros((0, 4), np.float32)]
    )
    sides = np.sqrt(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1))
    name = f"{use}: {Path(dataset.name).name}" if dataset.name else use
    return (
        name,
        f"{len(dataset):,}",
        f"{int((per_image == 0).sum()):,}",
        f"{len(boxes):,}",
        f"{ignored:,}",
        _spread(per_image),
        _image_sides(dataset),
        _spread(sides),
    )


def _image_sides(dataset: Dataset) -> str:
    known = {(record.width, record.height) for record in dataset if record.width}
    if not known:
        return "–"
    if len(known) == 1:
        width, height = known.pop()
        return f"{width} x {height}"
    smallest, largest = (order(known, key=lambda size: size[0] * size[1]) for order in (min, max))
    return f"{smallest[0]} x {smallest[1]} to {largest[0]} x {largest[1]}"


def _spread(values: NDArray[Any]) -> str:
    if not len(values):
        return "–"
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def _class_counts(dataset: Dataset) -> dict[str, int]:
    labels = [record.labels[~record.ignored] for record in dataset] or [np.zeros(0, np.int64)]
    numbers = np.bincount(np.concatenate(labels), minlength=len(dataset.classes))
    return {name: int(number) for name, number in zip(dataset.classes, numbers, strict=True)}
