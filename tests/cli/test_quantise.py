"""`foveal quantise`, from file to file, and the precisions of the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import foveal, small_settings

from foveal.data.synthetic import draw_dataset
from foveal.inference import quantising
from foveal.models import model_file
from foveal.models.build import build_model
from foveal.models.int8 import int8_is_fast

pytestmark = pytest.mark.skipif(
    not int8_is_fast(), reason="needs a processor with VNNI and PyTorch's operators for it"
)


@pytest.fixture(scope="module")
def smears(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "smears"
    draw_dataset(folder, splits={"train": 4, "valid": 2}, size=64, seed=1)
    return folder


@pytest.fixture(scope="module")
def model(smears, tmp_path_factory) -> Path:
    from foveal import read

    settings = small_settings()
    classes = read(smears / "train.json").classes
    path = tmp_path_factory.mktemp("model") / "cells.safetensors"
    model_file.save(path, build_model(settings, len(classes)), settings, classes)
    return path


def test_a_model_file_with_ranges_is_written(model, smears, tmp_path, monkeypatch, capsys):
    out = tmp_path / "int8.safetensors"
    arguments = (model, smears / "train.json", "--check", smears / "valid.json", "--out", out)
    assert foveal(monkeypatch, "quantise", *arguments) == 0
    assert "Prediction in 8 bits on CPUs is on" in capsys.readouterr().out
    assert model_file.load(out).model.quantisation is not None
    assert model_file.load(model).model.quantisation is None
    picture = sorted((smears / "images").rglob("*.*"))[0]
    for name, file, code in (("own", out, 0), ("older", model, 2)):
        arguments = (file, picture, "--precision", "int8", "--out", tmp_path / name)
        assert foveal(monkeypatch, "predict", *arguments) == code
    assert "foveal quantise" in capsys.readouterr().err
    arguments = (out, smears / "valid.json", "--out", tmp_path / "measured")
    assert foveal(monkeypatch, "evaluate", *arguments, "--precision", "float32") == 0


def test_without_a_gain_nothing_is_written(model, smears, tmp_path, monkeypatch, capsys):
    values = iter((0.5, 0.4, 0.4, 0.4))
    monkeypatch.setattr(quantising, "_average_precision", lambda *_: next(values))
    out = tmp_path / "int8.safetensors"
    arguments = (model, smears / "train.json", "--check", smears / "valid.json", "--out", out)
    assert foveal(monkeypatch, "quantise", *arguments) == 1
    assert "is left out" in capsys.readouterr().out
    assert not out.exists()
