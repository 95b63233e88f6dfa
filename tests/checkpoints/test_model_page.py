"""`MODEL.md`: all that is known stands in it, nothing private, and names can't change its shape."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from foveal.checkpoints.description import Export, describe
from foveal.checkpoints.model_page import make_model_page, write_model_page
from foveal.config import make_settings
from foveal.errors import ModelFileError
from foveal.structures import ModelCard

SETTINGS = make_settings(preset="light")
CARD = ModelCard(
    ("red", "white"),
    score_threshold=0.32,
    threshold_is_chosen=True,
    metrics={"AP": 0.5968, "AP50": 0.9, "validation_loss": 1.0},
    epoch=7,
    scale=0.65,
    largest_object=120.0,
)
RECORD = {
    "data": {
        "training": {
            "name": "cells:train",
            "images": 205,
            "without_objects": 3,
            "objects": 2804,
            "classes": {"red": 2500, "white": 304},
        },
        "validation": {"name": "", "images": 72, "objects": 900, "classes": {"red": 900}},
    },
    "measured": {"images": 72, "AP": [0.55, 0.63], "AP50": [None, None]},
    "backbone_weights": {"name": "timm/mobilenetv2_100.ra_in1k", "license": "apache-2.0"},
    "speed": {"images": 72, "seconds": 3.6, "machine": "a processor, 2 cores"},
}


def page(card=CARD, record=RECORD, **options):
    return make_model_page(describe(SETTINGS, card, record), **({"name": "cells"} | options))


@pytest.mark.parametrize(
    "words",
    [
        "foveal predict cells IMAGES --out detections",
        "import foveal; detections = foveal.load('cells').detect(\"image.jpg\")",
        "Trained on cells:train: 205 images, 2,804 objects, 3 images without objects.",
        "Validated on 72 images, 900 objects.",
        "| white | 304 | – |",
        "AP 0.597 (0.550 to 0.630), AP50 0.900.",
        "resampling the 72 images",
        "Score threshold: 0.32, chosen on the validation images",
        "Input: shorter side",
        "Anchors: ",
        "99 of 100 objects below 120 pixels",
        "50.0 ms an image, reading and measuring included (a processor, 2 cores)",
        "timm/mobilenetv2\\_100.ra\\_in1k; their license: apache-2.0.",
        "after epoch 7",
    ],
)
def test_what_is_known_stands_in_it(words):
    assert words in page()


def test_what_is_not_known_is_said_or_left_out():
    text = page(ModelCard(("red",)), {})
    assert "What it was trained on is not in its file." in text
    assert "It was not measured: foveal evaluate does." in text
    assert "Score threshold: 0.3, by default." in text
    assert "All weights began at random." in text
    assert "How fast" not in text
    assert "None" not in text
    undefined = page(replace(CARD, metrics={"AP": math.nan}))
    assert "AP – (0.550" in undefined


def test_speeds_of_an_export_and_where_a_model_began():
    text = page(seconds={"PyTorch float32": 0.02, "OpenVINO int8": 0.005}, machine="a laptop")
    assert "PyTorch float32 20.0 ms, OpenVINO int8 5.0 ms (a laptop)" in text
    assert "It began from: a colleague" in page(replace(CARD, origin="a colleague"))
    exported = describe(SETTINGS, CARD, RECORD).exported_as(Export("int8", nms=True))
    assert "Exported in int8, with NMS inside." in make_model_page(exported, name="cells.onnx")


def test_names_stay_names():
    evil = "a|b\n# <script>"
    text = page(ModelCard((evil,)), {"data": {"training": {"classes": {evil: 1}}}}, name="my run")
    assert "| a\\|b \\# \\<script\\> | 1 | – |" in text
    assert "foveal predict 'my run' IMAGES" in text
    many = ModelCard(tuple(f"class {number}" for number in range(150)))
    assert "| and 50 more | | |" in page(many)


@pytest.mark.parametrize("broken", [{"data": 3}, {"data": {"training": []}}, {"measured": "x"}])
def test_a_record_that_makes_no_sense_does_no_harm(broken):
    assert "## Use" in page(record=broken)


def test_the_page_lies_beside_the_file(tmp_path):
    description = describe(SETTINGS, CARD, RECORD)
    assert write_model_page(tmp_path / "cells" / "best.safetensors", description) == (
        tmp_path / "cells" / "MODEL.md"
    )
    assert "foveal predict cells IMAGES" in (tmp_path / "cells" / "MODEL.md").read_text()
    write_model_page(tmp_path / "other.safetensors", description)
    assert "foveal predict other.safetensors" in (tmp_path / "MODEL.md").read_text()
    with pytest.raises(ModelFileError):
        write_model_page(tmp_path / "nowhere.safetensors")
