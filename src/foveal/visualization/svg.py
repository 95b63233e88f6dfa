"""What the charts share: axes in one style, and figures turned into SVG that fits into a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from foveal.text import shorten

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

INK = "#1d2733"
MUTED = "#7b8794"
GRID = "#dfe4ea"
ACCENT = "#0072b2"
LINE_COLORS = (
    "#56a4d8",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#b8a800",
    "#d55e00",
    "#0072b2",
    "#8b6bc9",
    "#5c8a3a",
    "#a0522d",
)
"""The classes' colors in pictures, darkened where white ground asks for it."""
Position = Literal["best", "below", "upper left"]
_FONTS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def new_axes(
    width: float,
    height: float,
    *,
    x: str = "",
    y: str = "",
    grid: Literal["both", "x", False] = "both",
) -> Axes:
    """The axes of a new figure, which belongs to nobody else (no pyplot), sizes in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_color(GRID)
        axes.spines[side].set_visible(side in ("left", "bottom") and bool(grid))
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.7)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, length=3)
    axes.set_xlabel(plain(x, 60), color=INK, fontsize=10)
    axes.set_ylabel(plain(y, 60), color=INK, fontsize=10)
    return axes


def legend(axes: Axes, *, where: Position) -> None:
    """A frameless legend, where there is anything to name."""
    handles, _ = axes.get_legend_handles_labels()
    if not handles:
        return
    below = where == "below"
    axes.legend(
        loc="upper center" if where == "below" else where,
        bbox_to_anchor=(0.5, -0.17) if below else None,
        ncols=min(3, len(handles)) if below else 1,
        fontsize=8.5,
        labelcolor=INK,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.4,
    )


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], *, written: str) -> None:
    """Horizontal bars, the first on top, each with its value; NaN gives no bar and a dash."""
    heights = [value if value == value else 0.0 for value in values]
    positions = range(len(names))
    axes.barh(positions, heights, height=0.62, color=ACCENT)
    for position, value in zip(positions, values, strict=True):
        axes.annotate(
            written.format(value) if value == value else "–",
            (value if value == value else 0.0, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    axes.set_yticks(positions, [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max([*heights, 1e-3]) * 1.18)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def whole_numbers(axes: Axes, *, along: str = "xy") -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    for name in along:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(MaxNLocator(6, integer=True))


def plain(text: str, longest: int = 24) -> str:
    """Text that matplotlib shows letter for letter: a dollar sign starts no formula in it."""
    return shorten(text, longest).replace("$", r"\$")


def to_svg(axes: Axes, *, alone: bool = False) -> Markup:
    """The figure as one `<svg>` element without prolog, its ids unlike those of any other chart.

    The same figure always gives the same text. It is Markup, which a template shows as it is:
    matplotlib has escaped every name in it.

    Args:
        axes: of `new_axes`.
        alone: on white ground, as a file or in a notebook, where what lies behind may be dark;
            a report gives its charts colors that are seen on its own ground.
    """
    import matplotlib
    from markupsafe import Markup

    if alone:
        axes.figure.patch.set(facecolor="white", alpha=1)
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "foveal"}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The browser has letters that the font for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # pyrefly: ignore[missing-attribute]
        axes.figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", _FONTS, text)
    prefix = "c" + blake2b(text.encode(), digest_size=4).hexdigest() + "-"
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    return Markup(re.sub(r"url\(#", f"url(#{prefix}", text))
