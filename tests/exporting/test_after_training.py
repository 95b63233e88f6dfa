"""What the process that exports says reaches whoever trains, and its end does no harm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from foveal.data.dataset import Dataset
from foveal.exporting.after_training import export_best

PROGRAM = """#!/bin/sh
{commands}
"""


def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str) -> tuple[bool, list[str]]:
    """What is said where these commands stand in for the process."""
    program = tmp_path / "python"
    program.write_text(PROGRAM.format(commands=commands))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    said: list[str] = []
    model, none = tmp_path / "best.safetensors", Dataset((), (), tmp_path)
    made = export_best(
        model, model.with_suffix(".xml"), calibration=None, check=none, say=said.append
    )
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
