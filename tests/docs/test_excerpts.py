"""Code that a page quotes is the source's, line by line."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXCERPT = re.compile(
    r"^<!-- not run: an excerpt of (\S+) -->\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for page in (ROOT / "docs").rglob("*.md")
    if "an excerpt of" in page.read_text(encoding="utf-8")
)


def is_part_of(excerpt: str, source: str) -> bool:
    """Whether these lines stand in the source in this order, all indented alike or less."""
    wanted = textwrap.dedent(excerpt).splitlines()
    lines = source.splitlines()
    return any(
        textwrap.dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted
        for start in range(len(lines) - len(wanted) + 1)
    )


def test_a_changed_line_is_seen() -> None:
    source = "def f(x):\n    y = x + 1\n    return y\n"
    assert is_part_of("y = x + 1\nreturn y\n", source)
    assert not is_part_of("y = x + 2\nreturn y\n", source)
    assert not is_part_of("y = x + 1\n\nreturn y\n", source)


@pytest.mark.parametrize("page", PAGES)
def test_excerpts(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    excerpts = EXCERPT.findall(text)
    assert len(excerpts) == text.count("an excerpt of")
    for file, excerpt in excerpts:
        assert is_part_of(excerpt, (ROOT / file).read_text(encoding="utf-8")), f"{file}\n{excerpt}"


def test_there_are_excerpts() -> None:
    assert "docs/explanation/retinanet.md" in PAGES


def test_files_that_are_named_exist() -> None:
    """Pages can't link out of docs/, so they name files of the source by their path."""
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/explanation").glob("*.md")]
    named = {name for text in pages for name in re.findall(r"`((?:src|benchmarks)/[^`\s]*)`", text)}
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
