"""The report's sections on where a model comes from: training, data, anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.data.statistics import Statistics, measure_dataset
from foveal.reports.parts import Bar, Chart, Charts, Part, Section, Table
from foveal.text import UNDEFINED, counted, decimal, duration, percent, sentence
from foveal.visualization import charts

if TYPE_CHECKING:
    from foveal.data.dataset import Dataset
    from foveal.tuning.anchor_fitting import AnchorFit
    from foveal.tuning.anchor_metrics import GroupQuality

_MAX_POINTS = 300
_VALIDATION = ("AP", "AP50", "AP75")


def training_section(history: Sequence[Mapping[str, Any]]) -> Section | None:
    """Losses, validation and learning rate, from the lines of `metrics.jsonl`."""
    epochs = [row for row in history if row.get("kind") == "epoch"]
    steps = [row for row in history if row.get("kind") == "step"]
    shown: list[Chart] = []
    rows, x = (epochs, "epoch") if len(epochs) > 2 else (steps, "step")
    losses = [
        line
        for label, name in enumerate(("classification", "box", "distillation"))
        if (line := _line(rows, x, name, label=label)) is not None
    ]
    validated = [
        {"epoch": row.get("epoch"), **row["validation"]} for row in epochs if row.get("validation")
    ]
    measured = _line(validated, "epoch", "validation_loss", label=len(losses))
    if losses and x == "epoch" and measured is not None:
        losses.append(measured)
    if losses:
        caption = f"Means over each {x}." if x == "epoch" else ""
        shown.append(Chart("Losses", charts.draw_history(losses, x=x, y="loss"), caption))
    quality = [
        line
        for label, name in enumerate(_VALIDATION)
        if (line := _line(validated, "epoch", name, label=label)) is not None
    ]
    if quality:
        best = [row["epoch"] for row in epochs if row.get("best")]
        drawn = charts.draw_history(
            quality, x="epoch", y="on validation images", best=best[-1] if best else None
        )
        shown.append(
            Chart("Validation", drawn, "The dashed line marks the epoch with the best weights.")
        )
    rows, x = (steps, "step") if steps else (epochs, "epoch")
    rate = _line(rows, x, "learning_rate", label=None)
    if rate is not None:
        drawn = charts.draw_history([rate], x=x, y="learning rate")
        shown.append(Chart("Learning rate", drawn))
    if not shown:
        return None
    endings = [row for row in history if row.get("kind") == "end"]
    return Section("Training", [_training_story(epochs, endings), Charts(shown)])


def data_section(datasets: Mapping[str, Dataset | None]) -> Section | None:
    """What the data sets hold: images, objects by class, sizes.

    Args:
        datasets: by what they were used for; None is left out.
    """
    given = {
        use: measure_dataset(dataset) for use, dataset in datasets.items() if dataset is not None
    }
    if not given:
        return None
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
    rows = [_data_row(use, one) for use, one in given.items()]
    counts = {use: {each.name: each for each in one.classes} for use, one in given.items()}
    names = list(dict.fromkeys(name for known in counts.values() for name in known))
    headings = ["class", *(f"{what} {use}" for use in given for what in ("objects", "images"))]
    classes = [
        [name]
        + [
            f"{getattr(known[name], what):,}" if name in known else UNDEFINED
            for known in counts.values()
            for what in ("objects", "images")
        ]
        for name in names
    ]
    caption = (
        "An object's size is the square root of its box's area: the median and, in brackets, the "
        "range of nine tenths."
    )
    return Section("Data", [Table(columns, rows, caption), Table(headings, classes)])


def anchors_section(fit: AnchorFit | None) -> Section | None:
    """How well anchors reach the objects, by class and size, before and after the search."""
    if fit is None or not fit.chosen.quality.total.objects:
        return None
    from foveal.tuning.anchor_chart import draw_shapes

    options = [fit.chosen] if fit.chosen is fit.default else [fit.chosen, fit.default]
    columns = ["objects", "number"]
    for option in options:
        columns += [f"reached, {option.name}", f"mean overlap, {option.name}"]

    def row(groups: Sequence[GroupQuality]) -> list[str | Bar]:
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
    chart = Chart(
        "Objects and anchors",
        draw_shapes(fit),
        "Widths and heights at the network's input.",
    )
    parts: list[Part] = [
        text,
        sentence(fit.text),
        Table(columns, rows),
        Charts([chart]),
    ]
    return Section("Anchors", parts)


def _training_story(
    epochs: Sequence[Mapping[str, Any]], endings: Sequence[Mapping[str, Any]]
) -> str:
    """How long it took, which epoch was best, what was lost and why it ended."""
    why = f" {endings[-1].get('text') or ''}".rstrip() if endings else ""
    if not epochs:
        return f"The run did not finish an epoch.{why}"
    seconds = sum(float(row.get("seconds") or 0) for row in epochs)
    text = counted(len(epochs), "epoch") + (f" in {duration(seconds)}" if seconds else "")
    best = [row["epoch"] for row in epochs if row.get("best")]
    text += f"; the weights of epoch {best[-1]} were best." if best else "."
    lost = sum(int(row.get("nonfinite_steps") or 0) for row in epochs)
    if lost:
        text += f" The loss was not finite in {counted(lost, 'step')}, which were left out."
    return text + why


def _line(
    rows: Sequence[Mapping[str, Any]], x: str, y: str, *, label: int | None
) -> charts.Line | None:
    """A value of `metrics.jsonl`; of many steps the means of as many stretches as can be drawn."""
    pairs = [
        (float(row[x]), float(row[y]))
        for row in rows
        if isinstance(row.get(x), int | float) and isinstance(row.get(y), int | float)
    ]
    if not pairs:
        return None
    points = np.asarray(pairs, float)
    if len(points) > _MAX_POINTS:
        points = np.stack([part.mean(axis=0) for part in np.array_split(points, _MAX_POINTS)])
    return charts.Line(y.replace("_", " "), points[:, 0], points[:, 1], label)


def _data_row(use: str, one: Statistics) -> tuple[str, ...]:
    sizes = one.image_sizes
    shown = f"{sizes[0][0]} x {sizes[0][1]}" if sizes and sizes[0][0] else UNDEFINED
    return (
        f"{use}: {Path(one.name).name}" if one.name else use,
        f"{one.images:,}",
        f"{one.without_objects:,}",
        f"{one.objects:,}",
        f"{one.ignored:,}",
        f"{one.objects_per_image:.1f} (most {one.most_objects:,})",
        shown + (f" and {len(sizes) - 1} other" if len(sizes) > 1 else ""),
        f"{one.sides[2]:.0f} ({one.sides[0]:.0f} to {one.sides[-1]:.0f})"
        if one.sides
        else UNDEFINED,
    )
