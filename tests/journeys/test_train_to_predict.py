"""Somebody trains on their own images, the power fails, they go on, measure and predict."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import sys
import time
from multiprocessing.process import BaseProcess

import pytest
from safetensors.numpy import load_file
from tests import forked
from tests.journeys.conftest import TINY_SETS

import foveal as library
from foveal import cli

SIZES = ("--set", "training.save_every_steps=1", "--set", "training.log_every=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def train(arguments: list[str]) -> None:
    sys.argv = ["foveal", "train", *arguments]
    cli.main()


def wait_for_steps(path, count: int, process: BaseProcess) -> None:
    until = time.monotonic() + 120
    while not path.is_file() or path.read_bytes().count(b'"kind": "step"') < count:
        assert process.is_alive(), "training ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.005)


def test_train_is_killed_and_goes_on_to_the_same_weights(foveal, smears, home, empty_charts):
    data = ("--valid", smears / "valid.json", *TINY_SETS, *SIZES)
    data = (smears / "train.json", *data, "--set", "training.epochs=3")
    arguments = [*map(str, data), "--out", str(home / "run")]
    process = forked._CONTEXT.Process(target=train, args=(arguments,))
    process.start()
    wait_for_steps(home / "run" / "metrics.jsonl", 3, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL

    code, _, error = foveal("train", *data, "--out", home / "run")
    assert code == 2, "a run is not replaced unless asked"
    assert "--resume" in error

    code, said, shown = foveal("train", *data, "--out", home / "run", "--resume")
    assert code == 0
    assert "epoch 3, loss" in shown
    assert "Nothing was learned" in said, "in a few steps, which the last words say"

    assert foveal("train", *data, "--out", home / "whole")[0] == 0
    resumed, whole = (load_file(home / run / "last.safetensors") for run in ("run", "whole"))
    assert resumed.keys() == whole.keys()
    for name, values in whole.items():
        assert (resumed[name] == values).all(), name


def test_then_it_is_measured(foveal, smears, home):
    model, out = home / "run" / "best.safetensors", home / "measured"
    code, said, _ = foveal("evaluate", model, smears / "test.json", "--out", out)
    assert code == 0
    assert "4 images" in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["images"] == 4
    assert list(metrics["per_class"]) == ["normal", "infected", "platelet"]
    report = (out / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "Training" in report


def test_then_it_finds_objects_and_people_correct_them(foveal, smears, home):
    model, out = home / "run" / "best.safetensors", home / "found"
    images = smears / "images"
    code, said, _ = foveal("predict", model, images, "--out", out, "--score-threshold", 0.005)
    assert code == 0
    found = library.read(out / "detections.json", images=images)
    assert len(found) == 16
    objects = sum(len(record.boxes) for record in found)
    assert f"{objects:,} found in 16 images" in said

    with (out / "counts.csv").open() as file:
        counted = list(csv.DictReader(file))
    assert sum(int(row["total"]) for row in counted) == objects

    # Detections are a data set: they can be checked and turned into another format's annotations.
    converted = ("data", "convert", out / "detections.json", home / "voc", "--to", "voc")
    code, _, _ = foveal(*converted, "--images", images)
    assert code == 0
    again = library.read(home / "voc")
    assert sum(len(record.boxes) for record in again) == objects


def test_one_broken_image_of_many_is_named(foveal, smears, home, tmp_path):
    folder = tmp_path / "images"
    shutil.copytree(smears / "images", folder)
    (folder / "half.jpg").write_bytes((folder / "test_0000.jpg").read_bytes()[:400])
    model = home / "run" / "best.safetensors"
    code, said, error = foveal("predict", model, folder, "--out", tmp_path / "out")
    assert code == 1
    assert "half.jpg" in error
    assert "in 16 images" in said
