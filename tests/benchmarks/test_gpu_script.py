"""The script that runs everything on a GPU, with a stand-in for Python."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def run_script(tmp_path: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run gpu.sh with a shell script in the place of Python."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(fake), "OUT": str(tmp_path / "out")}
    call = [str(FOLDER / "gpu.sh")]
    return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60)


def test_gpu_script_goes_on_after_a_failure(tmp_path: Path) -> None:
    done = run_script(tmp_path, 'echo "ran $*"\ncase "$*" in *speed.runtimes*) exit 3;; esac')
    assert not done.stderr
    ran = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ran ")]
    assert done.returncode == 1
    end = "FAILED: prediction (exit code 3)\nFAILED: export to ONNX (exit code 3)\n"
    assert done.stdout.endswith(end)
    assert ran[1][:5] == ["-m", "pytest", "-q", "-m", "gpu"]
    assert "tests/models/test_parity.py" in ran[1]
    programs = [call[1] for call in ran if call[1].startswith("benchmarks.")]
    assert all(importlib.util.find_spec(program) for program in programs)
    assert "benchmarks.speed.growth" in programs


def test_gpu_script_ends_at_once_without_a_gpu(tmp_path: Path) -> None:
    done = run_script(tmp_path, "exit 3")
    assert done.returncode == 1
    assert done.stdout.endswith("Without a GPU there is nothing to run.\n")


def test_gpu_scripts_options_are_those_of_the_benchmarks() -> None:
    text = (FOLDER / "gpu.sh").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "--device cuda" in line]
    assert len(lines) >= 4
    for line in lines:
        program, *words = line.split('"$PYTHON" -m ')[1].replace('"$OUT"', "out").split()
        options = importlib.import_module(program).parse(words)
        assert options.device == "cuda"
