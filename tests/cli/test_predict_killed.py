"""`foveal predict` killed again and again."""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

import pytest
from tests import forked
from tests.cli.scene_files import WINDOWS, leave_charts_undrawn, write_model, write_scene, written

from foveal import cli

KILLS = 3


def predict(arguments: list[str]) -> None:
    sys.argv = ["foveal", "predict", *arguments]
    with pytest.MonkeyPatch.context() as monkeypatch:
        leave_charts_undrawn(monkeypatch)
        cli.main()


def start(arguments: list[object]):
    process = forked._CONTEXT.Process(target=predict, args=([str(each) for each in arguments],))
    process.start()
    return process


def bands(out: Path) -> int:
    return len(list(out.glob("unfinished/scene-*/band-*.npz")))


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_files(tmp_path):
    model = write_model(tmp_path / "ships.safetensors")
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for number in range(2):
        write_scene(scenes / f"{number}.tif", width=256, height=1200, seed=number)
    arguments = [model, scenes, *WINDOWS, "--batch", 4]
    whole = start([*arguments, "--out", tmp_path / "whole"])
    whole.join()
    assert whole.exitcode == 0
    assert (tmp_path / "whole" / "detections.csv").read_text().count("\n") > 100
    out, dice = tmp_path / "killed", random.Random(0)
    killed = finished = 0
    for number in range(KILLS):
        process = start([*arguments, "--out", out, "--resume"])
        wanted = bands(out) + dice.randint(1, 2)
        while process.is_alive() and bands(out) < wanted:
            time.sleep(0.005)
        time.sleep(dice.random() * 0.3)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        finished = max(finished, bands(out))
        assert number or killed
    assert killed >= 2
    assert finished > 2
    last = start([*arguments, "--out", out, "--resume"])
    last.join()
    assert last.exitcode == 0
    assert written(out) == written(tmp_path / "whole")
