"""`foveal predict`, from files to files."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from tests.cli.conftest import answer_in_json, foveal, small_settings

import foveal as library
from foveal.checkpoints import model_file
from foveal.cli.predict_results import TABLES
from foveal.config import change_settings
from foveal.data.images import pillow, reading
from foveal.inference.predictor import Predictor
from foveal.models.build import build_model
from foveal.structures import DEFAULT_SCORE_THRESHOLD, ModelCard

CLASSES = ("normal", "infected")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    settings = small_settings()
    network = build_model(settings, len(CLASSES))
    with torch.no_grad():
        network.classification.output.bias.fill_(0.0)
    path = tmp_path_factory.mktemp("model") / "cells.safetensors"
    card = ModelCard(CLASSES, score_threshold=0.25, threshold_is_chosen=True)
    model_file.save(path, network, settings, card)
    return path


@pytest.fixture
def smears(tmp_path) -> Path:
    folder = tmp_path / "smears"
    (folder / "deep").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "deep/a.png"):
        pixels = generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_a_folder_gives_pictures_and_tables(monkeypatch, capsys, model, smears, tmp_path):
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, smears, "--out", out) == 0
    shown = capsys.readouterr()
    assert "Score threshold 0.25, chosen on validation data" in shown.err
    assert "found in 3 images" in shown.out
    assert "3 of 3 images" in shown.err
    document = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [
        "../smears/a.png",
        "../smears/b.png",
        "../smears/deep/a.png",
    ]
    assert document["annotations"]
    assert min(each["score"] for each in document["annotations"]) > 0.25
    assert ("lets through" in shown.err) == any(image["capped"] for image in document["images"])
    with (out / "detections.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(document["annotations"])
    with (out / "counts.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert sum(int(line["total"]) for line in lines) == len(document["annotations"])
    assert [line["image"] for line in lines] == ["a.png", "b.png", "deep/a.png"]
    for name in ("a.jpg", "b.jpg", "deep/a.jpg"):
        with Image.open(out / "pictures" / name) as picture:
            assert picture.format == "JPEG"
            assert picture.width / picture.height == 64 / 48
    again = ("predict", model, tmp_path, "--out", out, "--overwrite")
    assert foveal(monkeypatch, *again) == 0
    assert "found in 3 images" in capsys.readouterr().out


def test_results_of_two_runs_are_never_mixed(monkeypatch, capsys, model, smears, tmp_path):
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, smears, "--out", out) == 0
    (out / "pictures" / "own.jpg").write_bytes(b"mine")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    # Before the model is read: it does not exist.
    arguments = ("predict", "absent.safetensors", smears / "b.png", "--out", out)
    assert foveal(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "holds results of an earlier run (detections.json, " in said
    assert "Replace them by --overwrite" in said
    assert foveal(monkeypatch, *arguments, "--overwrite") == 2
    assert "absent.safetensors" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    arguments = ("predict", model, smears / "b.png", "--out", out, "--overwrite")
    assert foveal(monkeypatch, *arguments) == 0
    assert sorted(path.name for path in out.rglob("*.jpg")) == ["b.jpg", "own.jpg"]
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 1
    assert foveal(monkeypatch, *arguments, "--no-pictures") == 0
    assert [path.name for path in out.rglob("*.jpg")] == ["own.jpg"]


def test_each_file_is_decoded_once(monkeypatch, model, smears, tmp_path):
    decoded = []

    def read_picture(file, **options):
        decoded.append(options["path"].relative_to(smears).as_posix())
        return pillow.read_picture(file, **options)

    counting = SimpleNamespace(**vars(pillow) | {"read_picture": read_picture})
    monkeypatch.setattr(reading, "pictures", counting)
    options = ["--flip", "--scales", "1,1.5"]
    assert foveal(monkeypatch, "predict", model, smears, "--out", tmp_path / "out", *options) == 0
    assert len(list((tmp_path / "out" / "pictures").rglob("*.jpg"))) == 3
    assert sorted(decoded) == ["a.png", "b.png", "deep/a.png"]


def test_options_reach_the_network(monkeypatch, capsys, model, smears, tmp_path):
    out = tmp_path / "found"
    options = [
        "--score-threshold",
        0.3,
        "--max-detections",
        2,
        "--nms",
        0.4,
        "--batch",
        1,
        "--no-pictures",
    ]
    options += ["--flip", "--scales", "1,1.5", "--class-agnostic", "--device", "cpu"]
    options += ["--precision", "float32"]
    assert foveal(monkeypatch, "predict", model, f"{smears}/*.png", "--out", out, *options) == 0
    document = json.loads((out / "detections.json").read_text())
    assert len(document["images"]) == 2
    assert len(document["annotations"]) == 4
    assert not (out / "pictures").exists()
    shown = capsys.readouterr().err
    assert "Threshold" not in shown
    assert "In 2 of 2 images more was found than the limit of 2 detections lets through" in shown
    assert "(a.png, b.png)" in shown
    assert [image["capped"] for image in document["images"]] == [True, True]
    with (out / "counts.csv").open(newline="") as file:
        assert [line["capped"] for line in csv.DictReader(file)] == ["true", "true"]


@pytest.fixture
def predictors(monkeypatch) -> list[Predictor]:
    """Each predictor with which images are looked at."""
    used: list[Predictor] = []
    stream = Predictor.stream
    monkeypatch.setattr(
        Predictor,
        "stream",
        lambda self, *given, **more: used.append(self) or stream(self, *given, **more),
    )
    return used


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(
    ("option", "expected"), [((), None), (("--per-class",), False), (("--class-agnostic",), True)]
)
def test_nms_over_classes_can_be_chosen_whatever_the_models_own(
    monkeypatch, predictors, model, smears, tmp_path, own, option, expected
):
    loaded = model_file.load(model)
    settings = change_settings(loaded.settings, {"decoding": {"class_agnostic": own}})
    path = tmp_path / "cells.safetensors"
    model_file.save(path, loaded.model, settings, loaded.card)
    arguments = ("predict", path, smears / "a.png", "--out", tmp_path / "found", "--no-pictures")
    assert foveal(monkeypatch, *arguments, *option) == 0
    assert [used.class_agnostic for used in predictors] == [own if expected is None else expected]


def test_the_default_threshold_is_pythons_too(
    monkeypatch, capsys, predictors, model, smears, tmp_path
):
    """Of a model whose threshold nobody chose, as after an import."""
    loaded = model_file.load(model)
    path = tmp_path / "cells.safetensors"
    model_file.save(path, loaded.model, loaded.settings, ModelCard(CLASSES))
    arguments = ("predict", path, smears / "a.png", "--out", tmp_path / "found", "--no-pictures")
    assert foveal(monkeypatch, *arguments) == 0
    assert f"Score threshold {DEFAULT_SCORE_THRESHOLD:.3g}, by default" in capsys.readouterr().err
    detector = library.load(path)
    detector.detect(smears / "a.png")
    thresholds = [used.score_threshold for used in predictors]
    assert thresholds == [DEFAULT_SCORE_THRESHOLD] * 2
    assert detector.score_threshold == DEFAULT_SCORE_THRESHOLD


def test_a_broken_image_is_named_and_skipped(monkeypatch, capsys, model, smears, tmp_path):
    (smears / "c.jpg").write_bytes(b"\xff\xd8 cut short")
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, smears, "--out", out) == 1
    shown = capsys.readouterr()
    assert "skipped: " in shown.err
    assert "c.jpg" in shown.err
    assert "1 of 4 images can't be read" in shown.err
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 3


def test_broken_images_only(monkeypatch, capsys, model, tmp_path):
    broken = tmp_path / "c.jpg"
    broken.write_bytes(b"")
    assert foveal(monkeypatch, "predict", model, broken, "--out", tmp_path / "found") == 1
    assert "0 found in 0 images" in capsys.readouterr().out


def test_json_a_dry_run_and_what_is_left_out(
    monkeypatch, capsys, model, smears, tmp_path, empty_charts
):
    (smears / "torn.png").write_bytes(b"\x89PNG")
    out = tmp_path / "found"
    words = ("predict", model, smears, "--out", out, "--no-pictures")
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(out / name) for name in TABLES]
    assert planned["steps"][0].startswith("look for objects in 4 images with ")
    assert not out.exists()
    shown = answer_in_json(monkeypatch, capsys, *words, code=1)
    assert (shown["outcome"], shown["images"], shown["unreadable"]) == ("partly_done", 4, 1)
    assert shown["detections"] == sum(shown["per_class"].values()) > 0
    assert set(shown["files"]) == set(TABLES)
    assert "--overwrite" in answer_in_json(monkeypatch, capsys, *words, code=2)["error"]["message"]
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run", "--overwrite", "--to", "csv")
    assert planned["replaces"] == [str(out / name) for name in TABLES[1:]]
    assert planned["removes"] == [str(out / TABLES[0])]


def test_nothing_found_is_explained(monkeypatch, capsys, model, smears, tmp_path):
    out = tmp_path / "found"
    assert (
        foveal(monkeypatch, "predict", model, smears, "--out", out, "--score-threshold", 0.999) == 0
    )
    shown = "".join(capsys.readouterr())
    assert "0 found in 3 images" in shown
    assert "No score reaches the threshold 0.999" in shown
    assert "highest scores: " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.safetensors", "{smears}"], "absent.safetensors: no such file"),
        (["{model}", "absent.png"], "absent.png: no such file or folder"),
        (["{model}", "{smears}", "--scales", "1,x"], "--scales 1,x: expected numbers"),
        (["{model}", "{smears}", "--device", "gpu"], "Device 'gpu' is unknown"),
    ],
)
def test_mistakes_are_explained(monkeypatch, capsys, model, smears, tmp_path, arguments, message):
    filled = [text.format(model=model, smears=smears) for text in arguments]
    assert foveal(monkeypatch, "predict", *filled, "--out", tmp_path / "found") == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert "Traceback" not in shown.err


def test_a_folder_that_can_not_be_made_is_explained(monkeypatch, capsys, model, smears):
    out = smears / "a.png" / "found"
    assert foveal(monkeypatch, "predict", model, smears, "--out", out) == 2
    assert "can't be written" in capsys.readouterr().err


def test_what_a_folder_holds_beside_images_is_counted(monkeypatch, capsys, model, smears, tmp_path):
    for name in ("a.txt", "b.txt", "clip.mov", "._a.png", "Thumbs.db"):
        (smears / name).write_bytes(b"x")
    assert foveal(monkeypatch, "predict", model, smears, "--out", tmp_path / "found") == 0
    shown = capsys.readouterr()
    assert "3 files passed over, no images: 2 .txt, 1 .mov." in shown.err
    assert shown.err.count("skipped") == 0


def test_a_missing_package_is_said_once(monkeypatch, capsys, model, smears, tmp_path):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    for name in ("x.HEIC", "y.heic"):
        (smears / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(90))
    pixels = np.zeros((48, 64, 3), np.uint16)
    for name in ("x.tif", "y.tif"):
        tifffile.imwrite(smears / name, pixels, photometric="rgb", planarconfig="separate")
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, smears, "--out", out) == 1
    shown = capsys.readouterr().err
    assert shown.count("pip install 'foveal[images]'") == 1
    assert shown.count("pip install 'foveal[tiff]'") == 1
    assert "2 images can't be read, the first of them" in shown
    assert "x.HEIC" in shown
    assert "4 of 7 images can't be read" in shown
    assert len(json.loads((out / "detections.json").read_text())["images"]) == 3


@pytest.mark.parametrize(("page", "rows"), [("all", 3), ("2", 1)])
def test_a_stack_of_pages(monkeypatch, capsys, model, tmp_path, page, rows):
    pictures = [Image.new("RGB", (64, 48), (value, 0, 0)) for value in (10, 90, 200)]
    stack = tmp_path / "stack.tif"
    pictures[0].save(stack, save_all=True, append_images=pictures[1:])
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, stack, "--out", out, "--page", page) == 0
    assert "stack.tif holds 3 pages: " in capsys.readouterr().err
    counts = list(csv.DictReader((out / "counts.csv").read_text().splitlines()))
    first = 1 if page == "all" else 2
    called = [f"stack.tif[{number}]" for number in range(first, first + rows)]
    assert [row["image"] for row in counts] == called
    drawn = sorted(path.name for path in (out / "pictures").iterdir())
    assert drawn == [f"stack[{number}].jpg" for number in range(first, first + rows)]
    document = json.loads((out / "detections.json").read_text())
    assert [image["file_name"] for image in document["images"]] == [f"../{name}" for name in called]


def test_a_page_is_a_number_or_all(monkeypatch, capsys, model, smears, tmp_path):
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, smears, "--out", out, "--page", "0") == 2
    assert "--page 0: expected a number from 1, or all." in capsys.readouterr().err


@pytest.fixture
def deep(tmp_path) -> Path:
    """The same picture in 8 bits, and in 12 bits stored as 16."""
    folder = tmp_path / "deep"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    tifffile.imwrite(folder / "b.tif", pixels.astype(np.uint16) << 4)
    return folder


def test_12_bits_in_16_are_seen_as_8_bits_are(monkeypatch, capsys, model, deep, tmp_path):
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, deep, "--out", out) == 0
    said = "1 image holds more than 8 bits, values from 0 to 4,080: 0 to 4,095 become 0 to 255."
    assert said in capsys.readouterr().err
    with (out / "detections.csv").open() as file:
        rows = list(csv.DictReader(file))
    first, second = (
        [list(row.values())[1:] for row in rows if row["image"].endswith(name)]
        for name in ("a.png", "b.tif")
    )
    assert first == second
    assert first


@pytest.mark.parametrize(
    ("text", "message"), [("0", "two numbers"), ("9,3", "two numbers"), ("a,b", "two numbers")]
)
def test_a_range_is_two_numbers(monkeypatch, capsys, model, deep, tmp_path, text, message):
    out = tmp_path / "found"
    assert foveal(monkeypatch, "predict", model, deep, "--out", out, "--band-range", text) == 2
    assert f"--band-range {text}: expected {message}" in capsys.readouterr().err


def test_floating_point_of_an_unknown_range_is_read_with_the_option(
    monkeypatch, capsys, model, tmp_path
):
    path, out = tmp_path / "a.tif", tmp_path / "found"
    tifffile.imwrite(path, np.random.default_rng(0).uniform(-3, 40, (48, 64)).astype(np.float32))
    assert foveal(monkeypatch, "predict", model, path, "--out", out) == 1
    assert "--band-range=-2.9" in capsys.readouterr().err
    options = ("--out", out, "--overwrite", "--band-range=-3,40")
    assert foveal(monkeypatch, "predict", model, path, *options) == 0
    assert json.loads((out / "detections.json").read_text())["annotations"]
