"""`foveal train --folds` and `--fractions`: what is refused, and what is said at the end."""

from __future__ import annotations

import json

import pytest
from tests.cli.conftest import answer_in_json
from tests.cli.test_train import SETS, run
from tests.experiments.stand_ins import StandIn, fit_at_once

from foveal.cli.train_experiments import check_experiment
from foveal.data.synthetic import draw_dataset
from foveal.detector import Detector
from foveal.errors import SettingsError, TrainingError
from foveal.experiments import folds, fractions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears")
    draw_dataset(folder, splits={"train": 4, "valid": 2}, size=64)
    return folder


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(Detector, "fit", fit_at_once)
    for module, page in ((folds, "write_folds_page"), (fractions, "write_fractions_page")):
        monkeypatch.setattr(module, "train_part", StandIn())
        monkeypatch.setattr(module, page, lambda path, *_: path.write_text("page"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"folds": 5, "fractions": "0.5,1"}, "--folds 5 and --fractions 0.5,1: give one of them"),
        ({"folds": 5, "others": {"--valid": True}}, "no validation images"),
        ({"fractions": "0.5,1", "others": {"--unlabeled": True}}, "don't go together"),
        ({"folds": 5, "changes": ["training.validation_fraction=0.3"]}, "nothing else is held out"),
        ({"fractions": "half"}, "expected numbers with commas"),
    ],
)
def test_what_does_not_go_together_is_refused(given, words):
    with pytest.raises(SettingsError, match=words):
        check_experiment(
            **({"folds": None, "fractions": None, "changes": [], "others": {}} | given)
        )


def test_without_either_it_is_a_plain_run():
    assert (
        check_experiment(folds=None, fractions=None, changes=["x"], others={"--valid": True})
        is None
    )


def test_folds_by_a_command(data, tmp_path, at_once):
    out = tmp_path / "run"
    with pytest.raises(SettingsError, match="--folds and --valid"):
        run(data / "train.json", "--valid", data / "valid.json", "--folds", 2, *SETS)
    said = run(data / "train.json", "--folds", 2, "--out", out, *SETS).output
    assert "mean and standard deviation of 2 folds" in said
    assert "All 4 images together" in said
    assert f"The model of all images: {out / 'best.safetensors'}" in said
    source = json.loads((out / "folds.json").read_text())["data"]
    assert source["address"] == str(data / "train.json")
    with pytest.raises(TrainingError, match="holds a training in folds"):
        run(data / "train.json", "--out", out, "--resume", *SETS)


@pytest.mark.parametrize("kind", ["folds", "fractions"])
def test_json(kind, data, tmp_path, at_once, monkeypatch, capsys):
    value = {"folds": "2", "fractions": "0.5,1"}[kind]
    out = tmp_path / "run"
    words = ("train", data / "train.json", f"--{kind}", value, "--out", out, *SETS)
    assert answer_in_json(monkeypatch, capsys, *words, "--dry-run")["writes"] == [str(out)]
    assert not out.exists()
    done = answer_in_json(monkeypatch, capsys, *words)
    assert done[kind] == json.loads((out / f"{kind}.json").read_text())
    assert len(done[kind][kind]) == 2
    assert answer_in_json(monkeypatch, capsys, *words, "--dry-run", code=2)["error"]


def test_fractions_by_a_command(data, tmp_path, at_once):
    arguments = (data / "train.json", "--valid", data / "valid.json", "--out", tmp_path / "run")
    said = run(*arguments, "--fractions", "0.5,1", *SETS).output
    assert "fraction-0.5: 2 images, AP" in said
    assert "can't be told: only 2 validation images show objects" in said
    assert "The model of fraction-1" in said
