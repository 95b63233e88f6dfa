"""The page over several runs: rows, curves, what differs, and none at all."""

from __future__ import annotations

import re

import pytest
from tests.training.run_folders import BEGIN, GONE, NOW, end, epoch, read, step, write_run

from foveal.reports.html import render_report
from foveal.reports.runs import MOST_CURVES, draw_runs, make_runs_report


def page(runs, drawn=(), **options):
    report = make_runs_report(runs, drawn=drawn, address=lambda run: "", now=NOW, **options)
    return render_report(report)


def test_curves_of_several_runs_over_one_another(tmp_path):
    first = read(write_run(tmp_path / "a", BEGIN, epoch(1), epoch(2), *map(step, range(20))))
    second = read(write_run(tmp_path / "b", epoch(1, None), presence=GONE))
    drawn = draw_runs([first, second])
    assert [chart.title for chart in drawn] == ["AP on validation images", "Loss in training"]
    text = page([first, second], drawn)
    assert "killed" in text
    assert text.count("<svg") == 2
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', re.sub(r"<svg.*?</svg>", "", text))


@pytest.mark.usefixtures("empty_charts")
def test_what_is_left_out_is_said(tmp_path):
    folder = write_run(tmp_path / "a", BEGIN, epoch(1), settings="= broken")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("x\ny\n")
    run = read(folder)
    text = page([run] * (MOST_CURVES + 1), draw_runs([run]), is_complete=False)
    assert "2 lines of its log can&#39;t be read and are left out" in text
    assert "its settings (config.toml) can&#39;t be read" in text
    assert f"Drawn are {MOST_CURVES} of {MOST_CURVES + 1} runs" in text
    assert "folders were looked at for runs" in text


@pytest.mark.usefixtures("empty_charts")
def test_why_a_run_broke_off_is_told_whole(tmp_path):
    reason = "The run broke off. " + "The disk is full. " * 20
    failed = write_run(tmp_path / "a", BEGIN, end("failed", reason.strip()))
    ended = write_run(tmp_path / "b", BEGIN, end("patience", "Nothing got better."))
    text = page([read(failed), read(ended)])
    assert f"<p>run: {reason.strip()}</p>" in text
    assert "How the finished ones ended" in text
    assert "Nothing got better." in text


def test_no_run_yet():
    assert draw_runs([]) == []
    assert "There is no run here yet" in page([])
