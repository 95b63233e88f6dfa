"""The command line as a whole: mistakes end in one message, help and version work."""

from __future__ import annotations

import subprocess
import sys

import pytest

import foveal
from foveal import cli
from foveal.errors import DataError


def run_main(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["foveal", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code or 0


@pytest.fixture
def failing_verb():
    """A verb that fails as its one argument says, taken away again after the test."""
    before = list(cli.app.registered_commands)

    def fail(kind: str) -> None:
        if kind == "foveal":
            raise DataError("cells.json: no images. Expected at least one.")
        raise ZeroDivisionError("a bug")

    cli.app.command("fail")(fail)
    yield
    cli.app.registered_commands[:] = before


def test_a_foveal_error_is_one_message_and_exit_code_2(monkeypatch, capsys, failing_verb):
    assert run_main(monkeypatch, "fail", "foveal") == 2
    printed = capsys.readouterr()
    assert printed.err == "error: cells.json: no images. Expected at least one.\n"
    assert printed.out == ""


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch, capsys, failing_verb):
    assert run_main(monkeypatch, "fail", "bug") == 70
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "ZeroDivisionError: a bug" in printed.err
    assert printed.err.endswith("and the command: foveal fail bug\n")
    assert printed.out == ""


def test_an_unknown_verb_is_exit_code_2(monkeypatch, capsys):
    assert run_main(monkeypatch, "trian") == 2
    assert "trian" in capsys.readouterr().err


def test_version(monkeypatch, capsys):
    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"foveal {foveal.__version__}\n"


def test_help_has_a_line_for_every_verb(monkeypatch, capsys):
    assert run_main(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for command in cli.app.registered_commands:
        assert (command.name or command.callback.__name__) in shown


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "foveal", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"foveal {foveal.__version__}\n"
