"""The report of an evaluation: what it says, and that it says it for any evaluation."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.reports import results as made_up
from tests.test_glossary import old_words

from foveal.config import AnchorSettings
from foveal.data.dataset import Dataset, Record
from foveal.errors import FovealError
from foveal.evaluation.results import ImageResult
from foveal.reports.errors import pictures_section
from foveal.reports.evaluation import read_history, write_evaluation_report
from foveal.reports.parts import Pictures
from foveal.reports.results import summary_section
from foveal.structures import Detections, PixelRange, Target
from foveal.tuning.anchor_metrics import Objects

CLASSES = ("normal", "infected", "<script>alert(1)</script>")


def write(path: Path, *arguments: Any, **more: Any) -> str:
    """The page's text without its tags."""
    write_evaluation_report(path, *arguments, **more)
    page = path.read_text(encoding="utf-8")
    page = re.sub(r"<style>.*?</style>|data:image[^\"]*", "", page, flags=re.DOTALL)
    assert "<script" not in page
    text = unescape(re.sub(r"<[^>]*>", "\n", page))
    return re.sub(r"\n+", "\n", text)


def headings(text: str) -> list[str]:
    """The titles of the sections that stand in the page's menu, in order."""
    known = (
        "Summary Classes Counting Errors Hardest@images Curves Training Data Anchors All@numbers "
        "Settings"
    )
    lines = text.split("\n")
    return [name for name in (one.replace("@", " ") for one in known.split()) if name in lines]


def group(name: str, objects: int, recall: float) -> SimpleNamespace:
    return SimpleNamespace(name=name, objects=objects, recall=recall, mean_iou=0.7)


def anchor_option(name: str, recall: float) -> SimpleNamespace:
    quality = SimpleNamespace(
        total=group("all", 500, recall),
        by_class=(group("normal", 300, recall), group("unseen", 0, float("nan"))),
        by_size=(group("under 16 px", 200, recall),),
    )
    return SimpleNamespace(name=name, quality=quality, settings=AnchorSettings())


def objects(count: int = 50) -> Objects:
    """Squares of 12 px in one image."""
    boxes = np.tile(np.asarray([[20.0, 20, 32, 32]]), (count, 1))
    zeros = np.zeros(count, np.int64)
    return Objects(boxes, zeros, zeros, np.full((count, 2), 160), ("normal",))


def test_everything_at_once(tmp_path: Path) -> None:
    dataset = made_up.smears(tmp_path / "images", classes=CLASSES)
    evaluation = made_up.evaluated_smears(dataset)
    fit = SimpleNamespace(
        text="anchors: fitted to the data",
        chosen=anchor_option("search", 0.991),
        default=anchor_option("default", 0.85),
        objects=objects(),
        settings=AnchorSettings(),
        foreground_iou=0.5,
    )
    text = write(
        tmp_path / "report.html",
        evaluation,
        dataset=dataset,
        training=dataset,
        model="cells.safetensors",
        settings='[model]\nbackbone = "resnet18"\n',
        history=made_up.history(),
        anchors=fit,
    )
    assert headings(text) == [
        "Summary",
        "Classes",
        "Counting",
        "Errors",
        "Hardest images",
        "Curves",
        "Training",
        "Data",
        "Anchors",
        "All numbers",
        "Settings",
    ]
    assert "How well cells.safetensors finds objects in smears:test" in text
    assert f"{evaluation.images} images, {evaluation.objects} objects" in text
    assert "92% of the annotated objects were found" in text
    assert "93% of the detections are right" in text
    assert "0.870 to 0.930 (95% interval)" in text
    assert 'Most would be won by mending the type "missed"' in text
    assert "chosen on these very images" in text
    assert "There are only 6 images" in text
    assert "99.1%" in text
    assert "85.0%" in text
    assert "unseen" not in text
    assert "objects not reached: 100%" in text
    assert "6 epochs in 3 minutes; the weights of epoch 5 were best." in text
    assert 'backbone = "resnet18"' in text
    assert "nan" not in text.lower().split()
    assert old_words(text) == []


def test_counts_are_said_in_words() -> None:
    true = np.asarray([[4], [6]])
    for shift, words in (
        (0, "neither too many nor too few"),
        (2, "2.00 too many an image"),
        (-1, "1.00 too few an image"),
    ):
        section = summary_section(made_up.evaluation(true, true + shift, ("cell",)))
        assert words in str(section)


@pytest.mark.usefixtures("empty_charts")
def test_pictures_show_each_hard_image_up_to_a_limit(tmp_path: Path) -> None:
    dataset = made_up.smears(tmp_path / "images", classes=CLASSES)
    evaluation = made_up.evaluated_smears(dataset)
    path = tmp_path / "report.html"
    write_evaluation_report(path, evaluation, dataset=dataset, pictures=4)
    assert path.read_text().count("data:image/jpeg") == 4
    write_evaluation_report(path, evaluation, dataset=dataset, pictures=0)
    assert path.read_text().count("data:image/jpeg") == 0


@pytest.mark.usefixtures("empty_charts")
def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    dataset = made_up.smears(tmp_path / "images", classes=CLASSES)
    evaluation = made_up.evaluated_smears(dataset)
    gone = dataset.records[evaluation.hardest[0].index].path
    gone.unlink()
    text = write(tmp_path / "report.html", evaluation, dataset=dataset)
    assert "Not shown:" in text
    assert gone.name in text


@pytest.mark.parametrize("images", [0, 3])
def test_nothing_at_all(tmp_path: Path, images: int) -> None:
    text = write(tmp_path / "report.html", made_up.nothing(images=images))
    expected = "There is no annotated object in" if images else "There were no images to evaluate."
    assert expected in text
    assert "nan" not in text.lower().split()


def test_nothing_found(tmp_path: Path) -> None:
    true = np.asarray([[3], [5]])
    evaluation = made_up.evaluation(true, np.zeros_like(true), ("cell",))
    text = write(tmp_path / "report.html", evaluation)
    assert "Nothing was found among 8 objects at the score threshold 0.42 (" in text


def test_a_class_without_objects_is_named(tmp_path: Path) -> None:
    true = np.asarray([[3, 0], [5, 0]])
    text = write(tmp_path / "report.html", made_up.evaluation(true, true, ("cell", "yeti")))
    assert "No objects, and so no AP, of: yeti." in text


def test_many_classes_stay_readable(tmp_path: Path) -> None:
    classes = tuple(f"class {index}" for index in range(80))
    true = np.tile(np.arange(80), (3, 1))
    path = tmp_path / "report.html"
    text = write(path, made_up.evaluation(true, true, classes))
    assert "The 8 classes with the most objects." in text
    assert "and 72 more" in text
    assert "No class is taken for another." in text
    assert path.stat().st_size < 1_000_000


@pytest.mark.usefixtures("empty_charts")
def test_of_many_classes_the_most_frequent_confusions_are_listed(tmp_path: Path) -> None:
    classes = tuple(f"class {index}" for index in range(60))
    evaluation = made_up.evaluation(np.ones((3, 60), int), np.ones((3, 60), int), classes)
    evaluation.confusion.matrix[7, 40] = 1234
    evaluation.confusion.matrix[40, 8] = 12
    text = write(tmp_path / "report.html", evaluation)
    assert "class 7\nclass 40\n1,234\nclass 40\nclass 8\n12\nWhich class" in text
    assert "No class is taken for another." not in text


def test_hostile_names_are_escaped_once_and_cut(tmp_path: Path) -> None:
    classes = ("<b onclick='x'>&\"", "endless" * 7000)
    dataset = made_up.smears(tmp_path / "<i>&'", classes=classes, images=2)
    path = tmp_path / "report.html"
    text = write(path, made_up.evaluated_smears(dataset), dataset=dataset, model="</title>&amp;")
    page = path.read_text(encoding="utf-8")
    assert "How well </title>&amp; finds objects" in text
    assert classes[0] in text.split("\n")
    assert "<b onclick" not in page
    assert max(map(len, re.findall("(?:endless)+", page))) < 110


def test_training_that_has_just_begun(tmp_path: Path) -> None:
    steps = made_up.history(epochs=1, steps=2)[:2]
    text = write(tmp_path / "report.html", made_up.nothing(), history=steps)
    assert "The run did not finish an epoch." in text


def test_history_is_read_up_to_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = made_up.history(epochs=2, steps=3)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "st')
    assert read_history(path) == rows
    with pytest.raises(FovealError, match=r"metrics\.jsonl.*can't be read"):
        read_history(tmp_path / "no folder" / "metrics.jsonl")


def test_images_of_four_bands_are_drawn(tmp_path: Path) -> None:
    import tifffile

    dataset = made_up.smears(tmp_path / "images", classes=CLASSES, images=3)
    evaluation = made_up.evaluated_smears(dataset)
    records = []
    for record in dataset.records:
        path = record.path.with_suffix(".tif")
        values = np.random.default_rng(0).integers(0, 3000, (160, 160, 4)).astype(np.uint16)
        tifffile.imwrite(path, values, photometric="rgb", extrasamples=["unspecified"])
        records.append(replace(record, path=path))
    deep = replace(dataset, records=tuple(records))
    section = pictures_section(
        evaluation, deep, limit=2, pixel_range=PixelRange(4, (0,) * 4, (3000,) * 4)
    )
    assert section is not None
    pictures = section.parts[2].pictures
    assert [picture.image.shape for picture in pictures] == [(480, 480, 3)] * 2


def test_of_scenes_the_parts_with_the_most_errors_are_read_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = np.full((1500, 2000, 3), 90, np.uint8)
    ground[900:, 1500:] = 200
    Image.fromarray(ground).save(tmp_path / "scene.png")
    boxes = np.asarray([[1700 + 20 * i, 1200, 1712 + 20 * i, 1212] for i in range(6)], np.float32)
    lone = np.asarray([[100, 100, 112, 112]], np.float32)
    missed = Target(np.concatenate([boxes, lone]), np.zeros(7, int), np.zeros(7, bool))
    none = Detections(boxes[:0], np.zeros(0), np.zeros(0), ("ship",))
    found = Detections(boxes[:1] + 30, np.ones(1), np.zeros(1), ("ship",))
    result = ImageResult(0, None, found, none, missed, lone[:0])
    record = Record(tmp_path / "scene.png", 2000, 1500, missed.boxes, missed.labels, missed.ignored)
    dataset = Dataset((record,), ("ship",), tmp_path)
    true = np.asarray([[8]])
    evaluation = made_up.evaluation(true, true - 7, ("ship",), (result,))
    monkeypatch.setattr("foveal.data.images.rasters.Raster.overview", None)
    section = pictures_section(evaluation, dataset, limit=2)
    assert section is not None
    text, _, pictures = section.parts
    assert "Of 1 of them, which are much larger" in text
    assert isinstance(pictures, Pictures)
    worst, other = pictures.pictures
    assert worst.title == "scene.png: from 1,596, 1,046 to 1,916, 1,366"
    assert worst.caption == "1 found, 6 missed, 0 false"
    assert worst.image.shape == (640, 640, 3)
    assert (worst.image[400, 400] == 200).all()
    assert other.caption == "0 found, 1 missed, 0 false"
    assert (other.image[-1, -1] == 90).all()


def test_a_large_image_of_large_objects_is_shown_whole_and_shrunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foveal.reports.errors.LARGEST_SIDE", 500)
    Image.fromarray(np.full((1500, 2000, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    box = np.asarray([[400, 400, 1200, 1200]], np.float32)
    missed = Target(box, np.zeros(1, int), np.zeros(1, bool))
    none = Detections(box[:0], np.zeros(0), np.zeros(0), ("ship",))
    result = ImageResult(0, None, none, none, missed, box[:0])
    record = Record(tmp_path / "photo.png", 2000, 1500, box, missed.labels, missed.ignored)
    true = np.asarray([[1]])
    evaluation = made_up.evaluation(true, true, ("ship",), (result,))
    section = pictures_section(evaluation, Dataset((record,), ("ship",), tmp_path), limit=2)
    assert section is not None
    assert isinstance(section.parts[2], Pictures)
    (picture,) = section.parts[2].pictures
    assert picture.image.shape == (750, 1000, 3)
    assert (picture.image[199, 200:600] != 90).any()
    assert (picture.image[200:600, 200:600] == 90).all()
