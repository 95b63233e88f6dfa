"""Finished bands on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from foveal.errors import FovealError
from foveal.inference.scene_work import FINISHED, Origin, SceneWork


@pytest.fixture
def scene(tmp_path) -> Path:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"pixels")
    return path


def origin(tmp_path: Path, *scenes: Path, model: bytes = b"weights", **settings: object) -> Origin:
    (tmp_path / "cells.safetensors").write_bytes(model)
    return Origin.of(scenes, model=[tmp_path / "cells.safetensors"], settings=settings)


def test_bands_come_back_as_they_were(tmp_path):
    work = SceneWork(tmp_path / "out")
    work.begin(Origin({}, "", {}))
    arrays = {"boxes": np.arange(8, dtype=np.float32).reshape(2, 4), "none": np.zeros((0, 4))}
    work.write(0, 3, arrays)
    assert work.finished(0, 5) == {3}
    assert work.finished(1, 5) == set()
    read = work.read(0, 3)
    assert set(read) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == value.dtype
    assert work.read(0, 4) is None


def test_what_is_different_is_said(tmp_path, scene):
    work = SceneWork(tmp_path / "out")
    before = origin(tmp_path, scene, **{"--tile": 640})
    work.begin(before)
    work.check_origin(origin(tmp_path, scene, **{"--tile": 640}))
    for other, said in (
        (origin(tmp_path, scene, **{"--tile": 512}), "--tile was 640 and is 512"),
        (origin(tmp_path, scene, model=b"others", **{"--tile": 640}), "the model is another one"),
        (origin(tmp_path, **{"--tile": 640}), "scene.tif is no longer among the images"),
        (origin(tmp_path, scene, tmp_path / "b.tif", **{"--tile": 640}), "b.tif is new among"),
    ):
        with pytest.raises(FovealError, match="can't be gone on with") as refused:
            work.check_origin(other)
        assert said in str(refused.value)
        assert "--overwrite" in str(refused.value)
    os.utime(scene, ns=(1, 1))
    with pytest.raises(FovealError, match=r"scene\.tif was changed"):
        work.check_origin(origin(tmp_path, scene, **{"--tile": 640}))


def test_unfinished_work_is_neither_mixed_nor_lost(tmp_path, scene):
    work = SceneWork(tmp_path / "out")
    work.check(resume=False, overwrite=False)
    work.check(resume=True, overwrite=False)  # nothing is there: it begins
    work.begin(origin(tmp_path, scene))
    work.write(0, 0, {"boxes": np.zeros((0, 4))})
    with pytest.raises(FovealError, match=r"--resume goes on.*--overwrite throws"):
        work.check(resume=False, overwrite=False)
    with pytest.raises(FovealError, match="Expected one of them"):
        work.check(resume=True, overwrite=True)
    work.check(resume=True, overwrite=False)
    work.begin(origin(tmp_path, scene))
    assert work.finished(0, 1) == {0}
    work.discard()
    assert not work.folder.exists()
    work.check(resume=False, overwrite=False)


def test_when_results_are_complete_the_bands_go(tmp_path, scene):
    work = SceneWork(tmp_path / "out")
    made = origin(tmp_path, scene)
    work.begin(made)
    work.write(0, 0, {"boxes": np.zeros((0, 4))})
    (tmp_path / "out" / "counts.csv").write_text("")
    assert not work.is_finished(made, ["counts.csv"])
    work.finish(made)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"counts.csv", FINISHED}
    assert work.is_finished(made, ["counts.csv"])
    assert not work.is_finished(made, ["counts.csv", "detections.gpkg"])
    assert not work.is_finished(origin(tmp_path, scene, **{"--tile": 1}), ["counts.csv"])


def test_files_of_others_stay(tmp_path, scene):
    work = SceneWork(tmp_path / "out")
    work.begin(origin(tmp_path, scene))
    work.write(0, 0, {"boxes": np.zeros((0, 4))})
    (work.folder / "notes.txt").write_text("mine")
    (work.folder / "scene-0001" / "notes.txt").write_text("mine")
    work.discard()
    assert sorted(path.name for path in work.folder.rglob("*.*")) == ["notes.txt", "notes.txt"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_a_broken_band_is_computed_again(tmp_path, caplog, content):
    work = SceneWork(tmp_path / "out")
    work.begin(Origin({}, "", {}))
    work.write(0, 0, {"boxes": np.zeros((0, 4))})
    file = work.folder / "scene-0001" / "band-00000.npz"
    file.write_bytes(content)
    assert work.read(0, 0) is None
    assert "is broken" in caplog.text
    assert work.finished(0, 1) == set()


@pytest.mark.parametrize("content", ["", "[]", '{"files": 3, "model": "", "settings": {}}'])
def test_work_that_says_nothing_of_its_origin_is_refused(tmp_path, content):
    work = SceneWork(tmp_path / "out")
    work.folder.mkdir(parents=True)
    (work.folder / "work.json").write_text(content)
    with pytest.raises(FovealError, match=r"says not what .*--overwrite"):
        work.check_origin(Origin({}, "", {}))


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    work = SceneWork(tmp_path / "out")
    work.begin(Origin({}, "", {}))
    work.write(0, 0, {"boxes": np.zeros((0, 4))})

    def fail(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foveal.files._write_bytes", fail)
    with pytest.raises(FovealError, match=r"No space left.*--resume"):
        work.write(0, 1, {"boxes": np.zeros((0, 4))})
    assert work.finished(0, 2) == {0}
    assert [path.name for path in (work.folder / "scene-0001").iterdir()] == ["band-00000.npz"]
