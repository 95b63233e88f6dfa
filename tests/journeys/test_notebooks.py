"""Somebody runs the notebooks, here on less; and what is committed is what the sources say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = ("aerial", "cells")
SMALL: dict[str, dict[str, Any]] = {
    "cells": {"IMAGES": 10, "SIZE": 64, "EPOCHS": 1},
    "aerial": {"SCENES": 3, "SIDE": 160, "WINDOW": 64, "EPOCHS": 1},
}
LARGEST = 1024 * 1024
"""Bytes of a notebook with what it shows."""


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"notebook_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("empty_charts")
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_runs(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    if name == "aerial":
        pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for kind, text in load("make").read_cells(FOLDER / f"{name}.py"):
        if "markdown" in kind:
            continue
        text = text.replace('"resnet10t"', '"test_resnet"')
        exec(compile(text, f"{name}.py", "exec"), names)
        if "parameters" in kind:
            assert SMALL[name].keys() <= names.keys()
            names |= SMALL[name]
    said = capsys.readouterr().out
    if name == "cells":
        assert re.search(r" in test_\d+\.jpg \(64 x 64\)", said)
        assert "image,normal,infected,platelet,total,capped\n" in said
        assert names["evaluation"].images == 2
    else:
        assert " in port_" in said
        assert (tmp_path / "aerial-notebook" / "ships.gpkg").is_file()
        assert len(names["scenes"]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_was_made_of_the_source_and_run(name: str) -> None:
    """`python examples/notebooks/make.py` makes it."""
    cells = notebook(name)["cells"]
    source = load("make").read_cells(FOLDER / f"{name}.py")
    assert ["".join(cell["source"]) for cell in cells] == [text for _, text in source]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [each for each in outputs if each["output_type"] == "error"]
    shown = {kind for each in outputs for kind in each.get("data", {})}
    assert {"image/png", "text/html", "text/plain"} <= shown
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
