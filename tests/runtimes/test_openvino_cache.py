"""What was compiled is remembered, where there is a folder for it, and never too much of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tests.exporting.models import exported, noise

from foveal.runtimes import openvino_cache
from foveal.runtimes.openvino import OpenVINORuntime, open_openvino
from foveal.runtimes.openvino_cache import compiled_models
from foveal.runtimes.openvino_core import shared_core


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    exported("openvino")  # its check compiles too, and is not asked about here
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


def logits() -> np.ndarray:
    runtime, _ = open_openvino(exported("openvino").path, precision="float32")
    return runtime(noise(1)).logits[0]


def test_a_file_is_compiled_once(cache: Path) -> None:
    first = logits()
    (blob,) = cache.glob("*.blob")
    written = blob.stat().st_mtime_ns
    assert np.array_equal(logits(), first)
    assert [file.stat().st_mtime_ns for file in cache.iterdir()] == [written]


def test_it_is_read_and_not_compiled(cache: Path) -> None:
    model = shared_core().read_model(exported("openvino").path)
    model.reshape([1, 3, 64, 64])
    loaded = []
    for _ in range(2):
        with compiled_models() as settings:
            compiled = shared_core().compile_model(model, "CPU", settings)
        loaded.append(compiled.get_property("LOADED_FROM_CACHE"))
    assert loaded == [False, True]


@pytest.mark.parametrize("part", [0, 0.1, 0.9])
def test_a_file_that_was_cut_short_is_compiled_again(cache: Path, part: float) -> None:
    first = logits()
    (blob,) = cache.glob("*.blob")
    content = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(content[: int(len(content) * part)])
    assert np.array_equal(logits(), first)


def test_a_model_in_memory_leaves_nothing(cache: Path) -> None:
    model = shared_core().read_model(exported("openvino").path)
    OpenVINORuntime(model, precision="float32")(noise(1))
    assert not cache.exists()


def test_without_a_folder_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "file"))
    with compiled_models() as settings:
        assert settings == {}
    assert logits().shape[0] == 1


def test_without_a_home_nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cache, "cache_folder", lambda: None)
    with compiled_models() as settings:
        assert settings == {}


def test_the_oldest_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_cache, "LARGEST", 250)
    cache.mkdir(parents=True)
    for age in range(4):
        file = cache / f"{age}.blob"
        file.write_bytes(bytes(100))
        os.utime(file, (1000 - age, 1000 - age))
    (cache / "other.txt").write_text("not ours")
    with compiled_models():
        pass
    assert sorted(file.name for file in cache.iterdir()) == ["0.blob", "1.blob", "other.txt"]
