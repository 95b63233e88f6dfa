"""torchvision's detectors beside foveal's: what they are trained on, and what they find."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import foveal
from benchmarks.lib import torchvision_detectors as detectors
from benchmarks.lib.torchvision_training import Images, TorchvisionRun, TorchvisionTraining
from foveal.data.dataset import Dataset

SIZE = 64


@pytest.fixture
def data(drawn: Path) -> Dataset:
    """Four images: the first has no object, one of the second's is a region to ignore."""
    drawn_data = foveal.read(drawn / "train.json")
    first, second, *rest = drawn_data.records
    nothing = first.select(np.zeros(len(first), np.bool_))
    ignored = np.zeros(len(second), np.bool_)
    ignored[0] = True
    labels = np.where(ignored, -1, second.labels)
    second = replace(second, labels=labels, ignored=ignored)
    return replace(drawn_data, records=(nothing, second, *rest))


def test_images_have_their_objects_and_no_regions_to_ignore(data: Dataset) -> None:
    plain = Images(data, flips=False)
    image, target = plain[1]
    record = data.records[1]
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, record.height, record.width))
    assert np.array_equal(target["boxes"].numpy(), record.boxes[1:])
    assert np.array_equal(target["labels"].numpy(), record.labels[1:] + 1)
    assert len(plain[0][1]["boxes"]) == 0


def test_changed_images_keep_boxes_inside(data: Dataset) -> None:
    torch.manual_seed(0)
    images = Images(data, flips=True, crops=True)
    smaller = 0
    for index in [*range(4)] * 4:
        image, target = images[index]
        height, width = image.shape[-2:]
        boxes = target["boxes"]
        assert len(boxes) == len(target["labels"])
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([width, height] * 2)).all()
        smaller += height < data.records[index].height
    assert smaller


@pytest.mark.parametrize("name", ["ssdlite"])  # the quick one, whose maps are of our making
def test_a_detector_trains_and_detects(
    name: str, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detectors, "load_timm_weights", lambda body, path: None)
    torch.manual_seed(0)
    model = detectors.DETECTORS[name](Path(), classes=3, size=SIZE)
    asked = TorchvisionTraining(epochs=1, batch=4, rate=0.001, precision=torch.float32)
    monkeypatch.setattr("benchmarks.lib.torchvision_training.WORKERS", {"cpu": 0})
    run = TorchvisionRun(model, data, asked)
    run.epoch()
    assert run.loss > 0
    (found,) = run.detect(data.take([0]))
    assert len(found) <= detectors.DETECTIONS
    assert set(found.labels.tolist()) <= {0, 1, 2}


def test_fcos_begins_with_boxes_that_have_an_area(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "load_timm_weights", lambda body, path: None)
    torch.manual_seed(0)
    model = detectors.make_fcos(Path(), classes=3, size=SIZE).eval()
    with torch.inference_mode():
        distances = model.head([torch.randn(1, 256, 8, 8)])["bbox_regression"]
    assert (distances > 0).float().mean() > 0.95  # about half, as torchvision begins
