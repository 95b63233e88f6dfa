"""The pages of the documentation: their blocks, headings and links.

A line of its own before a block says what it is:

    <!-- not run: REASON -->    it can't be run here: a GPU, a network, an account
    <!-- run in PAGE -->        the same block stands in PAGE (relative to this one), which runs it
    <!-- file: NAME -->         the block is the text of a file, which the next ones use
    <!-- exit code: CODE -->    its last command ends with this code
    <!-- tests: WHERE -->       a command of the project's own tests

Blocks in bash and Python are run, all others are shown.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
RUN = ("bash", "python")
"""The languages of blocks that are run."""

_FENCE = re.compile(r"( *)(```+)([^`]*)")
_NOTE = re.compile(r"\s*<!-- (?:(not run|file|exit code|tests): |(run in) )(\S.*?) -->\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page.

    Attributes:
        line: where its first fence is.
        language: as the fence says, may be empty.
        text: without the fences, and without the indentation that it has in a list.
        note: what the line before it says of it: not run, run in, file, exit code, tests; or empty.
        value: the rest of that line.
    """

    line: int
    language: str
    text: str
    note: str
    value: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        path: its file.
        name: relative to the project's folder.
        prose: the text without its blocks.
        blocks: in their order.
    """

    path: Path
    name: str
    prose: str
    blocks: tuple[Block, ...]

    @property
    def runs(self) -> bool:
        """Whether any block is run."""
        return any(is_run(block) for block in self.blocks)


def is_run(block: Block) -> bool:
    """Whether a block is run here."""
    return block.language in RUN and block.note in ("", "exit code")


def read_page(path: Path) -> Page:
    """Read a page.

    Raises:
        ValueError: a comment before a block is none of those that are known.
    """
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    prose: list[str] = []
    blocks: list[Block] = []
    inside: list[str] = []
    fence = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if fence is not None:
            if line.strip() == fence[2]:
                text = textwrap.dedent("".join(inside)) if fence[1] else "".join(inside)
                note, value = _note(prose[-1] if prose else "", f"{name}:{number}")
                start = number - len(inside) - 1
                blocks.append(Block(start, fence[3].strip(), text, note, value))
                prose.append("")
                fence = None
            else:
                inside.append(f"{line}\n")
        elif fence := _FENCE.fullmatch(line):
            inside = []
        else:
            prose.append(line)
    if fence is not None:
        raise ValueError(f"{name}: a block has no end.")
    return Page(path, name, "\n".join(prose), tuple(blocks))


def _note(line: str, where: str) -> tuple[str, str]:
    """What the line before a block says of it."""
    if not line.strip().startswith("<!--"):
        return "", ""
    known = _NOTE.fullmatch(line)
    if known is None:
        raise ValueError(f"{where}: {line.strip()} before a block is not understood.")
    return known[1] or known[2], known[3]


@cache
def all_pages() -> tuple[Page, ...]:
    """The README and all pages of docs/."""
    return tuple(read_page(path) for path in (README, *sorted(DOCS.rglob("*.md"))))
