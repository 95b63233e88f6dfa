"""The rounds of a self-training, with stand-ins for training and prediction."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.listener import Listener

from foveal.data.dataset import Dataset
from foveal.errors import TrainingDiverged, TrainingError, TrainingInterrupted
from foveal.inference.image_paths import without_labels
from foveal.structures import Detections
from foveal.training.pseudo_labels import SureScore, label_images
from foveal.training.self_training import Lesson, SelfTrainingFolder, self_train

CLASSES = ("red", "white")
SURE = (SureScore("red", 0.5, 20, 19), SureScore("white", None))


class StandIn:
    """Trains by writing the files of a run, and has seen what it was given."""

    def __init__(self, folder: SelfTrainingFolder, aps: list[float], *, score: float = 0.7) -> None:
        self.folder, self.aps, self.score = folder, aps, score
        self.learned: list[Lesson | None] = []
        self.teachers: list[int] = []

    def train(self, number: int, lesson: Lesson | None) -> float:
        self.learned.append(lesson)
        run = self.folder.round(number)
        run.path.mkdir(parents=True, exist_ok=True)
        run.best.write_text(f"model {number}")
        run.report.write_text(f"report {number}")
        return self.aps[number]

    def label(self, teacher: int):
        self.teachers.append(teacher)
        box = np.array([[1.25, 2, 30.3, 40]], np.float32)
        scores, labels = np.array([self.score], np.float32), np.zeros(1, np.int64)
        found = Detections(box, scores, labels, classes=CLASSES, width=64, height=64)
        return label_images(self.images, [found] * len(self.images), SURE, ignored_from=0.1), SURE

    def run(self, images: Dataset, *, rounds: int = 1, resume: bool = False):
        self.images, self.listener = images, Listener()
        return self_train(
            self.folder,
            images,
            rounds=rounds,
            settings="[training]\n",
            resume=resume,
            train=self.train,
            label=self.label,
            reporter=self.listener,
        )


@pytest.fixture
def images(tmp_path: Path) -> Dataset:
    for name in ("a.png", "below/b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "images" / name), np.zeros((64, 64, 3), np.uint8))
    paths = [tmp_path / "images" / "a.png", tmp_path / "images" / "below" / "b.png"]
    return without_labels(paths, CLASSES)


@pytest.fixture
def folder(tmp_path: Path) -> SelfTrainingFolder:
    return SelfTrainingFolder(tmp_path / "run")


def test_the_second_round_learns_from_what_the_first_is_sure_of(folder, images) -> None:
    stand_in = StandIn(folder, [0.5, 0.6])
    state = stand_in.run(images)
    assert (state.best, state.aps) == (1, [0.5, 0.6])
    first, second = stand_in.learned
    assert first is None
    assert second.teacher == 0
    assert second.labels.classes == CLASSES
    assert second.labels.paths == images.paths
    for record in second.labels:
        assert np.array_equal(record.boxes, np.array([[1.25, 2, 30.3, 40]], np.float32))
        assert (record.labels.tolist(), record.ignored.tolist()) == ([0], [False])
    assert folder.best.best.read_text() == "model 1"
    assert folder.best.report.read_text() == "report 1"
    assert folder.best.config.read_text() == "[training]\n"
    assert (folder.round(0).best.read_text(), folder.round(1).best.is_file()) == ("model 0", True)
    log = json.loads(folder.log.read_text())
    assert (log["kept"], [each["AP"] for each in log["rounds"]]) == (1, [0.5, 0.6])
    assert log["rounds"][1]["learned_from"]["scores"] == {"red": 0.5, "white": None}
    assert "Round 1: AP 0.600 on the validation images, 0.100 more" in stand_in.listener.said[-2]
    assert "round 1 is kept" in stand_in.listener.said[-1]


@pytest.mark.parametrize(
    ("aps", "best", "teachers"),
    [
        ([0.5, 0.4, 0.45], 0, [0, 0]),
        ([0.5, 0.6, 0.6], 1, [0, 1]),
        ([0.5, 0.6, 0.7], 2, [0, 1]),
        ([float("nan"), float("nan"), 0.1], 2, [0, 0]),
    ],
)
def test_the_best_labels_and_is_kept(folder, images, aps, best, teachers) -> None:
    stand_in = StandIn(folder, aps)
    assert stand_in.run(images, rounds=2).best == best
    assert stand_in.teachers == teachers
    assert [lesson.teacher for lesson in stand_in.learned[1:]] == teachers
    again = StandIn(folder, aps)
    assert again.run(images, rounds=2, resume=True).best == best
    assert [lesson.teacher for lesson in again.learned[1:]] == teachers
    assert folder.best.best.read_text() == f"model {best}"


def test_where_nothing_is_sure_the_first_round_stays(folder, images) -> None:
    stand_in = StandIn(folder, [0.5, 0.6], score=0.4)
    assert stand_in.run(images).aps == [0.5]
    assert folder.best.best.read_text() == "model 0"
    assert any("is sure" in line for line in stand_in.listener.said)
    assert not folder.labels(1).exists()


def test_a_round_that_diverges_loses_nothing(folder, images) -> None:
    stand_in = StandIn(folder, [0.5])
    train = stand_in.train

    def diverging(number, lesson):
        if number:
            raise TrainingDiverged("The training has diverged.")
        return train(number, lesson)

    stand_in.train = diverging
    assert stand_in.run(images).aps == [0.5]
    assert folder.best.best.read_text() == "model 0"
    assert any("Round 1 is lost." in line for line in stand_in.listener.said)
    stand_in.train = lambda number, lesson: diverging(1, lesson)
    with pytest.raises(TrainingDiverged):
        stand_in.run(images)


def test_what_was_labeled_is_not_labeled_again(folder, images) -> None:
    stand_in = StandIn(folder, [0.5, 0.6])
    train = stand_in.train

    def stopped(number, lesson):
        if number:
            raise TrainingInterrupted("Stopped.")
        return train(number, lesson)

    stand_in.train = stopped
    with pytest.raises(TrainingInterrupted):
        stand_in.run(images)
    assert folder.best.best.read_text() == "model 0"
    again = StandIn(folder, [0.5, 0.6], score=0.9)
    assert again.run(images, resume=True).best == 1
    assert again.teachers == []
    assert again.learned[1].labels.records[0].flags["attributes"][0]["score"] == 0.7
    log = json.loads(folder.log.read_text())
    assert log["rounds"][1]["learned_from"]["labels"] == {"red": 2, "white": 0}
    with pytest.raises(TrainingError, match=r"there were 2 images and are now 1 image\."):
        again.run(images.take([0]), resume=True)
    folder.log.write_text("{")
    with pytest.raises(TrainingError, match="can't be read"):
        again.run(images, resume=True)


def test_a_signal_stops_while_images_are_labeled(folder, images) -> None:
    stand_in = StandIn(folder, [0.5, 0.6])
    stand_in.label = lambda _: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingInterrupted, match="--resume"):
        stand_in.run(images)
    assert folder.best.best.read_text() == "model 0"


def test_whether_it_may_start(folder, images) -> None:
    folder.check(resume=False, overwrite=False)
    folder.check(resume=True, overwrite=False)
    StandIn(folder, [0.5, 0.6]).run(images)
    with pytest.raises(TrainingError, match=r"holds a self-training\. Go on with it by --resume"):
        folder.check(resume=False, overwrite=False)
    folder.check(resume=True, overwrite=False)
    folder.check(resume=False, overwrite=True)
    (folder.path / "notes.txt").write_text("mine")
    folder.clear()
    assert [entry.name for entry in folder.path.iterdir()] == ["notes.txt"]
    with pytest.raises(TrainingError, match="is not empty"):
        folder.check(resume=False, overwrite=False)
    plain = replace(folder, path=folder.path.parent / "plain")
    plain.best.state.parent.mkdir(parents=True)
    plain.best.state.write_text("a run")
    with pytest.raises(TrainingError, match=r"a run without --unlabeled.*--start"):
        plain.check(resume=True, overwrite=False)
