"""Training on a CPU ends with an exported model, which predicts without PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.journeys.conftest import TINY
from tests.listener import Listener

import foveal as library
from foveal.checkpoints import finding
from foveal.config import make_settings
from foveal.errors import ModelFileError, TrainingError

pytestmark = pytest.mark.usefixtures("empty_charts")

FIXED = ("training.epochs=1", "training.export=true", "training.int8=false")


@pytest.fixture(scope="module")
def run(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run, and what it said."""
    out = tmp_path_factory.mktemp("exported") / "run"
    listener = Listener()
    settings = make_settings(preset="retinanet", overrides=[*TINY, *FIXED])
    detector = library.Detector(smears / "train.json", settings=settings)
    detector.fit(valid=smears / "valid.json", out=out, reporter=listener)
    return out, listener.said


@pytest.fixture(autouse=True)
def without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_has_accelerator", lambda: False)


def test_the_run_has_it_and_says_what_it_gains(run: tuple[Path, list[str]]) -> None:
    out, said = run
    assert (out / "best.xml").is_file()
    assert (out / "best.bin").is_file()
    (told,) = [text for text in said if "best.xml" in text]
    assert "OpenVINO" in told
    assert "times as fast as PyTorch" in told
    before = said[: said.index(told)]
    assert before[-2:] == [
        "Turning the network into an OpenVINO model.",
        "Comparing it with PyTorch.",
    ]


def test_it_finds_what_the_network_finds(run: tuple[Path, list[str]], smears: Path) -> None:
    out, _ = run
    image = sorted((smears / "images").glob("valid_*"))[0]
    fast, slow = library.load(out), library.load(out / "best.safetensors")
    assert fast.predictor().runtime.name == "OpenVINO"
    assert fast.card == slow.card
    # The network has hardly learned anything: its best are looked at, whatever their scores.
    found = fast.predictor(score_threshold=0.0, precision="float32").detect(image)
    expected = slow.predictor(score_threshold=0.0, precision="float32").detect(image)
    assert len(found) >= 20
    np.testing.assert_allclose(found.scores[:20], expected.scores[:20], atol=1e-4)
    assert found.classes == expected.classes
    for box, label in zip(expected.boxes[:20], expected.labels[:20], strict=True):
        near = np.abs(found.boxes - box).max(axis=1) < 0.05
        assert (found.labels[near] == label).any()


def test_predicting_and_measuring_with_a_run_load_no_torch(
    run: tuple[Path, list[str]], smears: Path, tmp_path: Path
) -> None:
    out, _ = run
    code = """
import json, sys
from foveal import cli
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["foveal", *arguments]
    try:
        cli.main()
    except SystemExit as exit:
        assert not exit.code, exit.code
heavy = {"torch", "torchvision", "timm", "accelerate", "nncf", "onnx"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    image = sorted((smears / "images").glob("test_*"))[0]
    lines = [
        ["predict", out, image, "--out", tmp_path / "found", "--device", "cpu"],
        ["evaluate", out, smears / "test.json", "--out", tmp_path / "measured"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([[str(word) for word in line] for line in lines])],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path / "home")},
    )
    assert done.stdout.splitlines()[-1] == "loaded: []"
    assert json.loads((tmp_path / "found" / "detections.json").read_text())["images"]
    assert (tmp_path / "found" / "pictures").is_dir()
    assert (tmp_path / "measured" / "report.html").is_file()


def test_loading_it_in_python_loads_no_torch(
    run: tuple[Path, list[str]], smears: Path, tmp_path: Path
) -> None:
    out, _ = run
    code = """
import sys, foveal
detector = foveal.load(sys.argv[1])
detector.detect(sys.argv[2])
print(*detector.classes)
print("loaded:", sorted({"torch", "torchvision", "timm", "accelerate"} & set(sys.modules)))
"""
    image = sorted((smears / "images").glob("test_*"))[0]
    done = subprocess.run(
        [sys.executable, "-c", code, str(out / "best.xml"), str(image)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path / "home")},
    )
    assert done.stdout.splitlines() == ["normal infected platelet", "loaded: []"]


def test_measuring_with_it(
    foveal, run: tuple[Path, list[str]], smears: Path, tmp_path: Path
) -> None:
    out, _ = run
    numbers = []
    for model in (out, out / "best.xml", out / "best.safetensors"):
        measured = tmp_path / f"measured{len(numbers)}"
        code, _, error = foveal("evaluate", model, smears / "test.json", "--out", measured)
        assert code == 0, error
        numbers.append(json.loads((measured / "metrics.json").read_text()))
    assert numbers[0] == numbers[1]
    assert numbers[0]["AP"] == pytest.approx(numbers[2]["AP"], abs=0.01)
    assert numbers[0]["score_threshold"] == numbers[2]["score_threshold"]


def test_it_can_do_nothing_but_predict(run: tuple[Path, list[str]], tmp_path: Path) -> None:
    out, _ = run
    alone = library.load(out / "best.xml")
    with pytest.raises(ModelFileError, match=r"an exported model, which can only predict"):
        alone.save(tmp_path / "cells.safetensors")
    with pytest.raises(TrainingError, match="start="):
        alone.fit()
    # Of a run the network is at hand too.
    library.load(out).save(tmp_path / "cells.safetensors")
    assert library.load(tmp_path / "cells.safetensors").card == alone.card


def test_another_training_in_the_folder_takes_it_away(
    run: tuple[Path, list[str]], smears: Path
) -> None:
    out, _ = run
    settings = make_settings(
        preset="retinanet", overrides=[*TINY, "training.epochs=1", "training.export=false"]
    )
    detector = library.Detector(smears / "train.json", settings=settings)
    detector.fit(valid=smears / "valid.json", out=out, overwrite=True, progress=False)
    assert not (out / "best.xml").exists()
    assert not (out / "best.bin").exists()
    assert library.load(out).predictor().runtime.name == "PyTorch"
