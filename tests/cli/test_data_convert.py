"""`foveal data convert`, from the command line to the files and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json

from foveal import cli
from foveal.data.formats import read


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line and give its exit code."""

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["foveal", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    return call


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    folder = tmp_path / "my data, größer"
    folder.mkdir()
    for split, name in (("train", "a"), ("val", "b")):
        Image.new("RGB", (64, 48)).save(folder / f"{name}.jpg")
        lines = f"{name}.jpg,1,2,11,14,cell\n{name}.jpg,5,5,5,9,cell\n"
        (folder / f"{split}.csv").write_text(lines)
    return folder


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "csv", "kitti", "labelme", "cvat"])
def test_splits_are_converted_and_kept_apart(
    name: str, run: Callable[..., int], boxes: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "new" / "folder"
    assert run("data", "convert", f"{boxes}:train+val", str(dest), "--to", name) == 0
    for split, image in (("train", "a.jpg"), ("val", "b.jpg")):
        data = read(f"{dest}:{split}")
        assert [record.path.name for record in data] == [image]
        assert data.records[0].boxes.tolist() == [[1, 2, 11, 14]]
    assert not list(tmp_path.glob("**/*.part"))


def test_what_happened_is_said(
    run: Callable[..., int],
    boxes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dest = tmp_path / "out"
    assert run("data", "convert", f"{boxes}:train", str(dest), "--to", "coco", "--link") == 0
    assert "1 image, 1 object (1 cell)" in capsys.readouterr().out
    assert next((dest / "images").iterdir()).is_symlink()


def test_images_under_another_name_are_said(
    run: Callable[..., int], boxes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("data", "convert", f"{boxes}:train", str(tmp_path / "out"), "--to", "csv") == 0
    assert "another name" not in caplog.text
    (boxes / "a.jpg").rename(boxes / "h\udcf6fe.jpg")
    (boxes / "train.csv").write_text(r"h\udcf6fe.jpg,1,2,11,14,cell")
    assert run("data", "convert", f"{boxes}:train", str(tmp_path / "new"), "--to", "csv") == 0
    assert r"1 image under another name" in caplog.text
    assert r"h\udcf6fe.jpg is h_fe.jpg." in caplog.text
    assert (tmp_path / "new" / "images" / "h_fe.jpg").is_file()


def test_mistakes_end_in_one_line_and_code_2(
    run: Callable[..., int],
    boxes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dest = str(tmp_path / "out")
    words = ["data", "convert", f"{boxes}:train", dest, "--to", "coco"]
    assert run(*words, "--bad-boxes", "stop") == 2
    error = capsys.readouterr().err
    assert "train.csv, line 2: box (5, 5, 5, 9) has no area" in error
    assert run("data", "convert", f"{boxes}:test", dest, "--to", "coco") == 2
    assert "expected test.csv" in capsys.readouterr().err
    assert run(*words, "--format", "voc") == 2
    assert "no VOC annotations" in capsys.readouterr().err
    assert not Path(dest).exists()


def test_a_dry_run_and_json(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "out"
    words = ("data", "convert", f"{boxes}:train", dest, "--to", "coco")
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(dest)]
    assert planned["steps"][0].startswith("write 1 image, 1 object (1 cell) as coco")
    assert not dest.exists()
    written = answer_in_json(monkeypatch, capsys, *words)
    assert (written["images"], written["objects"], written["classes"]) == (1, 1, ["cell"])
    refused = answer_in_json(monkeypatch, capsys, *words, "--dry-run", code=2)
    assert "is there already" in refused["error"]["message"]
    assert (
        "Did you mean 'coco'?"
        in answer_in_json(monkeypatch, capsys, *words[:-1], "cooc", "--dry-run", code=2)["error"][
            "message"
        ]
    )
