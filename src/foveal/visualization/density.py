"""Where in a scene the objects are many: a map of squares, counted and drawn as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.visualization.svg import ACCENT, INK, MUTED, new_axes, to_svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    from foveal.structures import Detections

_FEWEST, _MOST = 8, 40
"""So many squares lie along the longer side of a scene at least and at most."""
_LEVELS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """How many objects lie in each square of a scene.

    Attributes:
        counts: [rows, columns] int64, of the objects whose centers lie there; the last ones may
            reach beyond the scene.
        side: of a square, in the unit.
        size: width and height of the scene, in the unit.
        unit: "px", "m" or "km".
    """

    counts: NDArray[np.int64]
    side: float
    size: tuple[float, float]
    unit: str

    @property
    def share(self) -> float:
        """Of the squares, how many hold an object; slivers at the border count where they do."""
        rows, columns = self.counts.shape
        width, height = np.asarray(self.size) / self.side
        down, across = (
            np.minimum(1, height - np.arange(rows)),
            np.minimum(1, width - np.arange(columns)),
        )
        held = self.counts > 0
        counting = held | (down[:, None] * across >= 0.5)
        return float(held.sum() / max(1, counting.sum()))


def measure_density(detections: Detections, *, meters: float | None = None) -> Density:
    """Count the objects in squares of a round length: of fewer objects in larger squares.

    Args:
        detections: boxes in the scene's pixels, with the scene's size.
        meters: of ground that a pixel shows; None counts in squares of so many pixels.
    """
    size = np.asarray((max(1, detections.width), max(1, detections.height)), np.float64)
    unit, length = "px", 1.0
    if meters is not None:
        unit, length = ("km", meters / 1000) if meters * size.max() >= 3000 else ("m", meters)
    cells_across = float(np.clip(np.sqrt(len(detections)), _FEWEST, _MOST))
    side = _round_length(float(size.max()) * length / cells_across)
    if unit == "px":
        side = max(1.0, side)
    pixels = side / length
    columns, rows = np.maximum(np.ceil(size / pixels - 1e-9), 1).astype(np.int64).tolist()
    boxes = detections.boxes.astype(np.float64)
    cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 / pixels).astype(np.int64)
    cells = np.clip(cells, 0, (columns - 1, rows - 1))
    counts = np.bincount(cells[:, 1] * columns + cells[:, 0], minlength=rows * columns)
    width, height = (size * length).tolist()
    return Density(counts.reshape(rows, columns), side, (width, height), unit)


def draw_density(density: Density, *, inches: float = 7.5) -> Markup:
    """Draw the squares, darker where they hold more, with what the shades mean.

    Axes begin at the scene's upper left corner.

    Args:
        density: how many objects lie in each square.
        inches: of the map's longer side; letters have the same size always.
    """
    from matplotlib.patches import Patch
    from matplotlib.ticker import StrMethodFormatter

    width, height = density.size
    scale = inches / max(width, height)
    axes = new_axes(
        max(1.5, width * scale) + 2.6,
        max(1.5, height * scale) + 0.8,
        x=f"from the left, {density.unit}",
        y=f"from the top, {density.unit}",
        grid=False,
    )
    for side in axes.spines.values():
        side.set_visible(True)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    edges = _levels(int(density.counts.max(initial=0)))
    handles = []
    for index, (low, high) in enumerate(pairwise(edges)):
        alpha = 0.15 + 0.85 * index / max(1, len(edges) - 2)
        chosen = (density.counts >= low) & (density.counts < high)
        _fill(axes, chosen, density.side, alpha=alpha if len(edges) > 2 else 1.0)
        name = f"{low:,}" if high == low + 1 else f"{low:,} to {high - 1:,}"
        handles.append(Patch(facecolor=ACCENT, alpha=alpha if len(edges) > 2 else 1.0, label=name))
    if handles:
        shown = axes.legend(
            handles=handles[::-1],
            title=f"objects in\n{density.side:,.4g} x {density.side:,.4g} {density.unit}",
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0,
            fontsize=9,
            title_fontsize=9,
            labelcolor=INK,
            frameon=False,
            alignment="left",
        )
        shown.get_title().set_color(MUTED)
    return to_svg(axes)


def _fill(axes: Any, chosen: NDArray[np.bool_], side: float, *, alpha: float) -> None:
    """Fill squares as one shape, so that no seams show between them."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    rows, columns = np.nonzero(chosen)
    if not len(rows):
        return
    steps = np.asarray(((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)))
    points = (np.stack([columns, rows], axis=1)[:, None] + steps) * side
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    path = Path(points.reshape(-1, 2), codes * len(rows))
    axes.add_patch(PathPatch(path, facecolor=ACCENT, alpha=alpha, linewidth=0))


def _levels(most: int) -> list[int]:
    """The counts at which shades begin, and one beyond the last; [] where nothing was found."""
    if most == 0:
        return []
    if most <= _LEVELS:
        return list(range(1, most + 2))
    spaced = np.linspace if most <= 4 * _LEVELS else np.geomspace
    edges = np.unique(np.rint(spaced(1, most + 1, _LEVELS + 1)).astype(int))
    return [int(edge) for edge in edges]


def _round_length(length: float) -> float:
    """The nearest of 1, 2, 5, 10, 20 ... that is not below."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= length * 0.999))
