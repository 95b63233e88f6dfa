"""What people see says what the field says: none of the project's own old words."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from foveal import cli
from foveal.config import PRESETS, make_settings, to_toml
from foveal.config.renamed import RENAMED, RENAMED_PRESETS, RENAMED_VALUES

ROOT = Path(__file__).resolve().parents[1]
OLD_WORDS = (
    "wrongness",
    "suppression",
    "settle",
    "canvas",
    "kinds? of errors?",
    "error kinds?",
    "bad losses",
    r"\w*colour\w*",
    r"\w*(normal|quant|summar|local|initial|optim)is(e|ed|es|ing|ation|er)\b",
    "grey",
    r"labell\w+",
    "centre",
)
OLD_NAMES = (
    *(old for _, old in RENAMED if "_" in old),  # 'most' and 'average' are words too
    *(value for *_, value in RENAMED_VALUES),
    *RENAMED_PRESETS,
)
OLD = re.compile(
    rf"\b({'|'.join((*OLD_WORDS, *OLD_NAMES))})\b".replace(" ", r"\s+"),
    re.IGNORECASE,
)
VERBS = (
    "predict",
    "train",
    "evaluate",
    "export",
    "anchors",
    "data check",
    "import",
    "demo",
    "bench",
)


def old_words(text: str) -> list[str]:
    return [found[0] for found in OLD.finditer(text)]


def test_the_words_are_found_where_they_are() -> None:
    assert old_words("The smooth l1 loss, hold_out and\ncolours: kinds\nof errors") == [
        "smooth l1",
        "hold_out",
        "colours",
        "kinds\nof errors",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_help(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["foveal", *verb.split(), "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().out
    assert "Usage" in shown
    assert old_words(shown) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_settings(preset: str) -> None:
    text = to_toml(make_settings(preset=preset))
    assert old_words(text) == []
    names = {line.partition(" = ")[0] for line in text.splitlines()}
    assert not names & {old for _, old in RENAMED}


PAGES = (
    *("README.md", "CONTRIBUTING.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))),
)


PAPERS_WORDS = re.compile(r"cross\s+entropy|smooth\s+l1|non-maximum\s+suppression", re.IGNORECASE)
"""In prose these are the field's; they are old only as values of settings and names in the code."""


@pytest.mark.parametrize("file", [page for page in PAGES if not page.startswith("docs/journal/")])
def test_documents(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.startswith("docs/explanation/"):
        text = PAPERS_WORDS.sub("", text)
    assert old_words(text) == []


def test_the_reports_own_sentences() -> None:
    story = ROOT / "src/foveal/evaluation/story.py"
    reports = ROOT / "src/foveal/reports"
    for file in (story, *sorted(reports.glob("*.py")), *sorted(reports.glob("templates/*.jinja"))):
        assert old_words(file.read_text(encoding="utf-8")) == [], file
