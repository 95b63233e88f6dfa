"""MODEL may be a file or the folder of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.checkpoints import finding
from foveal.checkpoints.finding import network_file, prediction_file
from foveal.errors import ModelFileError


def run_folder(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_has_accelerator", lambda: False)


def test_a_file_is_itself(tmp_path: Path) -> None:
    path = run_folder(tmp_path, "cells.safetensors") / "cells.safetensors"
    assert network_file(path) == prediction_file(str(path)) == path


def test_of_a_run_the_best_model_is_meant(tmp_path: Path) -> None:
    run_folder(tmp_path, "last.safetensors")
    assert network_file(tmp_path) == tmp_path / "last.safetensors"
    run_folder(tmp_path, "best.safetensors")
    assert network_file(tmp_path) == prediction_file(tmp_path) == tmp_path / "best.safetensors"


@pytest.mark.usefixtures("without_accelerator")
def test_on_a_cpu_the_exported_model_predicts(tmp_path: Path) -> None:
    run_folder(tmp_path, "best.safetensors", "best.xml", "best.bin")
    assert prediction_file(tmp_path) == tmp_path / "best.xml"
    assert prediction_file(tmp_path, device="cpu") == tmp_path / "best.xml"
    assert prediction_file(tmp_path, device="cuda") == tmp_path / "best.safetensors"
    assert network_file(tmp_path) == tmp_path / "best.safetensors"


def test_with_an_accelerator_the_network_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_has_accelerator", lambda: True)
    run_folder(tmp_path, "best.safetensors", "best.xml")
    assert prediction_file(tmp_path) == tmp_path / "best.safetensors"
    assert prediction_file(tmp_path, device="cpu") == tmp_path / "best.xml"


@pytest.mark.usefixtures("without_accelerator")
def test_without_openvino_the_network_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run_folder(tmp_path, "best.safetensors", "best.xml")
    assert prediction_file(tmp_path) == tmp_path / "best.safetensors"


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"a folder without best\.safetensors"):
        prediction_file(tmp_path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.onnx: no such file\. Expected a model"):
        prediction_file(tmp_path / "none.onnx")


def test_an_exported_model_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"best\.xml: is an exported model, which can only"):
        network_file(tmp_path / "best.xml")
