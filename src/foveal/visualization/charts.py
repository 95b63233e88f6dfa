"""Curves and charts as SVG text, in one clean style: for the report, or to be saved as a file.

Text stays text (it can be searched and copied) and every function gives one complete `<svg>`
element without outside references. NaN means undefined and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.visualization.svg import (
    ACCENT,
    GRID,
    INK,
    LINE_COLORS,
    MUTED,
    Position,
    bars,
    legend,
    new_axes,
    plain,
    to_svg,
    whole_numbers,
)

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import ArrayLike, NDArray

_MAX_WRITTEN_CELLS = 15
_MAX_NAMED_CELLS = 40
_HISTOGRAM_BINS = 30
_WIDE_RANGE = 20
"""Times the least value from which on an axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Line:
    """One named curve.

    Attributes:
        name: what the legend says.
        x, y: [N] the points; NaN interrupts the line.
        label: the class whose color it has; None for the ink's color, a mean for example.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    label: int | None = None


def draw_precision_recall(lines: Sequence[Line]) -> Markup:
    """Precision (y) over recall (x), one line a class, both in 0..1."""
    axes = new_axes(
        4.3, 3.5, x="recall: part of the objects found", y="precision: part that is right"
    )
    _unit(axes)
    _draw_lines(axes, lines)
    legend(axes, where="below")
    return to_svg(axes)


def draw_f1(lines: Sequence[Line], *, score_threshold: float) -> Markup:
    """F1 (y) over the score threshold (x), one line a class; the chosen threshold is marked."""
    axes = new_axes(4.3, 3.5, x="score threshold", y="F1")
    _unit(axes)
    _draw_lines(axes, lines)
    _mark(axes, score_threshold, f"chosen: {score_threshold:.2f}")
    legend(axes, where="below")
    return to_svg(axes)


def draw_calibration(
    mean_scores: NDArray[np.float64],
    precisions: NDArray[np.float64],
    numbers: NDArray[np.int64],
) -> Markup:
    """Precision of the detections (y) over their score (x), with how many there are in each bin.

    Args:
        mean_scores: [bins] in 0..1, NaN where a bin is empty.
        precisions: [bins] in 0..1, NaN where a bin is empty.
        numbers: [bins] how many detections.
    """
    axes = new_axes(4.3, 3.5, x="score", y="precision: part that is right")
    _unit(axes)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="ideal")
    known = np.isfinite(mean_scores) & np.isfinite(precisions)
    if known.any():
        areas = 20 + 180 * np.sqrt(numbers[known] / numbers[known].max())
        axes.plot(mean_scores[known], precisions[known], color=ACCENT, linewidth=1.6)
        axes.scatter(
            mean_scores[known],
            precisions[known],
            s=areas,
            color=ACCENT,
            alpha=0.75,
            linewidths=0,
            zorder=3,
            label="detections (larger dot: more)",
        )
    legend(axes, where="upper left")
    return to_svg(axes)


def draw_counts(true: NDArray[np.int64], predicted: NDArray[np.int64]) -> Markup:
    """Predicted (y) against true (x) number of objects, one dot an image.

    Where several images coincide the dot is larger.

    Args:
        true: [I] objects in each image.
        predicted: [I] detections in each image.
    """
    axes = new_axes(3.1, 3.1, x="true number", y="predicted number")
    pairs, many = np.unique(
        np.stack([true, predicted], axis=1).reshape(-1, 2), axis=0, return_counts=True
    )
    top = max(1.0, float(pairs.max(initial=0))) * 1.06
    axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.scatter(
        pairs[:, 0],
        pairs[:, 1],
        s=20 * np.sqrt(many),
        color=ACCENT,
        alpha=0.6,
        linewidths=0,
        zorder=3,
    )
    axes.set_xlim(-0.03 * top, top)
    axes.set_ylim(-0.03 * top, top)
    axes.set_aspect("equal")
    whole_numbers(axes)
    return to_svg(axes)


def draw_confusion(names: Sequence[str], matrix: NDArray[np.int64]) -> Markup:
    """Which class (row) is taken for which (column); colors are fractions of the row.

    Args:
        names: [M] the classes, the last one the background.
        matrix: [M, M] how many.
    """
    size = len(names)
    side = min(9.0, 1.8 + 0.55 * size)
    axes = new_axes(side + 0.4, side, x="predicted", y="true", grid=False)
    totals = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    fractions = np.where(matrix.sum(axis=1, keepdims=True) > 0, matrix / totals, 0.0)
    steps = np.arange(size + 1) - 0.5
    written = size <= _MAX_WRITTEN_CELLS
    for row, column in zip(*np.nonzero(fractions > (0 if written else 0.005)), strict=True):
        _draw_cell(axes, row, column, float(fractions[row, column]))
        if written:
            color = "#ffffff" if fractions[row, column] > 0.5 else INK
            number = f"{matrix[row, column]:,}"
            axes.text(column, row, number, ha="center", va="center", color=color, fontsize=9)
    if written:
        axes.set_xticks(steps, minor=True)
        axes.set_yticks(steps, minor=True)
        axes.grid(which="minor", color=GRID, linewidth=0.7)
    axes.set_xlim(steps[0], steps[-1])
    axes.set_ylim(steps[-1], steps[0])
    axes.set_aspect("equal")
    named = size <= _MAX_NAMED_CELLS
    shown = [plain(name, 18) for name in names] if named else []
    letters = 9 if written else 6.5
    positions = list(range(size)) if named else []
    axes.set_xticks(
        positions, shown, rotation=40, ha="right", rotation_mode="anchor", fontsize=letters
    )
    axes.set_yticks(positions, shown, fontsize=letters)
    axes.tick_params(which="both", length=0)
    return to_svg(axes)


def draw_error_costs(costs: Mapping[str, float]) -> Markup:
    """How much AP50 each type of error costs, as bars; values in 0..1."""
    axes = new_axes(4.3, 0.9 + 0.36 * max(1, len(costs)), x="AP50 lost", grid="x")
    bars(axes, list(costs), list(costs.values()), written="{:.3f}")
    return to_svg(axes)


def draw_by_size(names: Sequence[str], values: Sequence[float], objects: Sequence[int]) -> Markup:
    """AP of objects by their size, with how many there are; values in 0..1."""
    axes = new_axes(4.3, 0.9 + 0.4 * max(1, len(names)), x="AP", grid="x")
    rows = [f"{name}  ({count:,})" for name, count in zip(names, objects, strict=True)]
    bars(axes, rows, values, written="{:.3f}")
    axes.set_xlim(0, 1.08)
    return to_svg(axes)


_SMALL_DIFFERENCE = 0.01
"""The axis reaches so far at least, so that next to nothing looks like it."""


def draw_differences(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    *,
    x: str,
) -> Markup:
    """Differences of two detectors as dots with their intervals, and a line where there is none.

    Args:
        names: of the rows, the first on top.
        values: the differences; NaN leaves a row empty.
        intervals: low and high of each; NaN where there is none. Those that exclude 0 are drawn in
            the accent's color, the others muted.
        x: what the axis shows.
    """
    axes = new_axes(4.6, 0.9 + 0.34 * max(1, len(names)), x=x, grid="x")
    axes.axvline(0, color=INK, linewidth=1)
    for row, (value, (low, high)) in enumerate(zip(values, intervals, strict=True)):
        color = ACCENT if low > 0 or high < 0 else MUTED
        axes.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle="butt")
        axes.plot([value], [row], "o", color=color, markersize=5)
    ends = [abs(end) for pair in (*intervals, values) for end in pair if end == end]
    reach = max([*ends, _SMALL_DIFFERENCE]) * 1.1
    axes.set_xlim(-reach, reach)
    axes.locator_params(axis="x", nbins=5)  # labels such as -0.005 need their room
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return to_svg(axes)


def draw_learning_curve(
    images: Sequence[int],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    *,
    line: NDArray[np.float64] | None = None,
) -> Markup:
    """AP (y) over the number of images that were learned from (x, logarithmic).

    Args:
        images: how many, rising.
        values: AP; NaN leaves a point out.
        intervals: low and high of each; NaN where there is none.
        line: [P, 4] the fitted curve: images, AP, and the ends of its interval. It is dashed beyond
            the last point.
    """
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    axes = new_axes(6.6, 3.4, x="images to learn from", y="AP")
    axes.set_xscale("log")
    shown = list(images)
    if line is not None:
        x, fitted, low, high = line.T
        axes.fill_between(x, low, high, color=ACCENT, alpha=0.13, linewidth=0)
        inside = x <= images[-1]
        axes.plot(x[inside], fitted[inside], color=ACCENT, linewidth=1.4)
        axes.plot(x[~inside], fitted[~inside], color=ACCENT, linewidth=1.4, linestyle=(0, (4, 3)))
        shown.append(round(float(x[-1])))
    for number, value, (low, high) in zip(images, values, intervals, strict=True):
        axes.plot([number, number], [low, high], color=INK, linewidth=1.6)
        axes.plot([number], [value], "o", color=INK, markersize=5, zorder=3)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_ylim(bottom=0)
    return to_svg(axes)


def draw_history(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    logarithmic: bool = False,
    best: float | None = None,
    names: Position = "best",
) -> Markup:
    """What training did: any values (y) over epochs or steps (x).

    Args:
        lines: one for each value.
        x: name of the x axis.
        y: name of the y axis.
        logarithmic: whether y is.
        best: an x to mark.
        names: where the lines' names stand.
    """
    axes = new_axes(4.3, 3.0, x=x, y=y)
    _draw_lines(axes, lines)
    if logarithmic and any((np.asarray(line.y, float) > 0).any() for line in lines):
        axes.set_yscale("log")
    elif lines:
        axes.set_ylim(bottom=0)
    whole_numbers(axes, along="x")
    if best is not None:
        _mark(axes, best, "best")
    if len(lines) > 1:
        legend(axes, where=names)
    return to_svg(axes)


def draw_histogram(
    values: NDArray[np.floating], *, x: str, low: float | None = None, high: float | None = None
) -> Markup:
    """How many objects (y) have which value (x).

    Args:
        values: [N], finite. Positive ones that differ by far have a logarithmic axis.
        x: name of the x axis.
        low, high: where the axis begins and ends; by default at the values' own.
    """
    axes = new_axes(4.3, 3.0, x=x, y="objects")
    if len(values):
        first = float(values.min()) if low is None else low
        last = float(values.max()) if high is None else high
        if last <= first:
            first, last = first - 0.5 * abs(first or 1), first + 0.5 * abs(first or 1)
        logarithmic = low is None and first > 0 and last / first > _WIDE_RANGE
        spaced = np.geomspace if logarithmic else np.linspace
        counts, edges = np.histogram(values, spaced(first, last, _HISTOGRAM_BINS + 1))
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, edgecolor="none")
        if logarithmic:
            _plain_logarithmic(axes)
        axes.set_xlim(first, last)
    whole_numbers(axes, along="y")
    return to_svg(axes)


def draw_learning_rates(
    rates: NDArray[np.float64], losses: NDArray[np.float64], *, chosen: float | None
) -> Markup:
    """The learning-rate finder's curve: loss [n] (y) over learning rate [n] (x, logarithmic)."""
    axes = new_axes(5.2, 3.4, x="learning rate", y="loss")
    known = np.isfinite(losses) & (rates > 0)
    if known.any():
        axes.plot(rates[known], losses[known], color=ACCENT, linewidth=1.8)
        axes.set_xscale("log")
        low = float(losses[known].min())
        # The divergence at the end would flatten the part that matters.
        high = max(float(losses[known][0]), float(np.median(losses[known])))
        margin = 0.15 * (high - low) + 1e-6
        axes.set_ylim(low - margin, high + 2 * margin)
    if chosen is not None:
        _mark(axes, chosen, f"chosen: {chosen:.2g}")
    return to_svg(axes, alone=True)


def _plain_logarithmic(axes: Any) -> None:
    """A logarithmic x axis with numbers as people write them."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _draw_lines(axes: Any, lines: Sequence[Line]) -> None:
    for line in lines:
        mean = line.label is None
        x, y = np.asarray(line.x, float), np.asarray(line.y, float)
        if not len(x):
            continue
        axes.plot(
            x,
            y,
            color=INK if line.label is None else LINE_COLORS[line.label % len(LINE_COLORS)],
            linewidth=2.2 if mean else 1.6,
            label=plain(line.name),
            marker="o" if len(x) == 1 else None,
            zorder=3 if mean else 2,
        )


def _draw_cell(axes: Any, row: int, column: int, fraction: float) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.5, row - 0.5)
    axes.add_patch(
        Rectangle(corner, 1, 1, facecolor=ACCENT, alpha=0.1 + 0.9 * fraction, linewidth=0)
    )


def _unit(axes: Any) -> None:
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.02)


def _mark(axes: Any, x: float, text: str) -> None:
    axes.axvline(x, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        text,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=9,
        color=INK,
        annotation_clip=False,
    )
