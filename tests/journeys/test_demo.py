"""Somebody tries foveal for the first time."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json

import foveal as library
from foveal.config import make_settings

pytestmark = pytest.mark.usefixtures("empty_charts")

demo = import_module("foveal.cli.demo")  # foveal.cli.demo is the verb itself
SMALL = ("--images", "13", "--epochs", "1", "--seed", "1")


@pytest.fixture
def smaller(monkeypatch):
    """The demo with the least network."""
    model = demo.SETTINGS["model"] | {"backbone": "test_resnet", "fpn_channels": 32}
    training = demo.SETTINGS["training"] | {"workers": 0, "export": False}
    monkeypatch.setattr(demo, "SETTINGS", demo.SETTINGS | {"model": model, "training": training})


def test_a_demo_that_was_broken_off_can_be_run_again(foveal, smaller, tmp_path, monkeypatch):
    out = tmp_path / "demo"
    with monkeypatch.context() as patch:
        patch.setattr(demo, "_run", lambda arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        foveal("demo", "--out", out, *SMALL)
    assert (out / "data" / "train.json").is_file()
    assert not (out / "run").exists()

    code, said, _ = foveal("demo", "--out", out, *SMALL)
    assert code == 0
    for name in ("report.html", "metrics.json"):
        assert (out / "evaluation" / name).is_file()
    assert len(list((out / "found" / "pictures").iterdir())) == 3
    with Image.open(out / "picture.png") as picture:
        assert picture.width > 1000
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert metrics["images"] == 3
    assert f"AP50 {metrics['AP50']:.3f}" in said
    for verb in ("data check", "anchors", "train", "evaluate", "predict"):
        assert f"$ foveal {verb} " in said
    assert str(out / "evaluation" / "report.html") in said.splitlines()[-7:][1]


def test_a_quick_demo_is_small_and_says_so(foveal, tmp_path, monkeypatch, capsys):
    out = tmp_path / "demo"
    done = []

    def run(arguments):
        done.append(arguments[0])
        if arguments[0] == "evaluate":
            metrics = {"AP50": 0.5, "counts": {"relative_error": None}, "images": 18}
            (out / "evaluation").mkdir()
            (out / "evaluation" / "metrics.json").write_text(json.dumps(metrics))

    monkeypatch.setattr(demo, "_run", run)
    monkeypatch.setattr(demo, "_draw_picture", lambda paths: None)
    planned = answer_in_json(monkeypatch, capsys, "demo", "--out", out, "--dry-run")
    assert planned["steps"][1].startswith("foveal data check ")
    assert not out.exists()
    code, said, _ = foveal("demo", "--out", out, "--quick", "--images", "12")
    assert code == 0
    assert done == ["data", "anchors", "train", "evaluate", "predict"]
    assert "its numbers mean little" in said
    settings = make_settings(file=out / "settings.toml").training
    assert (settings.epochs, settings.evaluate_every, settings.export) == (6, 6, False)
    assert len(list((out / "data" / "images").iterdir())) == 12

    words = ("demo", "--out", out, "--images", "12", "--epochs", "3")
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert str(out / "data") in planned["removes"]
    code, said, _ = foveal(*words)
    assert code == 0
    assert "mean little" not in said
    shown = answer_in_json(monkeypatch, capsys, *words)
    assert (shown["AP50"], shown["count_error"], shown["images"]) == (0.5, None, 18)
    settings = make_settings(file=out / "settings.toml").training
    assert (settings.epochs, settings.evaluate_every, settings.export) == (3, 6, True)


def test_a_demo_touches_no_foreign_folder(foveal, tmp_path):
    (tmp_path / "thesis.docx").write_text("irreplaceable")
    (tmp_path / "data").mkdir()
    code, _, error = foveal("demo", "--out", tmp_path, *SMALL)
    assert code == 2
    assert "thesis.docx" in error
    assert "--out DIR" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "thesis.docx"]

    (tmp_path / "thesis.docx").unlink()
    code, _, error = foveal("demo", "--out", tmp_path, *SMALL)
    assert code == 2, "a folder of data without a demo's settings is somebody's own"
    assert (tmp_path / "data").is_dir()


def test_a_data_set_is_drawn_to_go_the_way_by_hand(foveal, tmp_path, monkeypatch, capsys):
    out = tmp_path / "cells"
    words = ("demo", "--draw-only", "--images", "13", "--out", out)
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(out)]
    assert not out.exists()
    drawn = answer_in_json(monkeypatch, capsys, *words)
    splits = [library.read(f"{out}:{name}") for name in ("train", "val", "test")]
    assert [len(split) for split in splits] == [8, 2, 3]
    assert drawn["objects"] == sum(len(record.boxes) for split in splits for record in split)
    assert make_settings(file=Path(drawn["settings"])).model.weights == "none"
    code, _, error = foveal(*words)
    assert code == 2
    assert "is there already" in error
    assert not (out / "run").exists(), "nothing is trained"


def test_a_demo_needs_a_folder(foveal, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = foveal("demo", "--out", tmp_path / "file")
    assert code == 2
    assert "is a file" in error


def test_the_settings_learn_from_scratch():
    overrides = [
        f"{section}.{name}={json.dumps(value)}"
        for section, part in demo.SETTINGS.items()
        for name, value in part.items()
    ]
    settings = make_settings(overrides=overrides)
    assert settings.model.weights == "none", "the demo needs no network"
    assert settings.model.norm != "frozen", "frozen norms learn nothing from scratch"
