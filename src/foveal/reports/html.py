"""A report as one HTML file that needs nothing else: no network, no scripts, pictures inside.

This module knows nothing of detection: a report is sections made of paragraphs, numbers, tables,
charts and pictures. All text is escaped, and the page's policy forbids the browser to fetch
anything.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from foveal.files import write_file
from foveal.visualization.colors import Color, to_hex
from foveal.visualization.svg import ACCENT, GRID, INK, MUTED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_SIDE = 1600
_QUALITY = 86
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Number:
    """A number that matters.

    Attributes:
        title: what it is, in a word or two.
        value: as it is shown.
        detail: its interval or what it is made of.
        meaning: a sentence for readers who are new to it.
    """

    title: str
    value: str
    detail: str = ""
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A table cell with a number in 0..1 as a bar, and where its interval lies."""

    text: str
    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text or bars; the first column names the row, numbers stand to the right.

    Attributes:
        columns: the headings.
        rows: each as long as columns.
        caption: what is to be known about it.
        texts: so many columns, from the left, hold words.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Bar]]
    caption: str = ""
    texts: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """An `<svg>` element that foveal drew, its title, what to see in it, and the room it needs."""

    title: str
    svg: str
    caption: str = ""
    size: Literal["small", "normal", "wide"] = "normal"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image [H, W, 3] uint8 RGB; large ones are shown smaller, and larger when clicked."""

    title: str
    image: NDArray[np.uint8]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """What colors mean: (color, dashed, meaning) of each."""

    entries: Sequence[tuple[Color, bool, str]]


@dataclass(frozen=True, slots=True)
class Folded:
    """Something long that opens with a click: text as it is, or a table."""

    title: str
    content: str | Table


Part = str | Table | Key | Folded | Sequence[Number] | Sequence[Chart] | Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the page; its parts in order (a string is a paragraph)."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Report:
    """The whole page.

    Attributes:
        title: its heading.
        subtitle: one line below.
        sections: in order; the page's menu leads to them.
        footer: its last line.
    """

    title: str
    subtitle: str = ""
    sections: Sequence[Section] = field(default=())
    footer: str = ""


def write_report(path: Path, report: Report) -> None:
    """Write the report as one HTML file, at once: a reader never sees half of it.

    Raises:
        FovealError: the file can't be written.
    """
    # File names may hold bytes that are no text.
    write_file(path, render_report(report).encode("utf-8", "replace"))


def render_report(report: Report) -> str:
    """The report as HTML."""
    style = (resources.files("foveal.reports") / "report.css").read_text(encoding="utf-8")
    menu = "".join(
        f'<a href="#s{index}">{escape(section.title)}</a>'
        for index, section in enumerate(report.sections)
    )
    body = "".join(
        f'<section id="s{index}"><h2>{escape(section.title)}</h2>'
        + "".join(_render(part) for part in section.parts)
        + "</section>"
        for index, section in enumerate(report.sections)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(report.title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(report.title)}</h1><p>{escape(report.subtitle)}</p></header>"
        f"<nav>{menu}</nav><main>{body}</main><footer>{escape(report.footer)}</footer>"
        "</body></html>\n"
    )


def _render(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{escape(part)}</p>"
    if isinstance(part, Table):
        return _render_table(part)
    if isinstance(part, Key):
        return _render_key(part)
    if isinstance(part, Folded):
        inside = (
            _render_table(part.content)
            if isinstance(part.content, Table)
            else f"<pre>{escape(part.content)}</pre>"
        )
        return f"<details><summary>{escape(part.title)}</summary>{inside}</details>"
    kinds = {"numbers": "", "charts": "", "pictures": ""}
    for entry in part:
        if isinstance(entry, Number):
            kinds["numbers"] += _render_number(entry)
        elif isinstance(entry, Chart):
            kinds["charts"] += _render_chart(entry)
        elif isinstance(entry, Picture):
            kinds["pictures"] += _render_picture(entry)
    return "".join(
        f'<div class="{kind}">{content}</div>' for kind, content in kinds.items() if content
    )


def _render_number(number: Number) -> str:
    return (
        f'<div class="number"><h3>{escape(number.title)}</h3><b>{escape(number.value)}</b>'
        f"<i>{escape(number.detail)}</i><p>{escape(number.meaning)}</p></div>"
    )


def _render_table(table: Table) -> str:
    def line(cells: Sequence[str | Bar], *, heading: bool) -> str:
        text = ""
        for index, cell in enumerate(cells):
            name = "th" if heading or index == 0 else "td"
            scope = f' scope="{"col" if heading else "row"}"' if name == "th" else ""
            kind = ' class="text"' if index < table.texts else ""
            text += f"<{name}{scope}{kind}>{_render_cell(cell)}</{name}>"
        return f"<tr>{text}</tr>"

    head = line(table.columns, heading=True)
    rows = "".join(line(row, heading=False) for row in table.rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'<div class="table"><table><thead>{head}</thead><tbody>{rows}</tbody></table>'
        f"</div>{caption}"
    )


def _render_cell(cell: str | Bar) -> str:
    if isinstance(cell, str):
        return escape(cell)
    if cell.value != cell.value:
        return escape(cell.text)
    reach = f"width:{100 * min(max(cell.value, 0.0), 1.0):.1f}%"
    interval = ""
    if cell.low == cell.low and cell.high == cell.high:
        left, right = (100 * min(max(end, 0.0), 1.0) for end in (cell.low, cell.high))
        interval = f'<u style="left:{left:.1f}%;width:{max(right - left, 0.0):.1f}%"></u>'
    return (
        f'<span class="bar"><span>{escape(cell.text)}</span>'
        f'<s><em style="{reach}"></em>{interval}</s></span>'
    )


def _render_chart(chart: Chart) -> str:
    caption = f"<p>{escape(chart.caption)}</p>" if chart.caption else ""
    label = escape(chart.title, quote=True)
    svg = chart.svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return (
        f'<figure class="{chart.size}"><figcaption>{escape(chart.title)}</figcaption>'
        f"{_follow_theme(svg)}{caption}</figure>"
    )


def _follow_theme(svg: str) -> str:
    """Let the page's light or dark colors reach the chart's ink, lines and accent."""
    names = {INK: "ink", MUTED: "muted", GRID: "line", ACCENT: "accent"}
    found = re.compile("|".join(names))
    return found.sub(lambda match: f"var(--{names[match.group()]})", svg)


def _render_picture(picture: Picture) -> str:
    image = Image.fromarray(picture.image)
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode()
    caption = f"<p>{escape(picture.caption)}</p>" if picture.caption else ""
    return (
        '<figure><label><input type="checkbox" aria-label="enlarge">'
        f'<img alt="{escape(picture.title, quote=True)}" width="{image.width}"'
        f' height="{image.height}" src="data:image/jpeg;base64,{data}"></label>'
        f"<figcaption>{escape(picture.title)}</figcaption>{caption}</figure>"
    )


def _render_key(key: Key) -> str:
    entries = "".join(
        f'<li><span class="{"dashed" if dashed else "solid"}"'
        f' style="border-color:{to_hex(color)}"></span>{escape(text)}</li>'
        for color, dashed, text in key.entries
    )
    return f'<ul class="key">{entries}</ul>'
