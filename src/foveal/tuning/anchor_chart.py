"""One picture of a data set's objects against the anchors chosen for them."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.errors import DataError
from foveal.files import write_file
from foveal.text import counted, percent
from foveal.tuning.anchor_metrics import anchor_sides, best_ious
from foveal.visualization.colors import to_hex
from foveal.visualization.svg import GRID, INK, MUTED, new_axes, plain, to_svg

if TYPE_CHECKING:
    from pathlib import Path

    from markupsafe import Markup

    from foveal.tuning.anchor_fitting import AnchorFit

_LONGEST_TITLE = 100
MAX_DOTS = 6000
MAX_SVG_DOTS = 1000
"""Each dot is an element of the SVG."""
REACHED = to_hex((86, 180, 233))
MISSED = to_hex((213, 94, 0))
BARS = ("#c9ced6", "#e69f00", "#0072b2")
ENDINGS = (".svg", ".png", ".pdf")


def draw_anchors(fit: AnchorFit, path: Path, *, title: str = "") -> None:
    """Write a picture of boxes against anchors, and of the recall by size.

    Args:
        fit: what was found.
        path: its ending says the format: .svg, .png or .pdf.
        title: stands above the picture.

    Raises:
        DataError: another ending, or the file can't be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    check_ending(path)
    style: Any = {"font.family": "DejaVu Sans", "font.size": 9, "svg.fonttype": "none"}
    with rc_context({**style, "svg.hashsalt": "foveal"}), warnings.catch_warnings():
        # A name may have letters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = Figure(figsize=(10.5, 5.4), layout="constrained", facecolor="white")
        shapes, recall = figure.subplots(1, 2, width_ratios=(1.35, 1))
        if title:
            figure.suptitle(plain(title, _LONGEST_TITLE), x=0.01, ha="left", color=INK, fontsize=12)
        _draw_shapes(shapes, fit, max_dots=MAX_DOTS, rasterized=True)
        _draw_recall(recall, fit)
        content = BytesIO()
        figure.savefig(content, format=path.suffix[1:], dpi=130, metadata=_undated(path))
    write_file(path, content.getvalue(), error=DataError)


def draw_shapes(fit: AnchorFit) -> Markup:
    """Each object a dot at its width and height, each anchor near them a mark, as SVG.

    There must be at least one object.
    """
    axes = new_axes(4.6, 4.4)
    _draw_shapes(axes, fit, max_dots=MAX_SVG_DOTS, rasterized=False)
    axes.get_legend().set_frame_on(False)  # pyrefly: ignore[missing-attribute]
    return to_svg(axes)


def check_ending(path: Path) -> None:
    """Whether a picture can be written under this name.

    Raises:
        DataError: its ending is none of ENDINGS.
    """
    if path.suffix.lower() not in ENDINGS:
        raise DataError(f"{path}: expected a picture's name ending in {', '.join(ENDINGS)}.")


def _undated(path: Path) -> dict[str, Any]:
    """Leave the date out, so that the same data gives the same file."""
    dates: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    return dates.get(path.suffix.lower(), {})


def _draw_shapes(axes: Any, fit: AnchorFit, *, max_dots: int, rasterized: bool) -> None:
    """Each object a dot at its width and height, each anchor near them a mark."""
    _plain_axes(axes)
    sides = fit.objects.sides
    best = best_ious(fit.objects, fit.settings).max(axis=(1, 2), initial=0.0)
    reached = best >= fit.foreground_iou
    dots = np.arange(len(sides))
    if len(dots) > max_dots:
        dots = np.sort(np.random.default_rng(0).choice(dots, max_dots, replace=False))
    for members, color, name in ((reached, REACHED, "reached"), (~reached, MISSED, "not reached")):
        chosen = dots[members[dots]]
        fraction = percent(float(members.mean()), 1) if len(members) else "none"
        axes.scatter(
            *sides[chosen].T, s=7, color=color, alpha=0.45, linewidths=0, rasterized=rasterized,
            label=f"objects {name}: {fraction}",
        )  # fmt: skip
    given = anchor_sides(fit.default.settings).reshape(-1, 2)
    if fit.chosen is not fit.default:
        axes.scatter(
            *given.T, s=22, marker="x", color=MUTED, linewidths=0.9, label="default anchors"
        )
    levels = anchor_sides(fit.settings)
    axes.scatter(
        *levels.reshape(-1, 2).T, s=34, marker="s", facecolors="none", edgecolors=INK,
        linewidths=1.1, label="anchors chosen",
    )  # fmt: skip
    _logarithmic(axes, sides)
    axes.set_xlabel("width, input pixels", color=INK)
    axes.set_ylabel("height, input pixels", color=INK)
    legend = axes.legend(
        loc="upper left", frameon=True, framealpha=0.9, edgecolor="none", labelcolor=INK
    )
    for handle in legend.legend_handles:
        handle.set_alpha(1)


def _logarithmic(axes: Any, sides: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    def as_number(value: float, _: int | None) -> str:
        return f"{value:g}"

    low, high = sides.min() / 1.3, sides.max() * 1.6
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.floor(np.log2(high)) + 1)
    for axis, scale, limits in (
        (axes.xaxis, axes.set_xscale, axes.set_xlim),
        (axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        scale("log", base=2)
        limits(low, high)
        axis.set_major_locator(FixedLocator(list(ticks)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(as_number))
    axes.set_aspect("equal")


def _draw_recall(axes: Any, fit: AnchorFit) -> None:
    """Bars of the recall by size of object, one for each of the three options."""
    _plain_axes(axes)
    groups = [group for group in fit.default.quality.by_size if group.objects]
    names = [f"{group.name}\n{counted(group.objects, 'object')}" for group in groups]
    places = np.arange(len(groups) + 1)
    height = 0.26
    for row, (option, color) in enumerate(zip(fit.options, BARS, strict=True)):
        known = {group.name: group.recall for group in option.quality.by_size}
        values = [option.quality.recall, *(known[group.name] for group in groups)]
        at = places + (row - 1) * height
        axes.barh(at, values, height=height * 0.9, color=color, label=option.name)
        for place, value in zip(at, values, strict=True):
            if value == value:
                axes.annotate(
                    percent(value, 1),
                    (value, place), xytext=(3, 0), textcoords="offset points",
                    va="center", fontsize=7.5, color=INK,
                )  # fmt: skip
    axes.set_yticks(places, [f"all\n{counted(len(fit.objects), 'object')}", *names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.set_xlabel(
        f"fraction of objects with an anchor of IoU {fit.foreground_iou:g} or more", color=INK
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def _plain_axes(axes: Any) -> None:
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.7)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=3)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
