"""Reports: one file that needs nothing else, and that a browser opens without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from jinja2 import UndefinedError

from foveal.errors import FovealError
from foveal.reports.html import _environment, render_report, write_report
from foveal.reports.parts import (
    Bar,
    Chart,
    Charts,
    Folded,
    Key,
    KeyEntry,
    Number,
    Numbers,
    Part,
    Picture,
    Pictures,
    Report,
    Section,
    Table,
)
from foveal.visualization import charts, colors

EVIL = "<script>console.error('evil')</script>\"'&"
QUIET = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
)
VOID = {"meta", "link", "img", "input", "br"}


def everything(text: str) -> Report:
    """A report that has one of each part, with the same text everywhere."""
    svg = charts.draw_precision_recall([charts.Line(text, [0, 1], [1, 0], 0)])
    picture = np.full((20, 30, 3), 90, np.uint8)
    table = Table((text, "number"), [(text, Bar(text, 0.7, 0.6, 0.8)), (text, text)], text)
    return Report(
        title=text,
        subtitle=text,
        footer=text,
        sections=[
            Section(text, [text, Numbers([Number(text, text, text, text)]), table]),
            Section(
                text, [Charts([Chart(text, svg, text)]), Pictures([Picture(text, picture, text)])]
            ),
            Section(
                text,
                [Key([KeyEntry(colors.FALSE_NEGATIVE, text, dashed=True)]), Folded(text, text)],
            ),
            Section(text, [Folded(text, table)]),
        ],
    )


class Checker(HTMLParser):
    """Counts tags, checks that they close, collects attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return checker


def test_text_is_escaped_everywhere() -> None:
    checker = check(render_report(everything(EVIL)))
    assert "script" not in checker.tags
    assert not [name for name, _ in checker.attributes if name.startswith("on")]
    assert sum(EVIL in words for words in checker.words) > 15
    assert ("aria-label", EVIL) in checker.attributes
    assert ("alt", EVIL) in checker.attributes


def test_text_is_escaped_once() -> None:
    page = render_report(everything("<b> & 'cells'"))
    assert "&amp;amp;" not in page
    assert "&amp;lt;" not in page
    assert check(page).words.count("<b> & 'cells'") > 15


def test_only_our_own_charts_are_taken_as_they_are() -> None:
    made_elsewhere: Any = "<svg><script>alert(1)</script></svg>"
    chart = Chart("chart", made_elsewhere)
    checker = check(render_report(Report("t", sections=[Section("s", [Charts([chart])])])))
    assert "script" not in checker.tags
    assert "svg" not in checker.tags
    assert made_elsewhere in checker.words


def test_long_names_leave_room_for_the_rest() -> None:
    long = "endless" * 7000
    table = Table((long,), [(long,)])
    parts: list[Part] = [table, Charts([Chart(long, charts.draw_error_costs({long: 0.1}))])]
    page = render_report(Report(long, sections=[Section("s", parts)]))
    assert max(len(words) for words in check(page).words if "endless" in words) <= 250


def test_a_name_that_the_template_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        _environment().get_template("report.html.jinja").render()


@pytest.mark.parametrize("kind", [part for part in get_args(Part) if part is not str])
def test_every_kind_of_part_has_a_macro(kind: Any) -> None:
    macros = _environment().get_template("parts.html.jinja").module
    assert callable(getattr(macros, kind.kind))


def test_the_templates_belong_to_the_package() -> None:
    folder = resources.files("foveal.reports") / "templates"
    names = sorted(entry.name for entry in folder.iterdir())
    assert names == [
        "parts.html.jinja",
        "report.css",
        "report.html.jinja",
        "watched.html.jinja",
    ]


def test_nothing_is_fetched() -> None:
    page = render_report(everything("cells"))
    checker = check(page)
    for name, value in checker.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "action"):
            assert value.startswith(("#", "data:"))
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    shown = [
        Chart("one", charts.draw_error_costs({"a": 0.1})),
        Chart("two", charts.draw_error_costs({"b": 0.2})),
    ]
    checker = check(render_report(Report("title", sections=[Section("charts", [Charts(shown)])])))
    ids = [value for name, value in checker.attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    links = [
        value for name, value in checker.attributes if value.startswith("#") and name == "href"
    ]
    assert {link[1:] for link in links} <= set(ids)


def test_pictures_are_of_sane_size() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3)).astype(np.uint8)
    large = np.kron(noise, np.ones((100, 100, 1), np.uint8))
    page = render_report(Report("t", sections=[Section("s", [Pictures([Picture("p", large)])])]))
    assert 'width="1600" height="1200"' in page
    assert len(page) < 1_500_000


def test_charts_follow_the_theme() -> None:
    page = render_report(everything("cells"))
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert "var(--ink)" in svg
    assert "#1d2733" not in svg


def test_an_undefined_bar_is_its_text() -> None:
    table = Table(("class", "AP"), [("cell", Bar("–", float("nan")))])
    page = render_report(Report("t", sections=[Section("s", [table])]))
    assert "<td>–</td>" in page
    assert "nan" not in page[page.index("<main>") :]


def test_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", everything("smear_\udcff.png"))
    assert r"smear_\udcff.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_empty_report() -> None:
    assert "<h1>nothing</h1>" in render_report(Report("nothing"))


def test_writing_replaces_at_once_and_names_what_fails(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "größe.html"
    write_report(path, Report("one"))
    write_report(path, Report("größer"))
    assert "größer" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in path.parent.iterdir()] == ["größe.html"]
    with pytest.raises(FovealError, match="can't be written"):
        write_report(path / "below a file.html", Report("two"))


def test_a_browser_has_no_complaint(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Debian's chromium")
    write_report(tmp_path / "report.html", everything(EVIL))
    broken = tmp_path / "broken.html"
    broken.write_text("<script>console.error('it is heard')</script>")
    assert "it is heard" in complaints(chromium, broken, tmp_path)
    assert complaints(chromium, tmp_path / "report.html", tmp_path) == ""
    shown = dumped(chromium, tmp_path / "report.html", tmp_path)
    assert shown.count("<section") == 4


def complaints(chromium: str, page: Path, folder: Path) -> str:
    """What the page writes to the browser's console, blocked requests included."""
    done = browse(chromium, page, folder, "--enable-logging=stderr", "--dump-dom")
    return "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def dumped(chromium: str, page: Path, folder: Path) -> str:
    return browse(chromium, page, folder, "--dump-dom").stdout


def browse(
    chromium: str, page: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [chromium, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
