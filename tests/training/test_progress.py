import io

import pytest
from rich.console import Console

from foveal.training.progress import (
    BarReporter,
    LineReporter,
    describe_step,
    describe_time,
    watching,
)
from foveal.training.reporters import Progress, SilentReporter


def progress(step=2, **changes):
    values = {
        "epoch": 1,
        "epochs": 2,
        "step": step,
        "steps": 4,
        "classification": 1.0,
        "box": 0.25,
        "learning_rate": 0.005,
        "images_per_second": 12.34,
        "seconds_left": 75.0,
        "memory_bytes": 3 * 2**30,
    }
    return Progress(**values | changes)


SUMMARY = {"epoch": 1, "loss": 1.5, "classification": 1.0, "box": 0.5, "images_per_second": 9.0}


def test_a_step_shows_everything():
    assert describe_step(progress()) == (
        "loss 1.250 (1.000 + 0.250)  rate 0.005  12.3 images/s  3.0 GB  1:15 left"
    )
    assert "left" not in describe_step(progress(seconds_left=None))
    best = describe_step(progress(best=0.4321, best_epoch=3))
    assert best.endswith("3.0 GB  best AP 0.432 (epoch 3)  1:15 left")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3660, "1 h 01 min")]
)
def test_times(seconds, expected):
    assert describe_time(seconds) == expected


def test_plain_lines_where_there_is_no_terminal(monkeypatch):
    text = io.StringIO()
    with watching(Console(file=text, width=40)) as reporter:
        reporter.step(progress())
        monkeypatch.setattr("foveal.training.progress.SECONDS_BETWEEN_LINES", 0.0)
        reporter.step(progress(3))
        reporter.epoch(SUMMARY)
        reporter.say("image [1].jpg is broken")
    lines = text.getvalue().splitlines()
    assert lines[0].startswith("epoch 1/2 step 3/4: loss 1.250")
    assert lines[1].startswith("epoch 1, loss 1.5000")
    assert lines[2] == "image [1].jpg is broken"
    assert len(lines) == 3


def test_a_bar_on_a_terminal():
    text = io.StringIO()
    console = Console(file=text, width=160, force_terminal=True, legacy_windows=False)
    with watching(console) as reporter:
        reporter.step(progress())
        reporter.epoch(SUMMARY)
        reporter.step(progress(3))
    shown = text.getvalue()
    assert "epoch 1/2" in shown
    assert "12.3 images/s" in shown
    assert "epoch 1, loss 1.5000" in shown


def test_the_default_is_the_standard_error_output(capsys):
    with watching() as reporter:
        reporter.epoch(SUMMARY)
        reporter.warn("Step 3: the loss is not finite")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[0].startswith("epoch 1, loss 1.5000")
    assert printed.err.splitlines()[1] == "Step 3: the loss is not finite"


@pytest.mark.parametrize(("widgets", "kind"), [(True, BarReporter), (False, LineReporter)])
def test_a_bar_in_a_notebook_takes_widgets(monkeypatch, widgets, kind):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: widgets or None)
    monkeypatch.setattr("rich.progress.Progress.start", lambda self: None)
    monkeypatch.setattr("rich.progress.Progress.stop", lambda self: None)
    with watching(Console(file=io.StringIO(), force_jupyter=True)) as reporter:
        assert isinstance(reporter, kind)


@pytest.mark.parametrize("name", ["RANK", "OMPI_COMM_WORLD_RANK"])
def test_only_the_first_process_shows(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    text = io.StringIO()
    with watching(Console(file=text)) as reporter:
        reporter.epoch(SUMMARY)
        reporter.say("words")
        reporter.warn("words")
        reporter.step(progress())
    assert isinstance(reporter, SilentReporter)
    assert text.getvalue() == ""
