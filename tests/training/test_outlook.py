from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.training.conftest import tiny_settings

from foveal.data.dataset import Dataset, Record
from foveal.training.outlook import (
    describe_pace,
    describe_rest,
    describe_run,
    describe_validation,
    describe_weights,
    enough_steps,
    images_without_objects,
)

TRAINING = tiny_settings().training


def record(*labels, ignored=False):
    boxes = np.tile(np.asarray([[0, 0, 9, 9]], np.float32), (len(labels), 1))
    marks = np.full(len(labels), ignored)
    return Record(Path("a.jpg"), 64, 64, boxes, np.asarray(labels, np.int64), marks)


DATA = Dataset((record(0), record(), record(0, ignored=True), record(-1)), ("red",), Path())


def test_images_without_objects():
    assert images_without_objects(DATA) == 3
    assert images_without_objects(replace(DATA, records=())) == 0


def test_what_a_run_will_be():
    assert describe_run(DATA, TRAINING, steps=3, images=0, windows=False) == (
        "4 training images, 3 of them without objects (they teach what is no object). "
        "2 epochs, 3 steps each: 6 steps of 4 images."
    )
    full = replace(DATA, records=(record(0),))
    assert describe_run(full, TRAINING, steps=1, images=9, windows=True) == (
        "1 training image, all with objects. 2 epochs of 9 windows, 1 step each: "
        "2 steps of 4 images."
    )
    minutes = TRAINING.model_copy(update={"minutes": 3.0})
    said = describe_run(full, minutes, steps=7, images=0, windows=False)
    assert said.endswith("Epochs have 7 steps of 4 images.")


def test_weights_out_of_a_package_are_said():
    model = tiny_settings().model
    said = describe_weights(model.model_copy(update={"weights": "package", "backbone": "b0"}))
    assert said.startswith("The backbone b0 begins with the weights of an installed package")
    assert "--set model.weights=pretrained" in said
    assert describe_weights(model.model_copy(update={"weights": "pretrained"})) == ""


def test_what_the_best_epoch_is():
    said = describe_validation(TRAINING, images=72, without_objects=2, file="run/best.safetensors")
    assert "After each epoch AP" in said
    assert "72 validation images (2 without objects)" in said
    assert said.endswith("highest AP: run/best.safetensors has its weights.")
    seldom = TRAINING.model_copy(update={"evaluate_every": 5, "epochs": 12})
    said = describe_validation(seldom, images=1, without_objects=0, file="")
    assert said.startswith("After every 5 epochs and the last one AP")
    assert "without" not in said
    assert said.endswith("the model gets its weights.")
    once = TRAINING.model_copy(update={"evaluate_every": 12, "epochs": 12})
    said = describe_validation(once, images=1, without_objects=0, file="")
    assert said.startswith("After the last epoch alone AP")
    assert said.endswith("No other can be the best: the model gets its weights.")
    assert "weights of the last one" in describe_validation(
        TRAINING, images=0, without_objects=0, file=""
    )


@pytest.mark.parametrize(
    ("steps", "seconds", "enough"),
    [(11, 1, False), (12, 1, True), (4, 60, False), (5, 60, True), (5, 9, False)],
)
def test_when_steps_tell_the_time(steps, seconds, enough):
    assert enough_steps(steps, seconds) is enough


def test_how_long_it_takes():
    assert describe_pace(step=0.412, measured=10, rest=252.0, steps=612, validates=True) == (
        "A step takes 0.41 s, by 10 steps of this run: the other 612 take about 4 minutes. "
        "Validations come on top."
    )
    assert describe_rest(epoch=1, seconds=13.2, validation=4.0, rest=396) == (
        "Epoch 1 took 13 seconds and its validation 4 seconds: the run will take about "
        "7 minutes more."
    )
    assert "validation" not in describe_rest(epoch=1, seconds=13, validation=0, rest=396)
