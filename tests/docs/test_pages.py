"""The pages hang together: links lead somewhere, and the navigation has every page."""

from __future__ import annotations

import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.docs.pages import DOCS, ROOT, Page, all_pages, read_page
from tests.docs.reader import commands_of, split_at_operator

from foveal.cli import app
from foveal.config import Settings

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
    held = (DOCS / "pictures").iterdir()
    pictures = [path for path in held if path.is_file() and path.suffix != ".py"]
    assert [path.name for path in pictures if path.stat().st_size > LARGEST_PICTURE] == []
    assert [path.name for path in pictures if path not in shown] == []


def test_pages_ask_nobody_else_for_anything() -> None:
    """Pictures and scripts come from the site itself."""
    foreign = re.compile(r"!\[[^\]]*\]\(https?:|<(img|script|link|iframe)\b[^>]*https?:")
    assert [page.name for page in PAGES if foreign.search(page.prose)] == []
    site = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert tomllib.loads(site)["project"]["theme"]["font"] is False
    assert "://" not in site


OF_TODAY = [page for page in PAGES if not page.name.startswith(("docs/journal/", "CHANGELOG"))]
"""The journal and the log of changes speak of what was."""


def named(page: Page) -> list[str]:
    """What stands in `...` within the prose, and the commands of blocks, run ones and others."""
    blocks = [block.text for block in page.blocks if block.language == "bash"]
    typed = [split_at_operator(line)[0] for text in blocks for line in commands_of(text)]
    commands = [line.removeprefix(".venv/bin/").removeprefix("edge/bin/") for line in typed]
    return re.findall(r"`([^`\n]+)`", page.prose) + commands


def unknown_words(texts: list[str]) -> list[str]:
    """Commands, options and settings that do not exist."""
    wrong = []
    for text in texts:
        if match := re.match(r"foveal ([a-z].*)", text):
            command, rest = find_command(shlex.split(match[1].replace("'", "")))
            parameters = command.params
            options = {name for each in parameters for name in (*each.opts, *each.secondary_opts)}
            given = [word.partition("=")[0] for word in rest if word.startswith("--")]
            if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
                wrong.append(text)
            elif not hasattr(command, "commands"):
                wrong += [text for name in given if name not in {*options, "--help"}]
            continue
        match = SETTING.fullmatch(text)
        if match and match[2] not in {*SECTIONS[match[1]], "py", "onnx", "svg", "toml"}:
            wrong.append(text)
    return wrong


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words after it."""
    command: Any = COMMANDS
    rest = [word for word in words if word]
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    return command, rest


COMMANDS: Any = typer.main.get_command(app)
VERBS = "|".join(COMMANDS.commands)
SECTIONS = {
    name: field.annotation.model_fields.keys() for name, field in Settings.model_fields.items()
}
SETTING = re.compile(rf"(?:--set )?({'|'.join(SECTIONS)})\.(\w+)(?: ?=.*)?")


@pytest.mark.parametrize("page", OF_TODAY, ids=lambda page: page.name)
def test_what_a_page_names_exists(page: Page) -> None:
    assert unknown_words(named(page)) == []


def test_names_that_do_not_exist_are_seen() -> None:
    right = ["foveal train DATA --out RUN", "training.epochs", "--set loss.box=giou", "foveal data"]
    wrong = ["foveal trian", "foveal train --outt x", "training.epoch", "--set loss.bx=giou"]
    assert unknown_words([*right, *wrong]) == wrong


@pytest.mark.parametrize("page", OF_TODAY, ids=lambda page: page.name)
def test_no_command_hides_in_a_block_that_is_not_run(page: Page) -> None:
    """What is typed stands in blocks of bash; others show what one sees."""
    for block in page.blocks:
        lines = [line for line in block.text.splitlines() if line]
        typed = [line for line in lines if re.match(rf"foveal ({VERBS})\b|\$ ", line)]
        synopsis = len(lines) == 1 and lines[0].endswith("[OPTIONS]")
        hides = typed == lines and bool(lines) and not synopsis
        assert block.language == "bash" or not hides, f"{page.name}:{block.line}"


def test_pages_name_no_machine_and_nothing_that_users_have_not() -> None:
    for page in PAGES:
        text = page.path.read_text(encoding="utf-8")
        assert not re.search(r"\.\./shared\b|(?<![\w.])/(work|root|tmp/w)/", text), page.name
