"""Somebody makes a mistake: the message names it and says what to do."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from tests.journeys.conftest import TINY_SETS


@pytest.fixture
def coco(tmp_path):
    """Write a COCO file about one 64 x 64 image; gives its path."""

    def write(name: str, *boxes: list[float], classes=("cell",), category: int = 1):
        Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "one.png")
        document = {
            "images": [{"id": 1, "file_name": "one.png", "width": 64, "height": 64}],
            "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": category, "bbox": box, "iscrowd": 0}
                for i, box in enumerate(boxes, 1)
            ],
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    return write


def says(result, *parts: object) -> None:
    """It ended with a message that has all of this in it, and no traceback."""
    code, _, error = result
    assert code == 2
    assert "\nerror: " in f"\n{error}"
    assert "Traceback" not in error
    for part in parts:
        assert str(part) in error


def test_a_path_that_is_not_there(foveal, tmp_path):
    missing = tmp_path / "cels"
    for verb in (
        ("data", "check", missing),
        ("anchors", missing),
        ("train", missing, "--out", tmp_path / "run"),
    ):
        says(foveal(*verb), missing)
    assert not (tmp_path / "run").exists()


def test_the_images_are_not_where_the_annotations_say(foveal, coco, tmp_path):
    data = coco("cells", [5, 5, 20, 20])
    (tmp_path / "one.png").unlink()
    says(foveal("train", data, "--out", tmp_path / "run", *TINY_SETS), "one.png")


def test_data_without_any_class(foveal, coco, tmp_path):
    data = coco("empty", classes=())
    says(foveal("train", data, "--out", tmp_path / "run", *TINY_SETS), "no classes")


def test_validation_data_of_other_classes(foveal, coco, smears, tmp_path):
    other = coco("cars", [5, 5, 20, 20], classes=("car",))
    arguments = (smears / "train.json", "--valid", other, "--out", tmp_path / "run", *TINY_SETS)
    says(foveal("train", *arguments), "car", "normal")


def test_a_setting_that_does_not_exist(foveal, smears, tmp_path):
    arguments = (smears / "train.json", "--out", tmp_path / "run")
    says(foveal("train", *arguments, "--set", "training.epoch=3"), "training.epoch", "epochs")
    says(foveal("train", *arguments, "--set", "training.epochs=many"), "training.epochs", "many")
    says(foveal("train", *arguments, "--set", "epochs=3"), "section.name=value")


def test_a_backbone_that_does_not_exist(foveal, smears, tmp_path):
    arguments = (smears / "train.json", "--out", tmp_path / "run", *TINY_SETS)
    says(foveal("train", *arguments, "--set", "model.backbone=resnet51"), "resnet51", "resnet50")


def test_a_model_that_is_none(foveal, smears, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"not a model")
    says(foveal("predict", model, smears / "images", "--out", tmp_path / "out"), model)
    says(foveal("evaluate", model, smears / "test.json", "--out", tmp_path / "out"), model)
    says(foveal("train", smears / "train.json", "--start", model, "--out", tmp_path, *TINY_SETS))


def test_a_folder_that_is_a_file(foveal, smears, tmp_path):
    (tmp_path / "run").touch()
    says(foveal("train", smears / "train.json", "--out", tmp_path / "run", *TINY_SETS), "run")
