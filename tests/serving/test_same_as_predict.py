"""The answers are those of `foveal predict`, whatever the batching did: with a real network."""

from __future__ import annotations

import json

import numpy as np
from tests.inference.conftest import loaded, model_path, picture_folder  # noqa: F401
from tests.inference.test_predictor import assert_same
from tests.serving.conftest import Server

from foveal.inference.opening import open_model
from foveal.structures import Detections

THRESHOLD = 0.05


def detections(image, classes):
    """What an image of an answer says, as detections."""
    return Detections(
        np.array(image["boxes"], np.float32).reshape(-1, 4),
        np.array(image["scores"], np.float32),
        np.array(image["labels"], np.int64),
        classes=tuple(classes),
    )


def test_boxes_are_the_same_within_a_hundredth_of_a_pixel(
    model_path,  # noqa: F811
    picture_folder,  # noqa: F811
):
    server = Server(model_path, batch=3, wait=0.02, precision="float32")
    predictor = open_model(model_path, precision="float32").predictor(score_threshold=THRESHOLD)
    paths = sorted(picture_folder.iterdir())
    address = f"/v1/detect?score_threshold={THRESHOLD}"
    try:
        answers = server.ask_all([(address, path.read_bytes(), {}) for path in paths])
    finally:
        server.close()
    for path, answer in zip(paths, answers, strict=True):
        document = json.loads(answer.content)
        (image,) = document["images"]
        expected = predictor.detect(path)
        assert len(expected) > 3
        assert (image["width"], image["height"]) == (expected.width, expected.height)
        assert_same(detections(image, document["model"]["classes"]), expected)
