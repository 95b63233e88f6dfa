"""Phases: what an epoch shows follows from the share of the run that is done when it begins."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.config import make_settings
from foveal.data.loading.phases import ONE_PHASE, Phases
from foveal.errors import SettingsError
from foveal.training.loaders import describe_phases, make_phases

TWO = Phases(strong_until=0.8, sizes=((0.4, 256), (0.6, 320)))


def test_one_phase_changes_nothing():
    for progress in (0.0, 0.5, 1.0):
        assert ONE_PHASE.is_strong(progress)
        assert ONE_PHASE.sides_at(progress, 416, ()) == ()
        assert ONE_PHASE.sides_at(progress, 416, (320, 512)) == (320, 512)
    assert ONE_PHASE.largest(416, (320, 512)) == 512


@pytest.mark.parametrize(
    ("epoch", "side", "strong"),
    [(0, 256, True), (3, 256, True), (4, 320, True), (6, 416, True), (8, 416, False)],
)
def test_sizes_and_mosaic_by_hand(epoch, side, strong):
    progress = epoch / 10
    assert TWO.shorter_at(progress, 416) == side
    assert TWO.is_strong(progress) == strong


def test_drawn_sides_keep_their_proportion():
    assert TWO.sides_at(0.0, 512, (256, 512, 768)) == (128, 256, 384)
    assert TWO.sides_at(0.0, 512, ()) == (256,)
    assert TWO.sides_at(0.7, 512, ()) == ()
    assert Phases(sizes=((0.5, 800),)).largest(512, ()) == 800


def test_the_course_is_said_and_windows_refuse_it():
    settings = make_settings(
        overrides=(
            "training.size_schedule=[[0.6, 320]]",
            "augmentation.mosaic=0.5",
            "augmentation.strong_until=0.85",
            "training.unfreeze=[0.1, 0.3]",
        )
    )
    said = describe_phases(settings)
    assert "at 320 pixels until 60% of the run, then at 640 pixels" in said
    assert "After 85% of the run no more samples" in said
    assert "stages are trained from 10%, 30% of the run on" in said
    assert describe_phases(make_settings()) == ""
    windows = ("preparation.mode=windows", "training.size_schedule=[[0.6, 320]]")
    with pytest.raises(SettingsError, match="windows have one size"):
        make_phases(make_settings(overrides=windows))
    with pytest.raises(SettingsError, match="each above the one before"):
        make_settings(overrides=("training.size_schedule=[[0.6, 320], [0.5, 400]]",))


def test_workers_that_run_already_notice_the_change(tmp_path):
    """One loader, one process: without mosaic an image is shown as it is, and smaller before."""
    from foveal.data.loading.loader import training_batches
    from foveal.data.synthetic import draw_dataset
    from foveal.data.transforms.augmentation import Augmentation
    from foveal.data.transforms.preparation import Preparation

    data = draw_dataset(tmp_path, splits={"train": 4}, size=64)["train"]
    batches = training_batches(
        data,
        Preparation(mode="square", shorter=64),
        Augmentation(flip_horizontal=False, mosaic=1.0),
        batch=4,
        workers=1,
        phases=Phases(strong_until=0.5, sizes=((0.25, 32),)),
    )
    try:
        small, strong, plain, again = (
            next(iter(batches.epoch(3, progress=progress))) for progress in (0.0, 0.3, 0.6, 0.3)
        )
    finally:
        batches.close()
    assert small.images.shape[2:] == (32, 32)
    assert strong.images.shape[2:] == plain.images.shape[2:] == (64, 64)
    assert np.array_equal(strong.images, again.images)
    for image, index in zip(plain.images, plain.indices, strict=True):
        assert np.array_equal(image.permute(1, 2, 0), data[index].image)
    assert not np.array_equal(strong.images, plain.images)
