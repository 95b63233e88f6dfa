"""One data set for real: cut, gone on with, and found finished."""

import json
import os
import signal

import pytest
from tests.cli.conftest import answer_in_json, foveal
from tests.training.conftest import TINY

from foveal.data.synthetic import draw_dataset
from foveal.errors import TrainingDiverged
from foveal.experiments import bench
from foveal.training.step import TrainStep

SETS = [part for each in TINY if each != "training.export=false" for part in ("--set", each)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benched")
    draw_dataset(folder / "smears", splits={"train": 5, "valid": 2, "test": 6}, size=64)
    (folder / "sets.toml").write_text(
        '[sets.smears]\ndata = "smears/train.json"\nvalid = "smears/valid.json"\n'
        'test = "smears/test.json"\n'
    )
    return folder


def test_a_bench_that_is_cut_goes_on(folder, monkeypatch, capsys, empty_charts):
    out = folder / "out"
    arguments = ("bench", folder / "sets.toml", "--preset", "retinanet", "--seeds", 1, *SETS)
    assert foveal(monkeypatch, *arguments, "--out", out, "--dry-run") == 0
    said = capsys.readouterr()
    assert "1 recipe on 1 data set with 1 seed: 1 training to do." in said.out
    assert "train retinanet on smears, seed 0" in said.out
    assert not out.exists()

    with monkeypatch.context() as patch:
        real, calls = TrainStep.step, []

        def step(*given, **options):
            calls.append(given)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return real(*given, **options)

        patch.setattr(TrainStep, "step", step)
        assert foveal(patch, *arguments, "--out", out) == 130
    said = capsys.readouterr()
    assert "The same command goes on: foveal bench" in said.err
    assert (out / "trainings" / "smears" / "retinanet" / "seed-0" / "run" / "state").is_dir()

    document = answer_in_json(monkeypatch, capsys, *arguments, "--out", out)["bench"]
    (row,) = document["trainings"]
    assert (row["epochs"], row["images"], row["training_images"]) == (2, 6, 5)
    assert row["parts"] == 2
    assert 0 < row["minutes"] < 1
    assert row["AP"] >= 0
    assert document["missing"] == []
    assert document == json.loads((out / "bench.json").read_text())

    monkeypatch.setattr(bench, "train_and_measure", lambda *_: pytest.fail("trained again"))
    assert foveal(monkeypatch, *arguments, "--out", out) == 0
    table = capsys.readouterr().out
    assert table == (out / "bench.md").read_text()
    assert table.splitlines()[2].startswith("| retinanet | smears ")


def test_some_that_fail_are_told_by_the_exit_code(folder, monkeypatch, capsys, tmp_path):
    def diverge(*_):
        raise TrainingDiverged("The loss is not finite.")

    monkeypatch.setattr(bench, "train_and_measure", diverge)
    arguments = ("bench", folder / "sets.toml", "--out", tmp_path / "out", *SETS)
    document = answer_in_json(monkeypatch, capsys, *arguments, code=1)
    assert document["outcome"] == "partly_done"
    assert [each["failed"] for each in document["bench"]["missing"]] == [True] * 3
    assert foveal(monkeypatch, *arguments) == 1
    assert "3 trainings failed, the first: standard on smears, seed 0" in capsys.readouterr().out


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_weights_that_are_not_there_are_told_before_anything_is_trained(
    folder, monkeypatch, capsys, tmp_path, dry_run
):
    monkeypatch.setattr(bench, "train_and_measure", lambda *_: pytest.fail("trained"))
    weights = f"model.weights={tmp_path / 'none.safetensors'}"
    arguments = ("bench", folder / "sets.toml", "--out", tmp_path / "out", "--set", weights)
    assert foveal(monkeypatch, *arguments, *dry_run) == 2
    said = capsys.readouterr().err
    assert "recipe standard: " in said
    assert "none.safetensors" in said
    assert not (tmp_path / "out").exists()
