"""`foveal compare`, from files to files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json, foveal, small_settings

IMAGES = 8


@pytest.fixture
def data(tmp_path):
    """Eight images with one cell each in COCO's form, and a detector that finds all of them."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(IMAGES):
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(folder / f"{number}.png")
    (folder / "truth.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": n, "file_name": f"{n}.png", "width": 80, "height": 60}
                    for n in range(IMAGES)
                ],
                "categories": [{"id": 1, "name": "cell"}],
                "annotations": [
                    {"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 10 + n, 10]}
                    for n in range(IMAGES)
                ],
            }
        )
    )
    return folder


def write_results(path, found):
    rows = [
        {"image_id": n, "category_id": 1, "bbox": [5, 5, 10 + n, 10], "score": 0.9}
        for n in range(found)
    ]
    path.write_text(json.dumps(rows))
    return path


def test_one_that_finds_more(data, tmp_path, monkeypatch, capsys, empty_charts):
    one = write_results(tmp_path / "one.json", 1)
    all_ = write_results(tmp_path / "all.json", IMAGES)
    out = tmp_path / "out"
    assert foveal(monkeypatch, "compare", one, all_, data / "truth.json", "--out", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all is better than one: its AP is higher by 0.871" in said
    written = json.loads((out / "compare.json").read_text())
    assert (written["schema_version"], written["images"], written["objects"]) == (1, 8, 8)
    assert written["AP"]["better"] == "second"
    assert written["AP"]["difference"] == pytest.approx(written["AP"]["second"] - 13 / 101)
    assert written["first"]["milliseconds"] is None
    assert written["different_images"] == 7
    assert {one["only_second"] for one in written["most_different"]} == {1}
    page = (out / "compare.html").read_text()
    assert page.count("<img ") == 2 * 7
    assert "one: 1.png" in page
    assert "all: 1.png" in page


def test_two_that_are_alike(data, tmp_path, monkeypatch, capsys, empty_charts):
    one = write_results(tmp_path / "one.json", 4)
    other = write_results(tmp_path / "other.json", 4)
    arguments = ("compare", one, other, data / "truth.json", "--out", tmp_path / "out")
    assert foveal(monkeypatch, *arguments) == 0
    assert "No difference can be shown on 8 images: both find the same." in " ".join(
        capsys.readouterr().out.split()
    )
    # What is there is not replaced unasked, and then without a word on the screen but JSON.
    assert foveal(monkeypatch, *arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    shown = answer_in_json(monkeypatch, capsys, *arguments, "--overwrite")
    assert shown["comparison"] == json.loads((tmp_path / "out" / "compare.json").read_text())
    planned = answer_in_json(monkeypatch, capsys, *arguments, "--overwrite", "--dry-run")
    assert planned["replaces"] == shown["written"]
    assert answer_in_json(monkeypatch, capsys, *arguments, "--dry-run", code=2)["error"]
    assert shown["comparison"]["AP"]["interval"] == [0, 0]


def test_nothing_found_by_either(data, tmp_path, monkeypatch, capsys, empty_charts):
    none = write_results(tmp_path / "none.json", 0)
    out = tmp_path / "out"
    assert foveal(monkeypatch, "compare", none, none, data / "truth.json", "--out", out) == 0
    assert "both find the same" in " ".join(capsys.readouterr().out.split())
    assert json.loads((out / "compare.json").read_text())["precision"]["first"] is None


def test_a_model_beside_results(data, tmp_path, monkeypatch, capsys, empty_charts):
    import torch

    from foveal.checkpoints import model_file
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    torch.manual_seed(0)
    settings = small_settings()
    model = tmp_path / "cells.safetensors"
    # A class that the data lack comes first: labels go by name.
    card = ModelCard(classes=("dot", "cell"), score_threshold=0.25, threshold_is_chosen=True)
    model_file.save(model, build_model(settings, num_classes=2), settings, card)
    results = write_results(tmp_path / "all.json", IMAGES)
    out = tmp_path / "out"
    words = ("compare", model, results, data / "truth.json", "--out", out, "--device", "cpu")
    assert foveal(monkeypatch, *words) == 0
    written = json.loads((out / "compare.json").read_text())
    assert written["first"]["bytes"] == model.stat().st_size
    assert written["first"]["milliseconds"] > 0
    assert written["first"]["score_threshold"] == 0.25
    assert not written["first"]["threshold_chosen_here"]
    assert written["second"]["runtime"] is None
    assert written["AP"]["better"] == "second"
    said = " ".join(capsys.readouterr().out.split())
    assert "favor all a little" in said


@pytest.mark.parametrize("wrong", ["nowhere.safetensors", "notes.json"])
def test_what_is_no_detector(data, tmp_path, monkeypatch, capsys, wrong):
    good = write_results(tmp_path / "all.json", IMAGES)
    (tmp_path / "notes.json").write_text("{}")
    out = tmp_path / "out"
    code = foveal(monkeypatch, "compare", good, tmp_path / wrong, data / "truth.json", "--out", out)
    assert code == 2
    assert wrong in capsys.readouterr().err
    assert not out.exists()
