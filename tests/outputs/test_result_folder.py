"""Results of two runs are never mixed, and nothing else in their folder is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foveal.errors import FovealError
from foveal.outputs.result_folder import LIST, ResultFolder


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path / "found", "predict", ("table.csv",))


def run(folder: ResultFolder, *pictures: str) -> None:
    """As a command does it."""
    more = [f"pictures/{name}" for name in pictures]
    folder.check(overwrite=True, more=more)
    folder.begin(more)
    for name in (*folder.files, *more):
        (folder.path / name).parent.mkdir(exist_ok=True, parents=True)
        (folder.path / name).write_text("result")


def names(folder: ResultFolder) -> list[str]:
    files = (path for path in folder.path.rglob("*") if path.is_file() and path.name != LIST)
    return sorted(path.relative_to(folder.path).as_posix() for path in files)


@pytest.mark.parametrize("there", [[], ["notes.txt"], [LIST]], ids=["nothing", "own", "list"])
def test_a_folder_without_results_is_free(folder: ResultFolder, there: list[str]) -> None:
    folder.check(overwrite=False)
    for name in there:
        folder.path.mkdir()
        (folder.path / name).write_text("mine")
    folder.check(overwrite=False, more=["pictures/a.jpg"])


@pytest.mark.parametrize("left", ["table.csv", "pictures/a.jpg"])
def test_what_is_left_of_a_run_is_named_with_the_way_out(folder: ResultFolder, left: str) -> None:
    run(folder, "a.jpg")
    for name in names(folder):
        if name != left:
            (folder.path / name).unlink()
    said = (
        r"found: holds results of an earlier run \({}\)\. Replace them by --overwrite \(in Python"
    )
    with pytest.raises(FovealError, match=said.format(left)):
        folder.check(overwrite=False)
    folder.check(overwrite=True)


def test_an_earlier_runs_files_go_and_nothing_else(folder: ResultFolder) -> None:
    run(folder, "a.jpg", "deep/b.jpg", "deeper/c.jpg")
    (folder.path / "pictures" / "deep" / "own.jpg").write_text("mine")
    (folder.path / "own.csv").write_text("mine")
    run(folder, "d.jpg")
    assert names(folder) == ["own.csv", "pictures/d.jpg", "pictures/deep/own.jpg", "table.csv"]
    assert not (folder.path / "pictures" / "deeper").exists()
    run(folder)
    assert names(folder) == ["own.csv", "pictures/deep/own.jpg", "table.csv"]


def test_a_file_of_somebody_else_is_not_replaced(folder: ResultFolder) -> None:
    run(folder)
    (folder.path / "pictures").mkdir()
    (folder.path / "pictures" / "a.jpg").write_text("mine")
    with pytest.raises(
        FovealError, match=r"pictures/a\.jpg: is not in the list of what foveal predict"
    ):
        folder.check(overwrite=True, more=["pictures/a.jpg"])


def test_what_is_to_be_read_is_not_removed(folder: ResultFolder) -> None:
    run(folder, "a.jpg")
    picture = folder.path / "pictures" / "a.jpg"
    with pytest.raises(FovealError, match=r"a\.jpg: is to be read, and --overwrite would remove"):
        folder.check(overwrite=True, inputs=[picture])
    folder.check(overwrite=True, inputs=[folder.path / "own.jpg"])


def test_another_commands_results_stay(folder: ResultFolder) -> None:
    run(folder, "a.jpg")
    other = ResultFolder(folder.path, "evaluate", ("metrics.json",))
    other.check(overwrite=False)
    run(other)
    run(other)
    assert names(folder) == ["metrics.json", "pictures/a.jpg", "table.csv"]
    run(folder)
    assert names(folder) == ["metrics.json", "table.csv"]


def test_what_was_not_written_after_all_is_not_removed_later(folder: ResultFolder) -> None:
    run(folder, "a.jpg")
    folder.record(["pictures/b.jpg"])
    run(folder)
    assert names(folder) == ["pictures/a.jpg", "table.csv"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"predict": 5}', '{"predict": [5, "../own.txt", "/own.txt", "link/own.txt"]}'],
)
def test_a_list_that_is_none_removes_nothing(folder: ResultFolder, content: str) -> None:
    outside = folder.path.parent / "own.txt"
    outside.write_text("mine")
    folder.path.mkdir()
    (folder.path / "link").symlink_to(folder.path.parent)
    (folder.path / LIST).write_text(content)
    folder.check(overwrite=False)
    folder.begin()
    assert outside.read_text() == "mine"
    assert json.loads((folder.path / LIST).read_text())["predict"] == ["table.csv"]
