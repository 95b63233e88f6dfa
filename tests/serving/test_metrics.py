"""What Prometheus reads of a server."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from foveal.evaluation.profile import make_profile
from foveal.serving.metrics import Metrics
from foveal.structures import Detections, ModelCard

CLASSES = ("red", 'a "quoted"\\ name')
FOUND = Detections(
    np.array([[0, 0, 10, 10], [0, 0, 40, 40], [0, 0, 2, 2]], np.float32),
    [0.95, 0.5, 0.1],
    [0, 1, 1],
    classes=CLASSES,
)
NOTHING = Detections([], [], [], classes=CLASSES)
LABELS = ("route", "status", "stage", "model", "version", "class", "of", "le")
CARD = ModelCard(CLASSES, score_threshold=0.3)


def a_model(card: ModelCard = CARD, version: str = "1") -> Any:
    """What is read of a `ServedModel`."""
    predictor = SimpleNamespace(card=card)
    return SimpleNamespace(name="cells", version=version, predictor=predictor)


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of `LABELS`."""
    text, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    return {
        (
            sample.name,
            *(sample.labels[name] for name in LABELS if name in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_before_anything_happens() -> None:
    said = read(Metrics())
    assert said["foveal_queue_images",] == 0
    assert said["process_resident_memory_bytes",] > 0
    assert not [name for name in said if name[0].startswith("foveal_detections")]


def test_requests_stages_batches_and_the_queue() -> None:
    metrics = Metrics()
    metrics.answered("/v1/detect", 200, 0.03)
    metrics.answered("/v1/detect", 422, 0.001)
    metrics.answered("", 404, 0.001)
    metrics.answered("/page/page.js", 304, 0.001)
    metrics.answered("/page/page.css", 304, 0.001)
    metrics.took("model", 0.5)
    metrics.computed(a_model(), 3)
    metrics.queued(7)
    said = read(metrics)
    assert said["foveal_requests_total", "/v1/detect", "200"] == 1
    assert said["foveal_requests_total", "none", "404"] == 1
    assert said["foveal_requests_total", "/page/", "304"] == 2
    assert said["foveal_request_seconds_count", "/v1/detect"] == 2
    assert said["foveal_request_seconds_bucket", "/v1/detect", "0.02"] == 1
    assert said["foveal_stage_seconds_sum", "model"] == 0.5
    assert said["foveal_batch_images_bucket", "cells", "2.0"] == 0
    assert said["foveal_batch_images_bucket", "cells", "4.0"] == 1
    assert said["foveal_queue_images",] == 7


def test_detections() -> None:
    metrics, model = Metrics(), a_model()
    for _ in range(2):
        metrics.detected(model, FOUND, score_threshold=0.05)
    metrics.detected(model, NOTHING, score_threshold=0.3)
    said = read(metrics)
    assert said["foveal_images_total", "cells"] == 3
    assert said["foveal_detections_total", "cells", "red"] == 2
    assert said["foveal_detections_total", "cells", CLASSES[1]] == 2, "0.1 is below the threshold"
    assert said["foveal_image_detections_bucket", "cells", "0"] == 1
    assert said["foveal_image_detections_sum", "cells"] == 4
    assert said["foveal_detection_score_bucket", "cells", "0.6"] == 2
    assert said["foveal_detection_score_count", "cells"] == 4
    assert said["foveal_detection_size_pixels_sum", "cells"] == 100
    assert said["foveal_drift_known", "cells"] == 0
    assert ("foveal_drift", "cells", "scores") not in said, "nothing is known to compare with"


def test_drift_beside_the_validation_images() -> None:
    profile = make_profile([FOUND] * 10, classes=2, score_threshold=0.3)
    model = a_model(ModelCard(CLASSES, score_threshold=0.3, profile=profile))
    metrics = Metrics()
    for _ in range(10):
        metrics.detected(model, FOUND, score_threshold=0.05)
    said = read(metrics)
    assert said["foveal_drift", "cells", "scores"] == pytest.approx(0, abs=1e-6)
    assert said["foveal_drift_detections_per_image", "cells"] == 2
    assert said["foveal_validation_detections_per_image", "cells"] == 2
    assert said["foveal_validation_detection_size_pixels_bucket", "cells", "+Inf"] == 20
    assert 0 < said["foveal_drift_by_chance", "cells", "sizes"] < 1


def test_there_is_no_drift_before_a_detection() -> None:
    """And no NaN in its place, which the mean over several models would become."""
    profile = make_profile([FOUND] * 10, classes=2, score_threshold=0.3)
    model = a_model(ModelCard(CLASSES, score_threshold=0.3, profile=profile))
    metrics = Metrics()
    metrics.detected(model, NOTHING, score_threshold=0.05)
    said = read(metrics)
    assert said["foveal_drift_known", "cells"] == 1
    assert said["foveal_drift_images", "cells"] == 1
    assert said["foveal_drift_detections_per_image", "cells"] == 0
    assert not any(name in ("foveal_drift", "foveal_drift_by_chance") for name, *_ in said)
    assert not any(math.isnan(value) for value in said.values())
    metrics.detected(model, FOUND, score_threshold=0.05)
    assert ("foveal_drift", "cells", "sizes") in read(metrics)


def test_a_profile_that_was_measured_later_goes_before_the_cards() -> None:
    before = make_profile([NOTHING], classes=2, score_threshold=0.3)
    later = make_profile([FOUND], classes=2, score_threshold=0.3)
    metrics = Metrics({"cells": later})
    model = a_model(ModelCard(CLASSES, score_threshold=0.3, profile=before))
    metrics.detected(model, FOUND, score_threshold=0.3)
    assert read(metrics)["foveal_validation_detections_per_image", "cells"] == 2


def test_a_model_that_was_loaded_anew_begins_anew() -> None:
    metrics = Metrics()
    metrics.detected(a_model(), FOUND, score_threshold=0.05)
    metrics.detected(a_model(ModelCard(("x", "y", "z")), "2"), NOTHING, score_threshold=0.3)
    said = read(metrics)
    assert said["foveal_images_total", "cells"] == 1
    assert said["foveal_model_info", "cells", "2"] == 1
    assert said["foveal_detections_total", "cells", "z"] == 0
