"""A report as one HTML file that needs nothing else: no network, no scripts, pictures inside.

The page is the template `templates/report.html.jinja`. Jinja2 escapes every text in it, once; only
the charts that foveal draws itself are taken as they are. The page's policy forbids the browser to
fetch anything.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from PIL import Image

from foveal.files import write_file
from foveal.visualization.colors import to_hex
from foveal.visualization.svg import ACCENT, GRID, INK, MUTED

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from jinja2 import Environment
    from markupsafe import Markup
    from numpy.typing import NDArray

    from foveal.reports.parts import Report

_MAX_SIDE = 1600
_QUALITY = 86
_THEME = {INK: "ink", MUTED: "muted", GRID: "line", ACCENT: "accent"}
_THEME_COLORS = re.compile("|".join(_THEME))


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A picture as a browser shows it: its size in pixels and its bytes in base 64."""

    width: int
    height: int
    base64: str


def write_report(path: Path, report: Report) -> None:
    """Write the report as one HTML file, at once: a reader never sees half of it.

    Raises:
        FovealError: the file can't be written.
    """
    write_file(path, render_report(report))


def render_report(report: Report) -> str:
    """The report as HTML."""
    return _environment().get_template("report.html.jinja").render(report=report)


def render_watched(report: Report, *, nonce: str, seconds: float) -> str:
    """The report as HTML that asks whoever serves it for the next one.

    Args:
        report: as it is now.
        nonce: letters and digits that no other answer has: the browser runs the page's own script
            by them, and no other.
        seconds: from one time to the next.
    """
    page = _environment().get_template("watched.html.jinja")
    return page.render(report=report, nonce=nonce, seconds=seconds)


@cache
def _environment() -> Environment:
    """The templates, with everything escaped; a name that is not there is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("foveal.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["truncate.leeway"] = 0
    filters: dict[str, Any] = environment.filters
    filters |= {
        "as_jpeg": _as_jpeg,
        "as_length": _as_length,
        "in_theme_colors": _in_theme_colors,
        "to_hex": to_hex,
    }
    return environment


def _as_jpeg(image: NDArray[np.uint8]) -> Jpeg:
    """[H, W, 3] uint8 RGB, its longer side at most _MAX_SIDE."""
    picture = Image.fromarray(image)
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    return Jpeg(picture.width, picture.height, base64.b64encode(buffer.getvalue()).decode())


def _as_length(fraction: float) -> str:
    """A fraction as a CSS length, cut to 0..1."""
    return f"{100 * min(max(fraction, 0.0), 1.0):.1f}%"


def _in_theme_colors(svg: Markup) -> Markup:
    """Let the page's light or dark colors reach a chart's ink, lines and accent.

    A string that is no Markup is escaped: it did not come from our own SVG writer.
    """
    from markupsafe import Markup, escape

    return Markup(_THEME_COLORS.sub(lambda match: f"var(--{_THEME[match.group()]})", escape(svg)))
