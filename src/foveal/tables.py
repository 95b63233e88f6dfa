"""Rows of text as a table in HTML: how a value shows itself in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_ROWS = 60
_LEFT = ' style="text-align:left"'


def html_table(title: str, rows: Sequence[Mapping[str, str]], *, note: str = "") -> str:
    """A title, a table and a note as HTML without styles of its own: a notebook has some.

    Args:
        title: one line above the table.
        rows: the cells of each by their column; all rows have the same columns.
        note: a sentence below the table.
    """
    parts = [f"<p><b>{escape(title)}</b></p>"]
    if rows:
        head = "".join(_cell("th", name, index) for index, name in enumerate(rows[0]))
        lines = [
            "".join(_cell("td", text, index) for index, text in enumerate(row.values()))
            for row in rows[:_MAX_ROWS]
        ]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    if len(rows) > _MAX_ROWS:
        parts.append(f"<p>{_MAX_ROWS} of {len(rows):,} rows; to_table() has all.</p>")
    if note:
        parts.append(f"<p>{escape(note)}</p>")
    return "".join(parts)


def _cell(tag: str, text: str, index: int) -> str:
    """A cell; the first of a row names it and stands to the left."""
    return f"<{tag}{_LEFT if index == 0 else ''}>{escape(text)}</{tag}>"
