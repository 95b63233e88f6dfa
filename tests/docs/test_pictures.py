"""The program that makes the documentation's pictures still makes them."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.docs.pages import DOCS
from tests.journeys.conftest import TINY_SETS

from foveal.data.synthetic import draw_dataset

PROGRAM = DOCS / "pictures" / "make.py"


@pytest.fixture
def make(foveal, tmp_path, monkeypatch):
    """The program; its commands are called in this process, and its trainings are tiny."""
    spec = importlib.util.spec_from_file_location("make_pictures", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(work: Path, *words: str, makes: str) -> None:
        if (work / makes).exists():
            return
        monkeypatch.chdir(work)
        ended, said, complaint = foveal(*words, *(TINY_SETS if words[0] == "train" else ()))
        assert ended == 0, said + complaint

    monkeypatch.setattr(module, "foveal", call)
    monkeypatch.setattr(module, "HERE", tmp_path / "pictures")
    module.HERE.mkdir()
    return module


@pytest.fixture
def work(tmp_path):
    """A folder that holds the drawn data already, of fewer images and another size."""
    cells = tmp_path / "work" / "cells"
    draw_dataset(cells, splits={"train": 8, "val": 4, "test": 6}, size=64, seed=3)
    (cells / "settings.toml").write_text("")
    return cells.parent


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_pictures_of_cells_are_made(make, work, empty_charts, monkeypatch) -> None:
    asked = ["smears"]
    if any(map(shutil.which, ("chromium", "google-chrome"))):
        asked.append("report")
        monkeypatch.setattr(make.time, "sleep", lambda _seconds: None)
    make.main([str(work), "--only", *asked])
    made = {path.name: size_of(path) for path in make.HERE.iterdir()}
    expected = {"demo.jpg": (1552, 1032)}  # three by two pictures of 512 pixels
    if len(asked) > 1:
        expected["report.png"] = (1000, 860)
    assert made == expected


def test_every_picture_of_the_pages_is_made_by_the_program(make) -> None:
    shown = {path.name for path in PROGRAM.parent.iterdir() if path.suffix in {".jpg", ".png"}}
    text = PROGRAM.read_text(encoding="utf-8")
    assert shown == {name for name in shown if f'"{name}"' in text}
    assert len(make.MADE) == len(shown)
