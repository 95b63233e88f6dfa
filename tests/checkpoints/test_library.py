"""A folder of model files in which each has a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.checkpoints import library
from foveal.checkpoints.finding import network_file, prediction_file
from foveal.checkpoints.library import (
    add_to_library,
    find_in_library,
    library_folder,
    library_models,
    library_name,
    resolve_model,
)
from foveal.errors import ModelFileError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FOVEAL_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def made(path: Path, content: bytes = b"model") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library_folder() == tmp_path / "models"
    monkeypatch.delenv("FOVEAL_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert library_folder() == tmp_path / "foveal" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    assert library_folder() == tmp_path / "me" / ".local" / "share" / "foveal" / "models"


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("FOVEAL_MODELS")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ModelFileError, match="environment variable FOVEAL_MODELS"):
        library_folder()
    assert library_models() == ()


def test_no_library_has_no_models() -> None:
    assert library_models() == ()
    assert find_in_library("cells") is None


def test_what_is_added_is_found_by_its_name(tmp_path: Path, folder: Path) -> None:
    source = made(tmp_path / "a" / "cells.safetensors")
    target = add_to_library(source, name="cells")
    assert target == folder / "cells.safetensors"
    assert target.read_bytes() == source.read_bytes()
    assert library_models() == (target,)
    assert find_in_library("cells") == find_in_library("cells.safetensors") == target
    assert network_file("cells") == prediction_file("cells") == resolve_model("cells") == target
    assert find_in_library("cell") is None
    assert find_in_library("../models/cells") is None
    assert resolve_model("models/none") == Path("models/none")


def test_what_is_here_comes_before_the_library(tmp_path: Path) -> None:
    add_to_library(made(tmp_path / "cells.safetensors"), name="cells")
    here = made(tmp_path / "cells")
    assert resolve_model("cells") == Path("cells")
    here.unlink()
    assert resolve_model("cells") != Path("cells")


def test_a_name_is_given_once(tmp_path: Path, folder: Path) -> None:
    first, second = made(tmp_path / "a.safetensors"), made(tmp_path / "b.onnx", b"other")
    add_to_library(first, name="cells")
    with pytest.raises(ModelFileError, match=r"has a model 'cells' already.*--name.*--overwrite"):
        add_to_library(second, name="cells")
    assert add_to_library(second, name="cells", overwrite=True) == folder / "cells.onnx"
    assert [file.name for file in library_models()] == ["cells.onnx"]
    with pytest.raises(ModelFileError, match="is in the library already"):
        add_to_library(folder / "cells.onnx", name="cells", overwrite=True)
    assert (folder / "cells.onnx").read_bytes() == b"other"


def test_openvinos_two_files_go_together(tmp_path: Path, folder: Path) -> None:
    made(tmp_path / "best.bin", b"weights")
    add_to_library(made(tmp_path / "best.xml"), name="cells")
    assert (folder / "cells.bin").read_bytes() == b"weights"
    add_to_library(made(tmp_path / "a.safetensors"), name="cells", overwrite=True)
    assert [file.name for file in folder.iterdir()] == ["cells.safetensors"]


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelFileError, match=r"best\.bin: can't be read"):
        add_to_library(made(tmp_path / "best.xml"), name="cells")
    assert library_models() == ()


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("cells.safetensors", None, "cells"),
        ("runs/cells 2/best.safetensors", None, "cells-2"),
        ("runs/cells/last.safetensors", None, "cells"),
        ("runs/Öltanker.safetensors", None, "Öltanker"),
        ("runs/best.safetensors", "ships", "ships"),
    ],
)
def test_names(file: str, name: str | None, expected: str) -> None:
    assert library_name(Path(file), name=name) == expected


@pytest.mark.parametrize("name", ["", "a/b", "..", ".cells", "cells.onnx", "two words"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ModelFileError, match="is no name for a model in the library"):
        library_name(Path("cells.safetensors"), name=name)


def test_other_files_are_no_models(folder: Path) -> None:
    for name in ("notes.txt", ".cells.safetensors.abcdefgh.part", "cells.bin"):
        made(folder / name)
    assert library_models() == ()
    assert library.find_in_library("notes") is None
