import math

import cv2
import numpy as np
import pytest
from tests.listener import Listener
from tests.training import sharing

from foveal.data.dataset import Dataset, Record
from foveal.structures import Detections
from foveal.training import reporters
from foveal.training import validation as validating
from foveal.training.validation import Validation, split_off_validation

BOX = np.asarray([[10, 10, 40, 40]], np.float32)


def detections(score, *, right=True):
    box = BOX if right else BOX + 100
    return Detections(box, np.full(1, score, np.float32), np.zeros(1, np.int64), classes=("cell",))


@pytest.fixture
def data(tmp_path):
    records = tuple(
        Record(tmp_path / f"{n}.jpg", 64, 64, BOX, np.zeros(1, np.int64), np.zeros(1, np.bool_))
        for n in range(3)
    )
    return Dataset(records, ("cell",), tmp_path)


class Prediction:
    """Stands for models by the number of images in which they are right."""

    def __init__(self):
        self.asked = []

    def __call__(self, model, paths):
        self.asked.append(model)
        return [detections(0.9, right=int(path.stem) < model) for path in paths]


def test_what_the_best_model_detects_is_remembered(data):
    detect = Prediction()
    validation = Validation(data, detect, max_detections=100)
    numbers = [validation(model) for model in (1, 3, 2)]
    assert numbers[1]["AP"] == pytest.approx(1.0)
    assert numbers[0]["AP"] < numbers[2]["AP"] < 1
    assert math.isnan(numbers[1]["APl"])
    found = validation.detections_of(3, dict(numbers[1]))
    assert [len(each) for each in found] == [1, 1, 1]
    assert all((each.boxes == BOX).all() for each in found)
    assert detect.asked == [1, 3, 2]


def test_a_model_that_was_not_measured_here_is_asked(data):
    detect = Prediction()
    validation = Validation(data, detect, max_detections=100)
    validation.detections_of(2, {})
    validation(1)
    validation.detections_of(2, {"AP": 0.7})
    assert detect.asked == [2, 1, 2]


def test_of_equals_the_later_one_is_the_best(data):
    detect = Prediction()
    validation = Validation(data, detect, max_detections=100)
    first = validation(0)
    assert first["AP"] == 0
    marked = [detections(0.5, right=False)] * 3
    validation._detect = lambda model, paths: marked
    assert validation.detections_of(0, validation(0))[0] is marked[0]


@pytest.fixture
def smears(tmp_path):
    """Nine images, of which 0 to 2 and, mirrored, 4 and 5 are the same."""
    records = []
    for number, seed in enumerate((0, 0, 0, 3, 4, 4, 6, 7, 8)):
        noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        image = cv2.resize(noise, (64 + number, 64), interpolation=cv2.INTER_CUBIC)
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), image[:, ::-1] if number == 5 else image)
        box = BOX, np.zeros(1, np.int64), np.zeros(1, np.bool_)
        records.append(Record(path, 64 + number, 64, *box))
    return Dataset(tuple(records), ("cell",), tmp_path)


def parts_of(data, listener, **options):
    options = {"fraction": 0.34, "seed": 0} | options
    parts = split_off_validation(data, reporter=listener, **options)
    return [{int(record.path.stem) for record in part} for part in parts]


@pytest.mark.parametrize("seed", range(4))
def test_images_that_look_alike_are_held_out_together(smears, seed):
    listener = Listener()
    training, held_out = parts_of(smears, listener, seed=seed)
    assert training | held_out == set(range(9))
    assert len(held_out) == 3
    for group in ({0, 1, 2}, {4, 5}):
        assert group <= training or group <= held_out
    assert listener.said == [
        f"No validation data was given: 3 of 9 images held out (seed {seed}). 5 images look like "
        "another one, in 2 groups: each group is in one part."
    ]


def test_groups_larger_than_what_is_held_out(smears):
    listener = Listener()
    assert parts_of(smears.take([0, 1, 2, 4, 5]), listener, fraction=0.2)[1] == {4, 5}
    assert not any("by heart" in text for text in listener.said)
    assert len(parts_of(smears.take([0, 1, 2]), listener)[1]) == 1
    assert "3 of 3 images look alike" in listener.said[1]


def test_very_many_images_are_not_compared(smears, monkeypatch):
    monkeypatch.setattr(validating, "_MOST_LOOKED_AT", 8)
    listener = Listener()
    parts_of(smears, listener)
    assert "9 images are too many to look for near-duplicates" in listener.said[0]
    monkeypatch.setattr(validating, "_LARGEST_LOOKED_AT", 64 * 64)  # leaves image 0
    listener = Listener()
    parts_of(smears, listener)
    assert "8 images of more than" in listener.said[0]
    assert "were not looked at for near-duplicates" in listener.said[0]
    assert "look like another one" not in listener.said[-1]


def test_a_long_search_says_now_and_then_how_far_it_is(monkeypatch):
    now, listener = [100.0], Listener()
    monkeypatch.setattr(reporters.time, "monotonic", lambda: now[0])
    progress = reporters.telling_how_far(listener)
    for done in range(1, 26):
        now[0] += 1
        progress(done, 2000)
    assert listener.said == [
        "Looking for images that look alike: 10 of 2,000.",
        "Looking for images that look alike: 20 of 2,000.",
    ]


def test_one_process_does_all():
    assert sharing.parallel_map([1, 2, 3], lambda items: [10 * item for item in items]) == [
        10,
        20,
        30,
    ]


@pytest.mark.slow
def test_two_processes_share_and_agree():
    ours, theirs = sharing.run(processes=2)
    assert ours["results"] == theirs["results"] == [0, 10, 20, 30, 40]
    assert (ours["share"], theirs["share"]) == ([0, 2, 4], [1, 3])
    assert ours["broadcast"] == theirs["broadcast"] == 0
    assert ours["statistics"] == theirs["statistics"] == [0.0, 0.0]
    assert ours["one fails"] == "TrainingError: Process 1 of this run has failed: KeyError: 'bad'"
    assert theirs["one fails"] == "KeyError: 'bad'"
    assert ours["an image is missing"] == theirs["an image is missing"] == "ImageError: 3.jpg"
    assert ours["one ends"].startswith("TrainingError: Another process of this run has ended")
