"""`foveal audit`, from files to files."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json, foveal

from foveal.cli.schema_files import FOLDER

CELLS = [[20 * n + 5, 5, 10, 12] for n in range(8)]


@pytest.fixture
def data(tmp_path):
    """Two images with eight cells each in COCO's form; of the first one cell 7 has no label."""
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 170, 3), np.uint8)
    for name in "ab":
        Image.fromarray(pixels).save(folder / f"{name}.png")
    labeled = [(1, box) for box in CELLS[:7]] + [(2, box) for box in CELLS]
    (folder / "truth.json").write_text(
        json.dumps(
            {
                "images": [
                    {"id": n, "file_name": f"{name}.png", "width": 170, "height": 40}
                    for n, name in enumerate("ab", 1)
                ],
                "categories": [{"id": 1, "name": "cell"}],
                "annotations": [
                    {"id": n, "image_id": image, "category_id": 1, "bbox": box}
                    for n, (image, box) in enumerate(labeled)
                ],
            }
        )
    )
    return folder


def write_results(path, *, of=((1, 8), (2, 7))):
    rows = [
        {"image_id": image, "category_id": 1, "bbox": box, "score": 0.9}
        for image, count in of
        for box in CELLS[:count]
    ]
    path.write_text(json.dumps(rows))
    return path


def test_labels_that_results_dispute(data, tmp_path, monkeypatch, capsys):
    results = write_results(tmp_path / "results.json")
    out = tmp_path / "out"
    before = (data / "truth.json").read_bytes()
    assert foveal(monkeypatch, "audit", results, data / "truth.json", "--out", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 suggestions for 15 labels in 2 images: 1 missing, 1 nothing there." in said
    assert "A model that saw these labels in its training disputes fewer" in said
    assert (data / "truth.json").read_bytes() == before
    page = (out / "audit.html").read_text()
    assert page.count("<img ") == 2
    assert "1. nothing there, 1.00" in page
    assert "cell without a label. a.png" in page
    document = json.loads((out / "suggestions.json").read_text())
    schema = json.loads((FOLDER / "files" / "suggestions.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert len(document["annotations"]) == 15
    assert len((out / "suggestions.csv").read_text().splitlines()) == 3
    # What is there is not replaced unasked.
    assert foveal(monkeypatch, "audit", results, data / "truth.json", "--out", out) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_answer_in_json_and_what_is_left_out(data, tmp_path, monkeypatch, capsys):
    results = write_results(tmp_path / "results.json")
    out = tmp_path / "out"
    words = ("audit", results, data / "truth.json", "--out", out, "--pictures", 0)
    plan = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert plan["writes"] == [str(out / name) for name in FILES]
    assert not out.exists()
    answer = answer_in_json(monkeypatch, capsys, *words, "--max-suggestions", 1)
    assert answer["labels"] == 15
    assert answer["left_out"] > 1
    assert [one["kind"] for one in answer["suggestions"]] == ["nothing there"]
    assert answer["suggestions"][0]["image"] == "../data/b.png"
    assert (
        "1 weaker suspicion beyond --max-suggestions 1 left out."
        in (out / "audit.html").read_text()
    )


FILES = ("audit.html", "suggestions.json", "suggestions.csv")


def test_images_that_nobody_looked_at_are_told(data, tmp_path, monkeypatch, capsys):
    results = write_results(tmp_path / "results.json", of=((1, 8),))
    out = tmp_path / "out"
    assert foveal(monkeypatch, "audit", results, data / "truth.json", "--out", out) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 image without any detection, b.png first: were they looked at?" in said


def write_folds_run(data, run, *, images="ab"):
    """A run of two folds, as foveal train --folds leaves it."""
    from foveal.data.opening import DataOptions, open_data
    from foveal.experiments.folder import ExperimentFolder, describe_source
    from foveal.outputs.files import write_coco
    from foveal.structures import Detections

    address = data / "truth.json"
    folder = ExperimentFolder(run, "folds")
    known = open_data(address)
    run.mkdir()
    folder.log.write_text(
        json.dumps(
            {
                "format": 1,
                "data": describe_source(known, (address, DataOptions(only=("cell",)))),
                "folds": [{"run": f"fold-{n}", "images": [f"{n}.png"]} for n in images],
            }
        )
    )
    boxes = np.array(CELLS, np.float32)
    boxes[:, 2:] += boxes[:, :2]
    found = [
        Detections(
            boxes[:count],
            np.full(count, 0.9, np.float32),
            np.zeros(count, np.int64),
            classes=("cell",),
            width=170,
            height=40,
            path=data / f"{name}.png",
        )
        for name, count in (("a", 8), ("b", 0))
        if name in images
    ]
    write_coco(folder.detections, found)
    return run


def test_a_run_of_folds_knows_its_labels(data, tmp_path, monkeypatch, capsys):
    run = write_folds_run(data, tmp_path / "run")
    assert foveal(monkeypatch, "audit", run) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 missing, 8 nothing there." in said
    assert "saw these labels" not in said
    assert "disputed by the folds of run" in (run / "audit" / "audit.html").read_text()
    # The labels may be elsewhere by now.
    out = tmp_path / "out"
    assert foveal(monkeypatch, "audit", run, data / "truth.json", "--out", out) == 0
    assert (out / "suggestions.csv").read_bytes() == (
        (run / "audit" / "suggestions.csv").read_bytes().replace(b"../../data", b"../data")
    )


def test_images_that_are_in_no_fold_are_left_out(data, tmp_path, monkeypatch, capsys):
    run = write_folds_run(data, tmp_path / "run", images="a")
    assert foveal(monkeypatch, "audit", run) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 suggestion for 7 labels in 1 image: 1 missing." in said
    assert "1 image not among those of detections.json, b.png first: left out." in said


def test_a_run_of_folds_that_is_not_done(data, tmp_path, monkeypatch, capsys):
    run = write_folds_run(data, tmp_path / "run")
    assert foveal(monkeypatch, "audit", run, "--images", data) == 2
    assert "knows how its labels are read" in " ".join(capsys.readouterr().err.split())
    (run / "detections.json").unlink()
    assert foveal(monkeypatch, "audit", run) == 2
    assert "--resume" in " ".join(capsys.readouterr().err.split())
    (run / "folds.json").write_text("{}")
    assert foveal(monkeypatch, "audit", run) == 2
    assert not (run / "audit").exists()


def test_nothing_is_disputed(data, tmp_path, monkeypatch, capsys):
    (data / "truth.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.png", "width": 170, "height": 40}],
                "categories": [{"id": 1, "name": "cell"}],
                "annotations": [],
            }
        )
    )
    results = write_results(tmp_path / "results.json", of=())
    out = tmp_path / "out"
    assert foveal(monkeypatch, "audit", results, data / "truth.json", "--out", out) == 0
    assert "No label is disputed among 0 labels." in capsys.readouterr().out
    assert "<img " not in (out / "audit.html").read_text()


def test_an_image_that_is_gone_is_not_shown(data, tmp_path, monkeypatch, capsys):
    results = write_results(tmp_path / "results.json")
    (data / "a.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert foveal(monkeypatch, "audit", results, data / "truth.json", "--out", out) == 0
    page = (out / "audit.html").read_text()
    assert page.count("<img ") == 1
    assert "Not shown:" in page


def test_a_model_that_looks_now(data, tmp_path, monkeypatch, capsys):
    import torch
    from tests.cli.conftest import small_settings

    from foveal.checkpoints import model_file
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    torch.manual_seed(0)
    settings = small_settings()
    model = tmp_path / "cells.safetensors"
    card = ModelCard(classes=("dot", "cell"))
    model_file.save(model, build_model(settings, num_classes=2), settings, card)
    words = ("audit", model, data / "truth.json", "--device", "cpu", "--pictures", 1)
    answer = answer_in_json(monkeypatch, capsys, *words, "--out", tmp_path / "out")
    assert (answer["labels"], answer["outcome"]) == (15, "done")
    assert answer["by_kind"]["nothing there"] + answer["by_kind"]["loose box"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.json", "DATA", "--out", "OUT"), "nowhere.json does not exist"),
        (("RESULTS", "--out", "OUT"), "the labels must be named"),
        (("RESULTS", "DATA"), "--out FOLDER"),
        (("DATA", "DATA", "--out", "OUT"), "score"),
        (("STRANGE", "DATA", "--out", "OUT"), "names none of the 2 images"),
    ],
)
def test_what_can_not_be_audited(data, tmp_path, monkeypatch, capsys, words, message):
    known = {
        "RESULTS": write_results(tmp_path / "results.json"),
        "DATA": data / "truth.json",
        "OUT": tmp_path / "out",
        "STRANGE": tmp_path / "strange.json",
    }
    empty: dict[str, list[object]] = {"images": [], "annotations": [], "categories": []}
    known["STRANGE"].write_text(json.dumps(empty))
    assert foveal(monkeypatch, "audit", *(known.get(word, word) for word in words)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
