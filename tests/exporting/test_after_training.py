"""What the process that exports says reaches whoever trains; neither's end harms or holds up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from foveal.data.dataset import Dataset
from foveal.exporting import after_training
from foveal.exporting.after_training import export_best

PROGRAM = """#!/bin/sh
{commands}
"""


def export(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commands: str,
    say: Callable[[str], None],
) -> bool:
    """Export where these commands stand in for the process."""
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(commands=commands))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    model, none = tmp_path / "best.safetensors", Dataset((), (), tmp_path)
    return export_best(model, model.with_suffix(".xml"), calibration=None, check=none, say=say)


def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str) -> tuple[bool, list[str]]:
    """What is said then, after the first sentence."""
    said: list[str] = []
    made = export(tmp_path, monkeypatch, commands, said.append)
    return made, said[1:]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell's")
def test_steps_are_said_and_the_result_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = f"""cat > {tmp_path}/asked
printf 'a note of others\\n  0%%\\r\\036step One.\\n\\036result Done.\\n'
touch {tmp_path}/best.xml"""
    made, said = told(tmp_path, monkeypatch, commands)
    assert made
    assert said == ["One.", "Done."]
    assert (tmp_path / "asked").stat().st_size > 100


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell's")
def test_a_process_that_dies_before_it_has_read_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = "exec <&-; printf '\\036step One.\\n'; echo 'no such instruction' >&2; exit 132"
    made, said = told(tmp_path, monkeypatch, commands)
    assert not made
    assert said[0] == "One."
    assert "was not exported" in said[1]
    assert "no such instruction" in said[1]
    assert "training.export=false" in said[1]


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell's")
def test_whoever_stops_does_not_wait_for_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(text: str) -> None:
        if text == "One.":
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        export(tmp_path, monkeypatch, "printf '\\036step One.\\n'; exec sleep 60", stop)
    assert time.monotonic() - began < 30


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell's")
def test_much_may_be_asked_of_a_process_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(after_training.pickle, "dumps", lambda _: b"0" * 2**20)
    made, said = told(tmp_path, monkeypatch, "exec <&-; exit 3")
    assert not made
    assert "it ended with code 3" in said[0]
