"""Somebody types what the README's section Use shows: in a shell, then in Python."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from tests.journeys.conftest import TINY_SETS

import foveal as library
from foveal import config
from foveal.data import formats

pytestmark = pytest.mark.usefixtures("empty_charts")

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def home(smears, tmp_path, monkeypatch):
    """The folder that the README's commands are typed in: cells/ (VOC), smears/, smear.jpg."""
    data = library.read(smears / "train.json").merge(library.read(smears / "test.json"))
    splits = {"train": range(6), "val": range(6, 8), "test": range(8, 12)}
    formats.write(data, tmp_path / "cells", "voc", splits=splits)
    shutil.copytree(smears / "images", tmp_path / "smears")
    shutil.copy(smears / "images" / "test_0000.jpg", tmp_path / "smear.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(language: str) -> str:
    use = README.read_text(encoding="utf-8").partition("\n## Use\n")[2]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", use, re.DOTALL | re.MULTILINE)
    return block


def test_the_commands(foveal, home):
    lines = [shlex.split(line, comments=True) for line in shown("bash").splitlines()]
    assert [line[1] for line in lines].count("train") == 2
    for _, *words in lines:
        extra = TINY_SETS if words[0] == "train" else []
        code, _, error = foveal(*words, *extra)
        assert code == 0, f"{words}: {error}"
    for made in (
        "run/best.safetensors",
        "run/report.html",
        "measured/report.html",
        "measured/metrics.json",
        "found/pictures",
        "found/detections.json",
        "found/detections.csv",
        "found/counts.csv",
        "cells-yolo/data.yaml",
        "cells.onnx",
    ):
        assert (home / made).exists(), made


def test_the_python(home, monkeypatch):
    model = {"weights": "none", "fpn_channels": 16, "head_channels": 16, "head_depth": 1}
    training = {"workers": 0, "batch": 4, "warmup_steps": 0, "precision": "float32"}
    small = {
        "model": model | {"norm": "live"},
        "preparation": {"shorter": 64, "longer": 64},
        "training": training,
    }
    monkeypatch.setitem(config.PRESETS, "standard", small)
    source = shown("python")
    assert '"resnet50"' in source
    assert "epochs=20" in source
    names: dict[str, object] = {}
    exec(source.replace('"resnet50"', '"test_resnet"').replace("epochs=20", "epochs=1"), names)
    assert isinstance(names["found"], library.Detections)
    assert (home / "cells.safetensors").is_file()
