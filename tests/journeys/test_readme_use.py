"""Somebody types what the README's section Use shows: in a shell, then in Python."""

from __future__ import annotations

import pytest
from tests.docs.pages import README, is_run, read_page
from tests.docs.reader import Reader

import foveal as library

pytestmark = pytest.mark.usefixtures("empty_charts")

MADE = {
    "bash": (
        "run/best.safetensors",
        "run/report.html",
        "measured/report.html",
        "measured/metrics.json",
        "found/pictures",
        "found/detections.json",
        "found/detections.csv",
        "found/counts.csv",
        "sheet.html",
        "cells.onnx",
    ),
    "python": ("found.png", "found.csv", "cells.safetensors"),
}
"""What each block leaves, in the README's order."""

BLOCKS = [block for block in read_page(README).blocks if is_run(block)]


@pytest.mark.parametrize(("number", "kind"), list(enumerate(MADE)))
def test_a_block(number, kind, foveal, tmp_path, monkeypatch) -> None:
    reader = Reader(foveal, tmp_path, monkeypatch)
    reader.take(BLOCKS[number], "README.md")
    reader.close()
    for made in MADE[kind]:
        assert (tmp_path / made).exists(), made
    if kind == "python":
        assert isinstance(reader.names["found"], library.Detections)


def test_all_blocks_are_typed() -> None:
    assert len(BLOCKS) == len(MADE)
