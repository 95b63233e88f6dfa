"""The end of a run: the threshold, the card, the file of the best model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.training.conftest import tiny_settings

from foveal.checkpoints import model_file
from foveal.data.dataset import Dataset, Record
from foveal.models.build import build_model
from foveal.structures import Detections, ModelCard
from foveal.training.conclusion import Conclusion, conclude
from foveal.training.trainer import TrainingResult
from foveal.training.validation import Validation

BOX = np.array([[10, 10, 40, 40]], np.float32)
CARD = ModelCard(("red", "green"), origin="drawn", ignored_classes=("blue",))


def validation(
    folder: Path, *, images: int = 2, score: float = 0.75, shift: float = 0
) -> Validation:
    """One red object in each image, found with a score unless shifted; false alarms score 0.25."""

    def detect(_model: object, paths: list[Path]) -> list[Detections]:
        boxes = np.concatenate([BOX + shift, BOX + 20])
        scores, labels = np.array([score, 0.25], np.float32), np.zeros(2, np.int64)
        return [Detections(boxes, scores, labels, classes=CARD.classes) for _ in paths]

    records = tuple(
        Record(folder / f"{n}.png", 64, 64, BOX, np.zeros(1, np.int64), np.zeros(1, np.bool_))
        for n in range(images)
    )
    return Validation(Dataset(records, CARD.classes, folder), detect, max_detections=100)


def concluded(folder: Path, result: TrainingResult, **changes: Any) -> Conclusion:
    """The end of a tiny model's run; the changes are `validation`'s."""
    settings = tiny_settings()
    model, seen = build_model(settings, 2), validation(folder, **changes)
    return conclude(model, settings, card=CARD, result=result, validation=seen)


@pytest.fixture
def result(tmp_path: Path) -> TrainingResult:
    return TrainingResult((), best_epoch=3, best={"AP": 0.9}, folder=tmp_path / "run")


def test_the_card_and_the_file_get_the_threshold(tmp_path, result):
    end = concluded(tmp_path, result)
    assert 0.25 < end.card.score_threshold <= 0.75
    assert end.card.threshold_is_chosen
    assert (end.card.metrics, end.card.epoch) == ({"AP": 0.9}, 3)
    assert (end.card.origin, end.card.ignored_classes) == ("drawn", ("blue",))
    assert end.card.profile is not None
    assert (end.card.profile.images, end.card.profile.classes) == (2, (2, 0))
    assert end.evaluation is not None
    assert end.evaluation.score_threshold == end.card.score_threshold
    assert end.evaluation.ap50 == pytest.approx(1.0)
    loaded = model_file.load(tmp_path / "run" / "best.safetensors")
    assert loaded.card == end.card
    assert loaded.record["measured"]["images"] == 2
    assert "speed" not in loaded.record  # of a run whose validation was not timed
    page = (tmp_path / "run" / "MODEL.md").read_text()
    assert "AP 0.900" in page
    assert "foveal predict run IMAGES" in page


def test_the_speed_is_that_of_the_best_epoch(tmp_path, result):
    history = ({}, {}, {"validation_seconds": 3.0})
    end = concluded(tmp_path, replace(result, history=history))
    assert end.record is not None
    assert (end.record["speed"]["images"], end.record["speed"]["seconds"]) == (2, 3.0)
    assert "took 1500.0 ms an image" in (tmp_path / "run" / "MODEL.md").read_text()


@pytest.mark.parametrize("change", [{"folder": None}, {"is_main": False}])
def test_only_the_process_that_writes_files_does(tmp_path, result, change):
    end = concluded(tmp_path, replace(result, **change))
    assert end.card.threshold_is_chosen
    assert end.evaluation is None
    assert not (tmp_path / "run").exists()


def test_no_validation_image(tmp_path, result):
    end = concluded(tmp_path, result, images=0)
    assert 0 <= end.card.score_threshold <= 1
    assert end.evaluation is not None
    assert end.evaluation.images == 0


def test_a_model_that_is_sure_of_what_is_not_there(tmp_path, result):
    """No score leaves all false alarms out, 1 being one; the run ends as any other."""
    end = concluded(tmp_path, result, score=1.0, shift=200)
    assert end.card.score_threshold == 1
    assert model_file.load(tmp_path / "run" / "best.safetensors").card.score_threshold == 1
