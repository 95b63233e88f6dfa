"""What a report is made of: sections of paragraphs, numbers, tables, charts and pictures.

The types know nothing of detection and nothing of HTML. A part's `kind` names the macro of
`templates/parts.html.jinja` that shows it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from foveal.visualization.colors import Color

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup
    from numpy.typing import NDArray

_LONG_TABLE = 25
"""Rows from which a table scrolls in a box of its own, so that the page stays short."""


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
class Numbers:
    """Numbers side by side."""

    kind: ClassVar[str] = "numbers"

    numbers: Sequence[Number]


@dataclass(frozen=True, slots=True)
class Bar:
    """A table cell with a number in 0..1 as a bar, and where its interval lies.

    Attributes:
        text: the number as it is shown.
        value: how far the bar reaches; NaN shows the text alone.
        low, high: the interval's ends; NaN shows none.
    """

    text: str
    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def is_defined(self) -> bool:
        """Whether there is a number, and so a bar."""
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return not math.isnan(self.low) and not math.isnan(self.high)


@dataclass(frozen=True, slots=True)
class Link:
    """A table cell that leads to another page.

    Attributes:
        text: what it is called.
        address: of the page, from this one's folder.
    """

    text: str
    address: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, bars or links; the first column names the row, numbers stand to the right.

    Attributes:
        columns: the headings.
        rows: each as long as columns.
        caption: what is to be known about it.
        text_columns: so many columns, from the left, hold words.
    """

    kind: ClassVar[str] = "table"

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Bar | Link]]
    caption: str = ""
    text_columns: int = 1

    @property
    def is_long(self) -> bool:
        """Whether the table scrolls in a box of its own."""
        return len(self.rows) >= _LONG_TABLE


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        title: its name.
        svg: the `<svg>` element, as `foveal.visualization.charts` draws it. A plain string here is
            shown as text: only what our own SVG writer made is trusted.
        caption: what to see in it.
        size: the room that it needs.
    """

    title: str
    svg: Markup
    caption: str = ""
    size: Literal["small", "normal", "wide"] = "normal"


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts side by side."""

    kind: ClassVar[str] = "charts"

    charts: Sequence[Chart]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image [H, W, 3] uint8 RGB; large ones are shown smaller, and larger when clicked.

    Attributes:
        title: its name.
        image: its pixels.
        caption: what to see in it.
        size: the room that it needs.
    """

    title: str
    image: NDArray[np.uint8]
    caption: str = ""
    size: Literal["normal", "wide"] = "normal"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures side by side.

    Attributes:
        pictures: in order.
        paired: two in a row, where there is room for two: each beside the one it is compared with.
    """

    kind: ClassVar[str] = "pictures"

    pictures: Sequence[Picture]
    paired: bool = False


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What a color means in pictures, and whether its lines are dashed."""

    color: Color
    meaning: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """What the colors of pictures mean."""

    kind: ClassVar[str] = "key"

    entries: Sequence[KeyEntry]


@dataclass(frozen=True, slots=True)
class Folded:
    """Something long that opens with a click: text as it is, or a table."""

    kind: ClassVar[str] = "folded"

    title: str
    content: str | Table


Part = str | Numbers | Table | Charts | Pictures | Key | Folded
"""A part of a section; a string is a paragraph."""


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the page, its parts in order."""

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
