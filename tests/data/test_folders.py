"""Listing files: nothing that systems leave behind, endings in any case."""

from __future__ import annotations

from pathlib import Path

import pytest

from foveal.data.folders import files_below, files_in, files_one_below, folders_in, is_junk

JUNK = (
    "._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/a.jpg", "@eaDir/a.jpg",
    ".ipynb_checkpoints/a.jpg", ".hidden/a.jpg", "sub/._b.JPG", "sub/@eaDir/b.jpg",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*JUNK, "a.jpg", "b.TXT", "sub/b.JPG", "sub/deep/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(folder: Path, files: list[Path]) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def test_what_systems_leave_is_nowhere(folder: Path) -> None:
    assert names(folder, files_in(folder)) == ["a.jpg", "b.TXT"]
    assert names(folder, folders_in(folder)) == ["sub"]
    assert names(folder, files_one_below(folder, ".jpg")) == ["sub/b.JPG"]
    assert names(folder, files_below(folder, ".jpg")) == ["a.jpg", "sub/b.JPG", "sub/deep/c.jpg"]


def test_endings_are_of_any_case(folder: Path) -> None:
    assert names(folder, files_in(folder, ".txt", ".jpg")) == ["a.jpg", "b.TXT"]
    assert files_in(folder, ".png") == []


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert files_in(tmp_path / "gone") == folders_in(tmp_path / "gone") == []
    assert files_below(tmp_path / "gone") == []


def test_a_broken_link_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    assert files_in(tmp_path, ".jpg") == files_below(tmp_path, ".jpg") == [tmp_path / "a.jpg"]


def test_a_hidden_folder_that_was_named_is_read(folder: Path) -> None:
    assert names(folder, files_in(folder / ".hidden")) == [".hidden/a.jpg"]
    assert is_junk(".hidden")
