"""Runs as their folders show them: live, finished, crashed, resumed, of another machine."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.training.run_folders import (
    BEGIN,
    ELSEWHERE,
    GONE,
    HERE,
    NOW,
    end,
    epoch,
    read,
    step,
    write_run,
)

from foveal.errors import FovealError
from foveal.training.run_records import RunReader, RunsWatched, settings_that_differ


@pytest.mark.parametrize(
    ("rows", "presence", "age", "state", "words"),
    [
        ((), HERE, 3, "starting", "made no step yet, for 3 seconds"),
        ((BEGIN, step(2)), HERE, 3, "running", "The last line is 3 seconds old."),
        ((BEGIN, step(2)), HERE, 840, "running", "silent for 14 minutes"),
        ((BEGIN, step(12)), GONE, 840, "killed", "14 minutes old, in epoch 2 after step 2 of 10"),
        ((BEGIN, epoch(1)), GONE, 840, "killed", "after 1 epoch. It was killed"),
        ((BEGIN, step(10)), ELSEWHERE, 840, "silent", "14 minutes, in epoch 1 after step 10 of"),
        ((BEGIN, step(10)), None, 60, "silent", "Silent for 60 seconds"),
        ((BEGIN, epoch(1), end("failed")), HERE, 9, "failed", "It ended."),
        ((BEGIN, end("diverged")), GONE, 9, "diverged", "It ended."),
        ((BEGIN, end("interrupted")), GONE, 9, "interrupted", "--resume"),
        ((BEGIN, end("patience")), GONE, 9, "finished", "It ended."),
        ((BEGIN, end("last_epoch")), HERE, 9, "finished", "Its report is being written."),
        ((BEGIN, end("interrupted"), BEGIN, step(3)), HERE, 9, "running", "9 seconds"),
    ],
)
def test_what_has_become_of_a_run(tmp_path, rows, presence, age, state, words):
    record = read(write_run(tmp_path / "run", *rows, presence=presence, age=age))
    assert record.state == state
    assert words in record.describe(NOW)


def test_epochs_and_the_best_of_them(tmp_path):
    rows = [BEGIN, epoch(1, 0.3), epoch(2, None), epoch(3, math.nan), epoch(4, 0.2), step(35)]
    rows[3]["validation"]["AP"] = None  # as NaN is written
    record = read(write_run(tmp_path / "run", *rows))
    assert record.measured == ((1, 0.3), (4, 0.2))
    assert record.best == (1, 0.3)
    assert record.epochs_done == 4
    assert record.seconds(NOW) == 240
    assert read(write_run(tmp_path / "none", BEGIN)).best is None


def test_the_time_that_is_left(tmp_path):
    running = write_run(tmp_path / "run", BEGIN, epoch(1), step(15), presence=HERE)
    assert read(running).seconds_left(NOW) == pytest.approx(2.5 * 60)
    ended = write_run(tmp_path / "end", BEGIN, epoch(1), end("last_epoch"), presence=HERE)
    assert read(ended).seconds_left(NOW) is None
    assert read(write_run(tmp_path / "new", BEGIN, presence=HERE)).seconds_left(NOW) is None
    first = read(write_run(tmp_path / "first", BEGIN, step(8), presence=HERE, age=60))
    assert first.seconds_left(NOW) == pytest.approx(440 * 4)
    assert first.seconds(NOW) == 500
    assert replace(first, end={"reason": "last_epoch"}).seconds(NOW) == 440
    minutes = "[training]\nepochs = 20\nminutes = 10.0\n"
    timed = write_run(tmp_path / "min", BEGIN, step(1), presence=HERE, settings=minutes)
    assert read(timed).seconds_left(NOW) == pytest.approx(100)


def test_a_log_of_an_earlier_version(tmp_path):
    record = read(write_run(tmp_path / "run", epoch(1), step(15)))
    assert (record.planned_epochs, record.epoch_steps, record.epochs_done) == (4, 10, 1.5)


def test_only_what_is_new_is_read_and_a_log_that_was_cut_is_read_anew(tmp_path):
    folder = write_run(tmp_path / "run", BEGIN, step(1), step(2))
    reader, log = RunReader(folder, "run"), folder / "metrics.jsonl"
    assert len(reader.read().steps) == 2
    with log.open("a") as file:
        file.write(json.dumps(step(3)) + "\n" + '{"kind": "st')
    assert [each for each, _ in reader.read().steps] == [1, 2, 3]
    with log.open("a") as file:
        file.write('ep", "step": 4, "loss": null}\nnonsense\n')
    record = reader.read()
    assert [each for each, _ in record.steps] == [1, 2, 3, 4]
    assert math.isnan(record.steps[-1][1])
    assert record.unreadable == 1
    write_run(folder, BEGIN, step(1, 0.5), *map(step, range(2, 9)))  # longer, but not the same
    record = reader.read()
    assert [loss for _, loss in record.steps] == [0.5] + [1.0] * 7
    assert record.unreadable == 0
    log.unlink()
    assert reader.read().steps == ()


@pytest.mark.parametrize("line", ["[]", "3", '{"kind": "epoch"}', '{"kind": "step", "step": []}'])
def test_lines_that_are_no_lines_of_a_log_are_counted(tmp_path, line):
    folder = write_run(tmp_path / "run", BEGIN)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    assert read(folder).unreadable == 1


def test_runs_are_looked_for_below_folders_and_when_they_begin(tmp_path):
    write_run(tmp_path / "a", BEGIN, age=10)
    write_run(tmp_path / "folds" / "fold-1", BEGIN, age=5)
    write_run(tmp_path / ".hidden", BEGIN)
    (tmp_path / "empty").mkdir()
    watched = RunsWatched([tmp_path])
    watched.find()
    assert [run.name for run in watched.read()] == ["folds/fold-1", "a"]
    write_run(tmp_path / "b", BEGIN, age=1)
    watched.find()
    assert [run.name for run in watched.read()] == ["b", "folds/fold-1", "a"]
    both = RunsWatched([tmp_path / "a", tmp_path / "folds"])
    both.find()
    assert {run.name for run in both.read()} == {"a", "folds/fold-1"}
    assert both.is_complete


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_root_that_is_no_folder_is_said(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(FovealError, match=rf"{name}: .*Expected the folder of a run"):
        RunsWatched([tmp_path / name]).find()


def test_a_tree_too_large_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.training.run_records.MOST_FOLDERS", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
    watched = RunsWatched([tmp_path])
    watched.find()
    assert not watched.is_complete


def test_settings_that_differ(tmp_path):
    same = "[model]\nbackbone = 'resnet'\n[training]\nepochs = {}\n"
    runs = [
        read(write_run(tmp_path / "a", BEGIN, settings=same.format(4))),
        read(write_run(tmp_path / "b", BEGIN | {"images": 9}, settings=same.format(8))),
        read(write_run(tmp_path / "c", BEGIN, settings="broken = ")),
    ]
    assert settings_that_differ(runs[:2]) == {"training.epochs": ["4", "8"], "images": ["80", "9"]}
    assert settings_that_differ(runs)["model.backbone"] == ["resnet", "resnet", ""]
    assert settings_that_differ(runs[:1]) == settings_that_differ([]) == {}
