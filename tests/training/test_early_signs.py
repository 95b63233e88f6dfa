"""Whether a run learns, and if not, why: each reason is told where it is so, and only there."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.conftest import make_fake_batch, tiny_settings

from foveal.data.dataset import Dataset, Record
from foveal.structures import Detections
from foveal.training.early_signs import (
    EarlySigns,
    Sightings,
    describe_reasons,
    judge_epoch,
    likely_reasons,
)

FALLING = EarlySigns(np.linspace(2, 1, 20).tolist())
LEVEL = EarlySigns([1.0] * 20)
SEEN = Sightings(images=4, detections=9, images_with=3, highest=0.8)
BLIND = Sightings(images=4, detections=0, images_with=0, highest=0.12)


def test_sightings():
    def one(*scores):
        count = len(scores)
        boxes = np.tile(np.float32([0, 0, 9, 9]), (count, 1))
        return Detections(boxes, np.float32(scores), np.zeros(count, np.int64), ("red",))

    seen = Sightings.of([one(0.9, 0.4, 0.1), one(0.2), one()])
    assert (seen.images, seen.detections, seen.images_with) == (3, 2, 1)
    assert seen.highest == pytest.approx(0.9)
    assert Sightings.of([]) == Sightings(0, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("signs", "ap", "seen", "learns", "words"),
    [
        (FALLING, 0.2, SEEN, True, "falls, from 1.89 to 1.11, and 9 detections in 3 of 4 valid"),
        (FALLING, 0.004, BLIND, False, "no detection in 4 validation images has a score of 0."),
        (FALLING, 0.2, BLIND, True, "it learns"),
        (LEVEL, 0.2, SEEN, False, "the loss does not fall, from 1 to 1"),
        (EarlySigns([1.0] * 10 + [0.99] * 10), None, None, False, "hardly falls, from 1 to 0.99"),
        (FALLING, None, None, True, "the loss falls, from 1.89 to 1.11: it learns."),
        (FALLING, math.nan, BLIND, True, "to 1.11: it learns."),
        (EarlySigns([1.0] * 3), None, None, True, "3 steps are too few to say whether the loss fa"),
        (EarlySigns([1.0]), None, None, True, "1 step is too few"),
        (EarlySigns([1.0] * 3), 0.0, BLIND, False, "it does not learn yet"),
        (EarlySigns([1.0] * 3), 0.2, SEEN, True, "it learns"),
        (
            EarlySigns([1.0] * 3),
            0.001,
            SEEN,
            True,
            "in 3 of 4 validation images have a score of 0.30 or more.",
        ),
    ],
)
def test_the_verdict(signs, ap, seen, learns, words):
    verdict = judge_epoch(signs, ap=ap, seen=seen)
    assert verdict.learns is learns
    assert words in verdict.text


def test_a_good_start_need_not_learn_more():
    good = judge_epoch(LEVEL, ap=0.52, seen=SEEN, started=True)
    assert good.learns
    assert good.text.endswith("where the weights at the start are good already: AP is 0.520.")
    assert not judge_epoch(LEVEL, ap=0.01, seen=SEEN, started=True).learns
    assert not judge_epoch(LEVEL, ap=0.52, seen=SEEN).learns


def dataset(count=60, *, boxes=((10, 10, 40, 40),), label=None, classes=("red", "green")):
    records = []
    for number in range(count):
        labels = [number % len(classes) if label is None else label] * len(boxes)
        records.append(
            Record(
                Path(f"{number}.jpg"),
                64,
                64,
                np.asarray(boxes, np.float32).reshape(-1, 4),
                np.asarray(labels, np.int64),
                np.zeros(len(boxes), np.bool_),
            )
        )
    return Dataset(tuple(records), classes, Path())


def reasons(data=None, *overrides, signs=LEVEL, steps=200, started=True, weights="none"):
    settings = tiny_settings("training.warmup_steps=0", *overrides)
    return likely_reasons(
        dataset() if data is None else data,
        settings,
        signs,
        steps=steps,
        total=10 * steps,
        started=started,
    )


def test_nothing_is_said_without_a_reason():
    assert reasons() == []
    assert "foveal data show DATA --as-trained" in describe_reasons([])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 20}, "The epoch had only 20 steps: nothing may be wrong"),
        ({"signs": replace(LEVEL, lost=3)}, "In 3 steps of 200 the loss was not finite"),
        ({"started": False}, "begins with random weights (model.weights is 'none'), which"),
        ({"signs": replace(LEVEL, contrast=1.5)}, "vary by 1.5 of 255 gray levels"),
        ({"data": dataset(20)}, "There are only 20 training images."),
        ({"data": dataset(boxes=())}, "60 of 60 training images show no object."),
        ({"data": dataset(label=0)}, "1 of 2 classes have fewer than 10 training objects"),
        ({"data": dataset(boxes=((0.1, 0.1, 0.9, 0.9),))}, "Half of the boxes are below 0.8"),
        ({"data": dataset(boxes=((1, 1, 63, 63),))}, "100% of the boxes cover more than 80%"),
        ({"data": dataset(boxes=((9, 9, 15, 15),))}, "smaller than 8 px at the network's input"),
    ],
)
def test_each_reason(options, words):
    assert any(words in reason for reason in reasons(**options))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.learning_rate=0.2", "is 0.2, 20 times the usual 0.01 of sgd"),
        ("training.learning_rate=0.0001", "is 0.0001, 1/100 of the usual"),
        ("training.warmup_steps=150", "150 of them with a learning rate that still rises"),
    ],
)
def test_reasons_in_the_settings(override, words):
    assert any(words in reason for reason in reasons(None, override))


def test_no_more_than_three_and_the_likeliest_first():
    flat = EarlySigns([1.0] * 20, contrast=0.0)
    said = reasons(dataset(5, boxes=()), signs=flat, steps=5, started=False)
    assert len(said) == 3
    assert said[0].startswith("The images are nearly flat")
    assert "\n  3. " in describe_reasons(said)


def test_the_contrast_is_that_of_the_first_batch():
    signs = EarlySigns()
    batch = make_fake_batch(0)
    signs.look_at(replace(batch, images=torch.full_like(batch.images, 90)))
    assert signs.contrast == 0
    signs.look_at(batch)
    assert signs.contrast == 0
    other = EarlySigns()
    other.look_at(batch)
    assert other.contrast is not None
    assert other.contrast > 10
