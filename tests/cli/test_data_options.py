"""The options of DATA, in every command that takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner, Result

from foveal.cli import app
from foveal.cli.data_options import make_options, with_valid
from foveal.config import PRESETS
from foveal.data.formats import read
from foveal.errors import DataError

OPTIONS = ("--format", "--images", "--bad-boxes", "--sizes", "--rename", "--only", "--ignore")
TAKES_DATA = (("train",), ("evaluate",), ("anchors",), ("export",), ("data", "check"))
TAKES_DATA += (("data", "convert"),)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def find_command(words: tuple[str, ...]) -> Any:
    command: Any = get_command(app)
    for word in words:
        command = command.commands[word]
    return command


@pytest.mark.parametrize("words", TAKES_DATA, ids=" ".join)
def test_every_command_that_takes_data_has_the_options(words: tuple[str, ...]) -> None:
    names = {name for parameter in find_command(words).params for name in parameter.opts}
    assert names.issuperset(OPTIONS)
    assert ("--valid" in names) == ("--valid-images" in names)


def test_the_help_shows_what_is_given_and_names_every_preset() -> None:
    shown = {param.name: param for param in find_command(("train",)).params}
    assert shown["overrides"].metavar == "SECTION.NAME=VALUE"
    assert all(preset in shown["preset"].help for preset in PRESETS)
    names = list(shown)
    assert names.index("valid_images") == names.index("images") + 1


def make_options_of(**given: Any) -> Any:
    nothing = dict.fromkeys(
        (
            "data_format",
            "images",
            "page",
            "boxes",
            "class_column",
            "layer",
            "rename",
            "only",
            "ignore",
        )
    )
    return make_options(**{**nothing, "bad_boxes": "drop", "sizes": "stop", **given})


def test_renames_are_taken_apart() -> None:
    assert make_options_of(rename=["a=b", "c d=e=f"]).rename == {"a": "b", "c d": "e=f"}
    assert make_options_of().rename == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RBC"], "--rename RBC: expected OLD=NEW"),
        (["=normal"], "expected OLD=NEW"),
        (["RBC="], "expected OLD=NEW"),
        (["a=b", "a=c"], "gives 'a' two names, 'b' and 'c'"),
    ],
)
def test_what_is_no_renaming_is_said(words: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_options_of(rename=words)


def test_validation_images_need_validation_data() -> None:
    options = make_options_of(images=Path("a"))
    assert with_valid("t", options, valid=None, valid_images=None) == [("t", options)]
    (_, second) = with_valid("t", options, valid="v", valid_images=Path("b"))
    assert second == ("v", options.with_images(Path("b")))
    with pytest.raises(DataError, match="--valid DATA"):
        with_valid("t", options, valid=None, valid_images=Path("b"))


@pytest.fixture
def apart(tmp_path: Path) -> tuple[Path, Path]:
    """A COCO file, and the folder of its image elsewhere."""
    images = tmp_path / "store" / "pictures"
    images.mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(images / "a.png")
    file = tmp_path / "lists" / "train.json"
    file.parent.mkdir()
    boxes = [[2, 2, 30, 30], [20, 10, 20, 20]]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": number, "bbox": box}
            for number, box in enumerate(boxes, 1)
        ],
        "categories": [{"id": 1, "name": "RBC"}, {"id": 2, "name": "dust"}],
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file, images


def test_train_reads_both_data_sets_with_them(apart: tuple[Path, Path], tmp_path: Path) -> None:
    file, images = apart
    valid = file.with_name("valid.json")
    valid.write_text(file.read_text().replace("RBC", "red").replace("a.png", "b.png"))
    (tmp_path / "more").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "more" / "b.png")
    words = ("train", file, "--valid", valid, "--images", images, "--show", "--ignore", "dust")

    with pytest.raises(DataError, match="has objects of red, the model knows RBC"):
        raise run(*words, "--valid-images", tmp_path / "more").exception or AssertionError
    result = run(*words, "--valid-images", tmp_path / "more", "--rename", "red=RBC")
    assert result.exit_code == 0, result.output
    assert "[anchors]" in result.output


def test_export_reads_both_data_sets_with_them(
    apart: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal.checkpoints import finding, model_file
    from foveal.exporting import export

    given: dict[str, Any] = {}

    def note(*_: object, **arguments: Any) -> None:
        given.update(arguments)
        raise DataError("noted")

    monkeypatch.setattr(finding, "network_file", lambda path: path)
    monkeypatch.setattr(model_file, "load", lambda path: path)
    monkeypatch.setattr(export, "export_model", note)
    file, images = apart
    words = ("export", "model", "--to", "onnx", "--out", "x.onnx", "--images", images)
    words += ("--rename", "RBC=normal", "--only", "normal")

    assert str(run(*words, "--int8", file, "--check", file).exception) == "noted"
    for data in (given["int8"], given["check"]):
        assert data.classes == ("normal",)
        assert data.records[0].path == images / "a.png"
    run(*words[:-4], "--check", file)
    assert given["int8"] is None
    assert given["check"].classes == ("RBC", "dust")


@pytest.mark.parametrize("words", [("anchors",), ("data", "check")], ids=" ".join)
def test_the_options_are_what_a_command_reads_with(
    words: tuple[str, ...], apart: tuple[Path, Path]
) -> None:
    file, images = apart
    chosen = ("--rename", "RBC=normal", "--ignore", "dust", "--format", "coco")

    result = run(*words, file, "--images", images, *chosen)

    assert result.exit_code == 0, result.output
    assert "1 object" in result.output
    assert "normal" in result.output
    assert "RBC" not in result.output


def test_conversion_writes_what_the_options_say(apart: tuple[Path, Path], tmp_path: Path) -> None:
    file, images = apart
    dest = tmp_path / "out"
    chosen = ("--rename", "RBC=normal", "--only", "normal")

    result = run("data", "convert", file, dest, "--to", "csv", "--images", images, *chosen)

    assert result.exit_code == 0, result.output
    data = read(dest)
    assert data.classes == ("normal",)
    assert data.records[0].boxes.tolist() == [[2, 2, 32, 32]]


@pytest.mark.parametrize(
    "words",
    [
        ("DATA", "--images"),
        ("DATA", "--decode"),
        ("--images", "--strict", "DATA"),
        ("DATA", "--images", "--json"),
        ("--images", "DATA"),
        ("--decode", "DATA"),
    ],
    ids=" ".join,
)
def test_without_a_folder_images_means_decode(
    words: tuple[str, ...], apart: tuple[Path, Path]
) -> None:
    file, images = apart
    (images / "a.png").rename(file.with_name("a.png"))

    result = run("data", "check", *(file if word == "DATA" else word for word in words))

    assert result.exit_code in (0, 1), result.output
    assert "--decode opens them" not in result.output
    assert '"opened": false' not in result.output


@pytest.mark.parametrize(
    "words", [("DATA", "--images", "IMAGES"), ("--images", "IMAGES", "DATA", "--decode")]
)
def test_with_a_folder_images_names_it(words: tuple[str, ...], apart: tuple[Path, Path]) -> None:
    places = dict(zip(("DATA", "IMAGES"), apart, strict=True))

    result = run("data", "check", *(places.get(word, word) for word in words))

    assert result.exit_code == 0, result.output
    assert ("--decode opens them" in result.output) == ("--decode" not in words)


def test_check_without_data_is_an_error_of_use(tmp_path: Path) -> None:
    assert run("data", "check", "--images").exit_code == 2
    assert run("data", "check").exit_code == 2


def test_a_class_of_the_validation_data_alone_stops_before_anchors_are_fitted(
    apart: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foveal import detector

    def fit(*_: object) -> None:
        raise AssertionError("anchors were fitted")

    monkeypatch.setattr(detector, "fit_to_data", fit)
    file, images = apart
    valid = file.with_name("valid.json")
    valid.write_text(file.read_text().replace("dust", "rust"), encoding="utf-8")

    result = run("train", file, "--valid", valid, "--images", images, "--out", tmp_path / "run")

    assert isinstance(result.exception, DataError)
    message = str(result.exception)
    assert "--rename rust=dust" in message
    assert "--ignore rust" in message
    assert "--only" in message
