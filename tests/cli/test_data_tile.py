"""`foveal data tile` and `foveal data untile`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import answer_in_json
from tests.data.test_tiles import a_data_set, rows

from foveal import cli
from foveal.data.formats import read, write


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line and give its exit code."""

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["foveal", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    return call


def test_there_and_back(run: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = a_data_set(tmp_path / "in")
    write(data, tmp_path / "coco", "coco")
    tiles, whole = str(tmp_path / "tiles"), str(tmp_path / "whole")
    words = ["data", "tile", str(tmp_path / "coco"), tiles, "--size", "64", "--overlap", "16"]
    assert run(*words, "--empty", "0.5", "--to", "geo") == 0
    said = capsys.readouterr().out
    assert "tiles of 2 images" in said
    assert "Left out: " in said
    assert "without objects." in said
    assert run("data", "untile", tiles, whole) == 0
    found = {record.path.name: record for record in read(whole)}
    assert rows(found["first.png"]) == rows(data.records[0])
    assert run(*words[:3], str(tmp_path / "more"), "--size", "64", "--empty", "x") == 2


def test_the_sizes_are_explained(
    run: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data", "tile", str(tmp_path), str(tmp_path / "x"), "--size", "3"]
    assert run(*words) == 2
    assert "--size 3 (in Python size): expected 16 to 32768 pixels" in capsys.readouterr().err


def test_dry_runs_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(a_data_set(tmp_path / "in"), tmp_path / "coco", "coco")
    tiles, whole = tmp_path / "tiles", tmp_path / "whole"
    words = ("data", "tile", tmp_path / "coco", tiles, "--size", 64)
    assert "64 x 64 px" in answer_in_json(monkeypatch, capsys, *words, "--dry-run")["steps"][0]
    assert not tiles.exists()
    tiled = answer_in_json(monkeypatch, capsys, *words)
    assert (tiled["images"], tiled["format"]) == (2, "coco")
    assert tiled["tiles"] > tiled["empty"]
    planned = answer_in_json(monkeypatch, capsys, "data", "untile", tiles, whole, "--dry-run")
    assert (planned["reads"], planned["writes"]) == ([str(tiles)], [str(whole)])
    assert not whole.exists()
    assert answer_in_json(monkeypatch, capsys, "data", "untile", tiles, whole)["images"] == 2
