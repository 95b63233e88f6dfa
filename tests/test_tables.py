"""Tables in HTML, as notebooks show them."""

from __future__ import annotations

from foveal.tables import html_table


def test_every_text_is_escaped() -> None:
    html = html_table("<b>", [{"<th>": "<td>"}], note="<p>")
    for text in ("b", "th", "td", "p"):
        assert f"&lt;{text}&gt;" in html


def test_a_title_alone() -> None:
    assert html_table("nothing", []) == "<p><b>nothing</b></p>"


def test_rows_that_are_left_out_are_counted() -> None:
    html = html_table("many", [{"row": str(number)} for number in range(70)])
    assert html.count("<tr>") == 61
    assert "60 of 70 rows" in html
    assert "60 of" not in html_table("few", [{"row": "0"}] * 60)
