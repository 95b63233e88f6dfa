"""Each entry of the journal says all five things, and the index lists it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

JOURNAL = Path(__file__).parents[2] / "docs" / "journal"
PAGES = sorted(page.name for page in JOURNAL.glob("*.md") if page.name != "index.md")
PARTS = ("- **Question:**", "- **Command:**", "- **Machine:**", "**Result.**", "**Consequence.**")


@pytest.mark.parametrize("page", PAGES)
def test_entries_are_whole_and_listed(page: str) -> None:
    index = (JOURNAL / "index.md").read_text(encoding="utf-8")
    _, *entries = re.split(r"^## ", (JOURNAL / page).read_text(encoding="utf-8"), flags=re.M)
    assert entries
    for entry in entries:
        title = entry.partition("\n")[0]
        lines = entry.splitlines()
        places = [
            [number for number, line in enumerate(lines) if line.startswith(part)] for part in PARTS
        ]
        assert [len(where) for where in places] == [1] * len(PARTS), title
        assert places == sorted(places), title
        question = lines[places[0][0]].removeprefix(PARTS[0]).strip()
        assert re.search(rf"^- \[{re.escape(title)}\]\({page}#", index, re.M), title
        assert question in index, title


def test_no_page_is_left_out() -> None:
    assert len(PAGES) >= 12
    index = (JOURNAL / "index.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"\]\(([\w-]+\.md)\)", index))) == PAGES
