"""`foveal evaluate`, from files to files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import answer_in_json, foveal, small_settings

COCO = (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564)
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@pytest.fixture
def data(tmp_path):
    """Two images with COCO annotations, one class to ignore."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in (1, 2):
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(folder / f"{number}.png")
    boxes = [(1, 1, [5, 5, 10, 10]), (1, 2, [30, 30, 12, 12]), (2, 3, [0, 0, 40, 40])]
    document = {
        "images": [
            {"id": number, "file_name": f"{number}.png", "width": 80, "height": 60}
            for number in (2, 1)
        ],
        "categories": [
            {"id": number, "name": name}
            for number, name in enumerate(("cell", "dot", "DontCare"), 1)
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
            for i, (image, category, box) in enumerate(boxes)
        ],
    }
    (folder / "truth.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def results(data):
    path = data.parent / "results.json"
    rows = [(1, 1, [5, 5, 10, 10], 0.9), (2, 2, [5, 5, 10, 10], 0.8), (1, 2, [60, 5, 9, 9], 0.1)]
    path.write_text(
        json.dumps(
            [
                {"image_id": image, "category_id": category, "bbox": box, "score": score}
                for image, category, box, score in rows
            ]
        )
    )
    return path


def test_cocos_own_results_give_cocos_own_numbers(
    shared, tmp_path, monkeypatch, capsys, empty_charts
):
    truth, results = (
        shared / "data" / "coco-eval" / f"instances_val2014_{name}.json"
        for name in ("100", "fakebbox100_results")
    )
    assert foveal(monkeypatch, "evaluate", results, truth, "--out", tmp_path) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert tuple(round(metrics[name], 3) for name in NAMES) == COCO
    assert [metrics[name] for name in NAMES] == pytest.approx(_reference(truth, results), abs=1e-6)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    printed = {row[0]: row[1] for row in rows if row and row[0] in NAMES and len(row) > 2}
    # "AP" and "AP50" also begin a sentence each; the table comes last.
    assert tuple(float(printed[name]) for name in NAMES) == COCO
    assert (metrics["images"], metrics["objects"]) == (100, 830)
    assert (tmp_path / "report.html").is_file()


def _reference(truth, results):
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.coco import COCO as Reference
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(StringIO()):
        reference = Reference(str(truth))
        run = COCOeval(reference, reference.loadRes(str(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats.tolist()


def test_results_against_a_small_data_set(data, results, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "out"
    code = foveal(
        monkeypatch,
        *("evaluate", results, data / "truth.json", "--out", out),
        *("--ignore", "DontCare", "--score-threshold", 0.5),
    )
    assert code == 0
    metrics = json.loads((out / "metrics.json").read_text())
    # The second detection lies in the region to ignore, the third is below the threshold.
    assert metrics["precision"] == 1
    assert metrics["recall"] == 0.5
    assert metrics["score_threshold"] == 0.5
    assert list(metrics["per_class"]) == ["cell", "dot"]
    said = " ".join(capsys.readouterr().out.split())
    assert "2 images, 2 objects of 2 classes, 3 detections" in said
    assert "50% of the annotated objects were found, and 100% of the detections are right" in said
    assert "On average 0.50 too few an image." in said
    assert "<html" in (out / "report.html").read_text().lower()


def test_json_and_a_dry_run(data, results, tmp_path, monkeypatch, capsys, empty_charts):
    out = tmp_path / "out"
    words = ("evaluate", results, data / "truth.json", "--out", out, "--ignore", "DontCare")
    planned = answer_in_json(monkeypatch, capsys, *words, "--dry-run")
    assert planned["writes"] == [str(out / "metrics.json"), str(out / "report.html")]
    assert not out.exists()
    shown = answer_in_json(monkeypatch, capsys, *words)
    assert shown["metrics"] == json.loads((out / "metrics.json").read_text())
    assert shown["written"] == planned["writes"]


def test_results_with_the_options_of_data(data, results, tmp_path, monkeypatch, empty_charts):
    (tmp_path / "elsewhere").mkdir()
    for number in (1, 2):
        (data / f"{number}.png").rename(tmp_path / "elsewhere" / f"{number}.png")
    words = ("evaluate", results, data / "truth.json", "--images", tmp_path / "elsewhere")
    words += ("--rename", "cell=normal", "--rename", "dot=speck", "--ignore", "DontCare")
    words += ("--only", "normal", "--format", "coco", "--out", tmp_path / "out")
    assert foveal(monkeypatch, *words) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(metrics["per_class"]) == ["normal"]
    assert metrics["AP50"] == pytest.approx(1)
    assert (metrics["objects"], metrics["detections"]) == (1, 1)


def test_nothing_found(data, tmp_path, monkeypatch, capsys, empty_charts):
    (tmp_path / "none.json").write_text("[]")
    out = tmp_path / "out"
    assert (
        foveal(monkeypatch, "evaluate", tmp_path / "none.json", data / "truth.json", "--out", out)
        == 0
    )
    assert json.loads((out / "metrics.json").read_text())["AP"] == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Nothing was found among 3 objects at the score threshold" in said
    assert "learned nothing that holds here" in said
    assert "Most would be won" not in said


@pytest.mark.parametrize("missing", ["model.safetensors", "results.json"])
def test_a_model_that_is_not_there(data, tmp_path, monkeypatch, capsys, missing):
    path = tmp_path / "nowhere" / missing
    code = foveal(monkeypatch, "evaluate", path, data / "truth.json", "--out", tmp_path / "out")
    assert code == 2
    assert str(path) in capsys.readouterr().err


def test_an_out_that_is_a_file(data, results, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    code = foveal(monkeypatch, "evaluate", results, data / "truth.json", "--out", tmp_path / "file")
    assert code == 2
    assert "can't be written" in capsys.readouterr().err


def test_a_model_file(data, tmp_path, monkeypatch, capsys, empty_charts):
    import torch

    from foveal.checkpoints import model_file
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    torch.manual_seed(0)
    settings = small_settings()
    path = tmp_path / "cells.safetensors"
    network = build_model(settings, 2)
    card = ModelCard(("dot", "cell"), score_threshold=0.25, threshold_is_chosen=True)
    model_file.save(path, network, settings, card)
    out = tmp_path / "out"
    code = foveal(
        monkeypatch,
        *("evaluate", path, data / "truth.json", "--out", out, "--ignore", "DontCare"),
    )
    assert code == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["score_threshold"] == 0.25
    assert not metrics["threshold_chosen_here"]
    assert list(metrics["per_class"]) == ["dot", "cell"]
    assert "(chosen before)" in capsys.readouterr().out
    assert (out / "report.html").is_file()
    one_by_one = foveal(
        monkeypatch,
        *("evaluate", path, data / "truth.json", "--out", tmp_path / "one", "--device", "cpu"),
        *("--ignore", "DontCare", "--batch", 1),
    )
    assert one_by_one == 0
    assert json.loads((tmp_path / "one" / "metrics.json").read_text())["AP"] == metrics["AP"]
    capsys.readouterr()
    arguments = ("evaluate", path, data / "truth.json", "--out", out, "--device", "abacus")
    assert foveal(monkeypatch, *arguments, "--overwrite") == 2
    assert "Device 'abacus' is unknown" in capsys.readouterr().err


def test_images_without_a_label_file_are_told(tmp_path, monkeypatch, capsys, caplog, empty_charts):
    folder = tmp_path / "yolo"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name in "ab":
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(folder / f"images/{name}.png")
    (folder / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text("train: images\nnames: [cell]\n")
    results = tmp_path / "results.json"
    box = {"image_id": 1, "category_id": 1, "bbox": [32, 24, 16, 12], "score": 0.9}
    results.write_text(json.dumps([box]))
    out = tmp_path / "out"
    assert foveal(monkeypatch, "evaluate", results, folder, "--out", out) == 0
    assert "1 of 2 images has no label file" in caplog.text
    lines = " ".join(capsys.readouterr().out.split())
    assert lines.startswith("2 images (1 without annotated objects), 1 object of 1 class")
    assert "1 of 2 images has no annotated object: whatever is found there counts" in lines
    assert json.loads((out / "metrics.json").read_text())["images_without_objects"] == 1
    assert "2 images (1 without annotated objects)" in (out / "report.html").read_text()


@pytest.mark.parametrize(("option", "expected"), [((), 100), (("--max-detections", 1), 1)])
def test_the_most_detections_of_a_model(
    data, tmp_path, monkeypatch, empty_charts, option, expected
):
    import torch

    from foveal.checkpoints import model_file
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    torch.manual_seed(0)
    settings, path = small_settings(), tmp_path / "cells.safetensors"
    network = build_model(settings, 2)
    with torch.no_grad():
        network.classification.output.bias.fill_(0.0)
    model_file.save(path, network, settings, ModelCard(("dot", "cell")))
    arguments = ("evaluate", path, data / "truth.json", "--out", tmp_path, "--ignore", "DontCare")
    assert foveal(monkeypatch, *arguments, *option) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["max_detections"] == expected
    if option:
        assert metrics["detections"] == metrics["images"] == 2
    else:
        assert metrics["detections"] > 2 * metrics["images"]


def test_results_of_an_earlier_run_are_replaced_if_asked(
    data, results, tmp_path, monkeypatch, capsys, empty_charts
):
    out = tmp_path / "out"
    arguments = ("evaluate", results, data / "truth.json", "--out", out)
    assert foveal(monkeypatch, *arguments) == 0
    before = (out / "metrics.json").read_bytes()
    (out / "own.txt").write_text("mine")
    # Before anything is read: the data is gone.
    (data / "truth.json").rename(data / "moved.json")
    capsys.readouterr()
    assert foveal(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "holds results of an earlier run (metrics.json, report.html)" in said
    assert "Replace them by --overwrite" in said
    (data / "moved.json").rename(data / "truth.json")
    more = ("--score-threshold", 0.85, "--overwrite")
    assert foveal(monkeypatch, *arguments, *more) == 0
    assert (out / "metrics.json").read_bytes() != before
    assert (out / "own.txt").read_text() == "mine"


def test_the_report_of_a_training_run_stays(data, results, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").touch()
    (run / "report.html").write_text("of the training")
    arguments = ("evaluate", results, data / "truth.json", "--out", run, "--overwrite")
    assert foveal(monkeypatch, *arguments) == 2
    assert (
        "report.html: is the report of the training run in this folder" in capsys.readouterr().err
    )
    assert (run / "report.html").read_text() == "of the training"
    assert not (run / "metrics.json").exists()
