"""The pages hang together: links lead somewhere, and the navigation has every page."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import DOCS, ROOT, Page, all_pages, read_page

PAGES = [*all_pages(), *(read_page(ROOT / name) for name in ("CONTRIBUTING.md", "CHANGELOG.md"))]
LARGEST_PICTURE = 150 * 1024


def slug(heading: str) -> str:
    """The anchor that a heading gets, on the site and where the repository is shown."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text))


@cache
def anchors(path: Path) -> set[str]:
    """All anchors of a page."""
    prose = read_page(path).prose
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+?)#*$", prose, re.MULTILINE):
        name = own[1] if (own := re.search(r"\{ *#([\w.-]+) *\}$", heading)) else slug(heading)
        made.add(name)
    return made | set(re.findall(r'<a (?:id|name)="([^"]+)"', prose))


def links(page: Page) -> list[str]:
    """Where a page leads within the project."""
    prose = re.sub(r"`[^`\n]+`", "", page.prose)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?\)", prose)
    return [each for each in targets if not re.match(r"[a-z]+:", each)]


def dead(page: Page) -> list[str]:
    """Links of a page that lead nowhere; from docs/ they may not lead out of it."""
    wrong = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        leaves = page.path.is_relative_to(DOCS) and not path.is_relative_to(DOCS)
        lacks = anchor and path.suffix == ".md" and path.exists() and anchor not in anchors(path)
        if leaves or lacks or not path.exists():
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    assert dead(page) == []


def test_dead_links_are_seen(tmp_path) -> None:
    (tmp_path / "other.md").write_text("# What is `left`: out\n\n```\n# not\n```\n")
    path = tmp_path / "page.md"
    path.write_text(
        "# Here\n[a](other.md#what-is-left-out) [b](#here) [c](https://x.org/y) `[d](e)`\n"
        "[f](other.md#not) [g](#there) [h](no.md)\n"
    )
    assert dead(read_page(path)) == ["other.md#not", "#there", "no.md"]


def entries(nav: list[Any]) -> list[str]:
    """The pages of a navigation, in their order."""
    pages: list[str] = []
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else (entry,):
            pages += [value] if isinstance(value, str) else entries(value)
    return pages


def test_the_navigation_has_every_page() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(entries(site["project"]["nav"])) == pages


def test_pictures_are_small_and_shown() -> None:
    shown = {(page.path.parent / link).resolve() for page in PAGES for link in links(page)}
    pictures = [path for path in (DOCS / "pictures").iterdir() if path.suffix != ".py"]
    assert [path.name for path in pictures if path.stat().st_size > LARGEST_PICTURE] == []
    assert [path.name for path in pictures if path not in shown] == []


def test_pages_ask_nobody_else_for_anything() -> None:
    """Pictures and scripts come from the site itself."""
    foreign = re.compile(r"!\[[^\]]*\]\(https?:|<(img|script|link|iframe)\b[^>]*https?:")
    assert [page.name for page in PAGES if foreign.search(page.prose)] == []
    site = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert tomllib.loads(site)["project"]["theme"]["font"] is False
    assert "://" not in site
