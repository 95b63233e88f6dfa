"""`foveal watch`: the page as a file, and what can't be watched."""

from __future__ import annotations

import re

import pytest
from tests.cli.conftest import answer_in_json, foveal
from tests.training.run_folders import BEGIN, GONE, epoch, step, write_run


@pytest.mark.usefixtures("empty_charts")
def test_the_page_as_a_file(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "runs" / "first run", BEGIN, epoch(1, 0.5))
    (run / "report.html").write_text("")
    page = tmp_path / "pages" / "runs.html"
    assert foveal(monkeypatch, "watch", tmp_path / "runs", "--out", page) == 0
    assert capsys.readouterr().out == f"{page}: 1 run\n"
    text = page.read_text()
    assert "0.500" in text
    assert "<script" not in text
    (link,) = re.findall(r'href="([^"#]*report[^"]*)"', text)
    assert link == "../runs/first%20run/report.html"


@pytest.mark.parametrize(
    ("root", "out", "words"),
    [
        ("nowhere", "page.html", "nowhere: does not exist"),
        (".", "page.html", "There is no run there"),
        (".", "page.pdf", "expected a file that ends in .html"),
    ],
)
def test_what_cannot_be_watched(tmp_path, monkeypatch, capsys, root, out, words):
    assert foveal(monkeypatch, "watch", tmp_path / root, "--out", tmp_path / out) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / out).exists()


def test_where_each_run_is(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "one", BEGIN, epoch(1, 0.5), step(12), presence=GONE)
    assert foveal(monkeypatch, "watch", tmp_path, "--once") == 0
    told = capsys.readouterr().out
    assert told.startswith("one: killed, epoch 1.2 of 4, best AP 0.500 in epoch 1. Its process is")
    document = answer_in_json(monkeypatch, capsys, "watch", tmp_path, "--once")
    (run,) = document["runs"]
    assert (run["state"], run["best_AP"], run["report"]) == ("killed", 0.5, None)
    (tmp_path / "none").mkdir()
    assert answer_in_json(monkeypatch, capsys, "watch", tmp_path / "none", "--once")["runs"] == []


def test_what_would_be_written(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "one", BEGIN)
    page = tmp_path / "page.html"
    plan = answer_in_json(monkeypatch, capsys, "watch", tmp_path, "--out", page, "--dry-run")
    assert plan["writes"] == [str(page)]
    assert plan["steps"] == ["show 1 run: one"]
    assert not page.exists()
