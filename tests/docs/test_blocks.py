"""Somebody does what the pages show, each page in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import Block, Page, all_pages, is_run, read_page
from tests.docs.reader import Reader, commands_of, shortened, split_at_operator

pytestmark = pytest.mark.usefixtures("empty_charts")

PAGES = [page for page in all_pages() if page.runs and page.name != "README.md"]
"""tests/journeys/test_readme_use.py follows the README."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_can_be_done(page: Page, foveal, tmp_path, monkeypatch) -> None:
    Reader(foveal, tmp_path, monkeypatch).follow(page)


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_what_is_not_run_says_why(page: Page) -> None:
    for block in page.blocks:
        if block.note != "run in":
            continue
        other = (page.path.parent / block.value).resolve()
        assert other.is_file(), f"{page.name}:{block.line}: there is no {block.value}"
        run = [each.text for each in read_page(other).blocks if is_run(each)]
        assert block.text in run, f"{page.name}:{block.line}: {block.value} does not run this block"


def page_of(text: str, folder: Path) -> Page:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return read_page(path)


def test_blocks_are_told_apart(tmp_path) -> None:
    page = page_of(
        "# A\n\n```bash\nls\n```\n\n1. b\n\n"
        "   <!-- not run: a GPU -->\n   ```bash\n   cd\n   ```\n\n"
        "<!-- file: a/b.toml -->\n```toml\nc = 1\n```\n\n```\nout\n```\n",
        tmp_path,
    )
    assert page.blocks == (
        Block(3, "bash", "ls\n", "", ""),
        Block(10, "bash", "cd\n", "not run", "a GPU"),
        Block(15, "toml", "c = 1\n", "file", "a/b.toml"),
        Block(19, "", "out\n", "", ""),
    )
    assert [is_run(block) for block in page.blocks] == [True, False, False, False]


@pytest.mark.parametrize("note", ["not run", "not run: ", "norun: a GPU", "exit: 1"])
def test_a_note_that_says_nothing_is_a_mistake(note, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"page\.md:\d: <!-- .* before a block is not understood"):
        page_of(f"<!-- {note} -->\n```bash\nls\n```\n", tmp_path)


def test_commands_are_taken_out_of_a_block() -> None:
    block = "# one\nfoveal train a \\\n    --out b   # there\n\nfoveal predict 'b # c' | jq .x\n"
    assert commands_of(block) == [
        "foveal train a --out b",
        "foveal predict 'b # c' | jq .x",
    ]
    assert split_at_operator("foveal a 'b | c' | jq .x > d") == ("foveal a 'b | c'", "| jq .x > d")
    assert split_at_operator("foveal a") == ("foveal a", "")


def test_trainings_are_made_short() -> None:
    words = ["train", "cells", "--folds", "5", "--minutes", "30", "--out", "run"]
    short = shortened(words)
    assert short[:6] == ["train", "cells", "--folds", "2", "--out", "run"]
    assert "training.epochs=2" in short
    assert shortened(["predict", "run", "smears"]) == ["predict", "run", "smears"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```bash\nfoveal anchors nothing\n```\n", "page.md:1: foveal anchors nothing"),
        ("```bash\nls nothing\n```\n", "page.md:1: ls nothing"),
        ("```bash\nfoveal anchors smears | jq .x\n```\n", "page.md:1: foveal anchors"),
        ("```python\nassert False, 'page.md:1'\n```\n", "page.md:1"),
    ],
)
def test_what_can_not_be_done_is_seen(text, said, foveal, tmp_path, monkeypatch) -> None:
    page = page_of(text, tmp_path)
    with pytest.raises(AssertionError, match=said):
        Reader(foveal, tmp_path / "desk", monkeypatch).follow(page)


def test_what_a_reader_understands(foveal, tmp_path, monkeypatch) -> None:
    """Files, exit codes, stars, variables, what goes into a file, and one set of names."""
    text = """
<!-- file: own/doubled.py -->
```python
def doubled(number: int) -> int: return 2 * number
```
<!-- exit code: 2 -->
```bash
ls smears/*.jpg
FOVEAL_OWN=1 foveal data check cells:train > said.txt
foveal predict run nothing/
```
```python
from own.doubled import doubled
from pathlib import Path
number = doubled(2)
```
```python
assert number == 4
assert "6 images" in Path("said.txt").read_text()
```
"""
    monkeypatch.syspath_prepend(tmp_path / "desk")
    page = page_of(text, tmp_path)
    Reader(foveal, tmp_path / "desk", monkeypatch).follow(page)
