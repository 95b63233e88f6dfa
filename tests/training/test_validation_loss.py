"""The loss on validation images equals that of one batch of them all, whatever passes were made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.conftest import tiny_settings

from foveal.checkpoints.model_file import LoadedModel
from foveal.data.loading.collate import make_batch
from foveal.data.loading.prefetch import Input
from foveal.data.synthetic import draw_dataset
from foveal.data.transforms.preparation import make_preparation
from foveal.detection.postprocessing import Origin
from foveal.geometry.placement import Placement
from foveal.inference.opening import open_network
from foveal.models.build import build_model
from foveal.structures import ModelCard, Sample, Target
from foveal.training.setup import make_criterion
from foveal.training.validation import Validation
from foveal.training.validation_loss import ValidationLoss


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    data = draw_dataset(folder, splits={"valid": 5}, size=64, seed=2)["valid"]
    first, second, *others = data.records
    return replace(data, records=(first, second.select(np.zeros(len(second), np.bool_)), *others))


def measured(drawn, settings, *, batch):
    torch.manual_seed(0)
    model = build_model(settings, len(drawn.classes)).eval()
    loss = ValidationLoss(make_criterion(settings, drawn.classes))

    def detect(network, paths):
        opened = open_network(
            LoadedModel(network, settings, ModelCard(drawn.classes)), precision="float32"
        )
        predictor = replace(opened.measuring_predictor(), observe=loss.observer(network))
        return replace(predictor, batch=batch).detect_many(paths)

    validation = Validation(drawn, detect, max_detections=100, loss=loss)
    numbers = validation(model)
    assert validation(model) == pytest.approx(numbers, nan_ok=True)  # by what is remembered
    return model, numbers


@pytest.mark.parametrize(
    ("overrides", "batch"),
    [
        (("loss.divide_by=batch",), 1),
        (("loss.divide_by=image",), 2),
        (("loss.classification=quality_focal", "loss.weigh_boxes=true", "loss.box=giou"), 2),
        (("loss.divide_by=image", "loss.classification=quality_focal", "loss.weigh_boxes=true"), 8),
        (("assignment.method=task_aligned", "loss.classification=quality_focal"), 2),
        (
            (
                "model.quality=centerness",
                "loss.weigh_boxes=true",
                "model.box_coding=distances",
                "model.box_bins=5",
                "anchors.scales=[1]",
                "anchors.ratios=[1]",
            ),
            2,
        ),
    ],
)
def test_it_is_the_criterions_of_all_images_at_once(drawn, overrides, batch):
    settings = tiny_settings(*overrides, "loss.box_weight=2.0")
    model, numbers = measured(drawn, settings, batch=batch)
    prepare = make_preparation(settings.preparation)
    prepared = [prepare(drawn[index]) for index in range(len(drawn))]
    whole = make_batch(prepared)
    with torch.inference_mode():
        raw = model(whole.images)
        anchors = model.anchors(*whole.images.shape[-2:])
        expected = make_criterion(settings)(raw, anchors, whole)
    assert numbers["validation_classification"] == pytest.approx(
        float(expected.classification), rel=1e-4
    )
    assert numbers["validation_box"] == pytest.approx(float(expected.box), rel=1e-4)
    assert numbers["validation_loss"] == pytest.approx(float(expected.total), rel=1e-4)
    assert "AP" in numbers


def test_no_images_have_no_loss():
    assert ValidationLoss(make_criterion(tiny_settings())).mean([]) == {}


def test_a_window_shows_what_is_cut_as_training_does():
    settings = tiny_settings()
    loss = ValidationLoss(make_criterion(settings), min_visibility=0.5)
    boxes = np.array([[10, 10, 30, 30], [58, 10, 78, 30]], np.float32)
    target = Target(boxes, np.zeros(2, np.int64), np.zeros(2, np.bool_))
    loss.begin([0], [target])
    shown = []
    for left in (0, 64):
        placement = Placement(128, 64, offset_x=-left)
        image = Sample(np.zeros((64, 64, 3), np.uint8), Target.empty())
        item = Input(0, 0, image, Origin(placement), tile=left // 64)
        shown.append(loss._sample(item, (64, 64)).target)
    assert shown[0].boxes.tolist() == [[10, 10, 30, 30], [58, 10, 64, 30]]
    assert shown[0].ignored.tolist() == [False, True]
    assert shown[1].boxes.tolist() == [[0, 10, 14, 30]]
    assert shown[1].ignored.tolist() == [False]


def test_an_image_of_which_nothing_was_looked_at_has_no_loss():
    loss = ValidationLoss(make_criterion(tiny_settings()))
    loss.begin([0], [Target.empty()])
    assert loss.take() == [(0.0,) * 6]
