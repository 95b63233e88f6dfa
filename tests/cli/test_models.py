"""foveal models: what a file holds, the library, and what others have published."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import answer_in_json, foveal, small_settings

from foveal.checkpoints import model_file
from foveal.models.build import build_model
from foveal.structures import ModelCard


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = small_settings()
    path = tmp_path_factory.mktemp("made") / "best.safetensors"
    card = ModelCard(
        ("red", "Plättchen"), metrics={"AP": 0.5, "AP50": float("nan")}, epoch=7, origin=""
    )
    model_file.save(path, build_model(settings, 2, empty=True), settings, card)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_a_file_is_described(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (model, model.parent):
        assert foveal(monkeypatch, "models", "show", path) == 0
        printed = " ".join(capsys.readouterr().out.split())
        for words in (
            "trained by foveal, after epoch 7",
            "classes 2: red, Plättchen",
            "GFLOP for an input of 64 x 96",
            "sizes 32, 64, 128, 256, 512 pixels",
            "AP 0.500, AP50",
            "0.3, by default",
            f"Next: foveal predict {path} IMAGES",
        ):
            assert words in printed
    said = answer_in_json(monkeypatch, capsys, "models", "show", model)
    assert said["card"]["classes"] == ["red", "Plättchen"]
    assert said["card"]["metrics"] == {"AP": 0.5, "AP50": None}
    assert said["complexity"]["operations"] > 0
    assert said["bytes"] == model.stat().st_size


def test_the_library(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foveal(monkeypatch, "models", "list") == 0
    printed = capsys.readouterr().out
    assert f"Your library, {folder} (FOVEAL_MODELS names another folder)" in printed
    assert "no models yet" in printed
    for line in ("mmdetection-x101-64x4d-3x resnext101_64x4d", "36.4", "BSD-3-Clause"):
        assert line in printed
    words = ("models", "add", model, "--name", "cells")
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(folder / "cells.safetensors")]
    assert not folder.exists()
    assert foveal(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert "2 classes (red, Plättchen)" in printed
    assert "foveal predict cells IMAGES" in printed
    assert foveal(monkeypatch, *words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert answer_in_json(monkeypatch, capsys, *words, "--dry-run", code=2)["error"]
    added = answer_in_json(monkeypatch, capsys, *words, "--overwrite")
    assert (added["replaced"], added["classes"]) == (True, ["red", "Plättchen"])
    assert foveal(monkeypatch, "models", "add", model, "--name", "cells", "--overwrite") == 0
    assert "the model that was there is replaced" in capsys.readouterr().out
    (folder / "torn.safetensors").write_bytes(b"no model")
    (folder / "fast.onnx").write_bytes(b"")
    said = answer_in_json(monkeypatch, capsys, "models", "list")
    assert said["folder"] == str(folder)
    cells, fast, torn = said["models"]
    assert (cells["name"], cells["AP"], cells["classes"]) == ("cells", 0.5, ["red", "Plättchen"])
    assert fast["exported"] == "onnx"
    assert "no complete safetensors file" in torn["error"]
    assert foveal(monkeypatch, "models", "list") == 0
    assert "2: red, Plättchen" in capsys.readouterr().out
    assert foveal(monkeypatch, "models", "show", "cells") == 0
    assert "Next: foveal predict cells IMAGES" in capsys.readouterr().out


def test_a_name_stands_for_its_model_in_commands(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64)).save("image.png")
    foveal(monkeypatch, "models", "add", model, "--name", "cells")
    capsys.readouterr()
    assert foveal(monkeypatch, "predict", "cells", "image.png", "--out", "found") == 0
    assert f"Model cells is {folder / 'cells.safetensors'}" in capsys.readouterr().err
    assert Path("found/detections.json").is_file()
    assert foveal(monkeypatch, "predict", "cell", "image.png", "--out", "found2") == 2
    assert "a name in the library (foveal models list)" in capsys.readouterr().err


def test_a_published_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert foveal(monkeypatch, "models", "show", "odtk-r50") == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in (
        "does not download",
        "35.8 % on COCO val2017, as published",
        "BSD-3-Clause",
        "https://github.com/NVIDIA/retinanet-examples/releases/download/19.04/retinanet_rn50fpn.zip",
        "foveal import FILE --out odtk-r50.safetensors",
    ):
        assert words in printed
    assert answer_in_json(monkeypatch, capsys, "models", "show", "deepforest-tree")["AP"] is None
    assert foveal(monkeypatch, "models", "show", "odtk-r5") == 2
    assert "Did you mean 'odtk-r50'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, "no such file, no model of the library and no published checkpoint"),
        ("a.pth", b"x", "foveal import a.pth --out MODEL.safetensors"),
        ("a.safetensors", b"x", "is no complete safetensors file"),
    ],
)
def test_what_is_no_model(
    name: str,
    content: bytes | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    assert foveal(monkeypatch, "models", "show", name) == 2
    assert message in capsys.readouterr().err
    if content is not None:
        assert foveal(monkeypatch, "models", "add", name) == 2
        assert message in capsys.readouterr().err
        assert not Path("models").exists()
