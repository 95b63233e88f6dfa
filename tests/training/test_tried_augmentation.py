"""A user's augmentation before a run: what moves images and leaves their boxes is told."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from tests.training.conftest import tiny_settings

from foveal.data.synthetic import draw_dataset
from foveal.data.transforms.user import as_change
from foveal.structures import Sample, Target
from foveal.training.tried_augmentation import _MOTIONS, motion_without_boxes, try_augmentation

BOXES = np.array([[10, 6, 30, 20]], np.float32)


def scene(height: int = 60, width: int = 90) -> Sample:
    """Blobs of noise: unlike themselves when they are mirrored or turned."""
    noise = np.random.default_rng(3).integers(0, 256, (8, 12, 3), np.uint8)
    image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    return Sample(image, Target(BOXES, np.zeros(1, np.int64), np.zeros(1, np.bool_)), "a.png")


def with_image(sample: Sample, image: np.ndarray) -> Sample:
    return replace(sample, image=np.ascontiguousarray(image))


MOVED = {
    "mirrored": lambda image: image[:, ::-1],
    "mirrored from top to bottom": lambda image: image[::-1],
    "turned upside down": lambda image: image[::-1, ::-1],
    "turned by a quarter": np.rot90,
    "turned by three quarters": lambda image: np.rot90(image, 3),
    "brought from 90 x 60 to 45 x 30 pixels": lambda image: cv2.resize(image, (45, 30)),
}


@pytest.mark.parametrize("motion", MOVED)
def test_an_image_that_moves_without_its_boxes_is_seen(motion):
    before = scene()
    image = MOVED[motion](before.image)
    assert motion_without_boxes(before, with_image(before, image)) == motion
    dimmed = (image * 0.7).astype(np.uint8)
    assert motion_without_boxes(before, with_image(before, dimmed)) == motion


KEPT = {
    "nothing": lambda image: image,
    "darker": lambda image: (image * 0.5).astype(np.uint8),
    "noisy": lambda image: (
        np.clip(image + np.random.default_rng(0).normal(0, 20, image.shape), 0, 255)
    ).astype(np.uint8),
    "cut on the right": lambda image: image[:, :70],
    "room below": lambda image: np.pad(image, ((0, 40), (0, 0), (0, 0))),
    "a flat image": lambda image: np.full_like(image, 40),
    "another image": lambda image: np.roll(image, 33, axis=1),
}


@pytest.mark.parametrize("change", KEPT)
def test_what_leaves_boxes_where_they_are_is_not_told(change):
    before = scene()
    assert motion_without_boxes(before, with_image(before, KEPT[change](before.image))) == ""


@pytest.mark.parametrize("motion", _MOTIONS, ids=lambda motion: motion.name)
def test_boxes_go_where_the_image_goes(motion):
    image = np.zeros((60, 90), np.float32)
    image[6:20, 10:30] = 1
    ((x1, y1, x2, y2),) = motion.boxes(BOXES.astype(np.float64), 90, 60).astype(int)
    moved = motion.image(image)
    assert moved[y1:y2, x1:x2].all()
    assert moved.sum() == (y2 - y1) * (x2 - x1) == 14 * 20


def test_boxes_that_moved_or_need_not_are_not_told():
    before = scene()
    mirrored = with_image(before, before.image[:, ::-1])
    moved = replace(mirrored, target=before.target.transformed(np.float32([[60, 6, 80, 20]])))
    assert motion_without_boxes(before, moved) == ""
    middle = before.target.transformed(np.float32([[30, 6, 60, 20]]))
    assert motion_without_boxes(
        replace(before, target=middle), replace(mirrored, target=middle)
    ) == ("")
    empty = Target.empty()
    assert (
        motion_without_boxes(replace(before, target=empty), replace(mirrored, target=empty)) == ""
    )


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("drawn"), splits={"train": 3}, size=96)["train"]


def test_a_forgotten_box_is_told_once_and_a_right_function_is_not(drawn):
    settings, seen = tiny_settings(), []

    def mirror(sample, generator):
        seen.append(sample.name)
        if generator.random() < 0.5:
            return sample
        return with_image(sample, sample.image[:, ::-1])

    (said,) = try_augmentation(settings, drawn, augment=as_change(mirror))
    assert "was mirrored, and its boxes stayed where they were" in said
    assert len(set(seen)) == 3
    assert try_augmentation(settings, drawn, augment=as_change(lambda s, generator: s)) == []
    assert try_augmentation(settings, drawn, augment=None) == []


def test_images_that_became_shares_are_told(drawn):
    def shares(sample, generator):
        return with_image(sample, (sample.image / 255).astype(np.uint8))

    (said,) = try_augmentation(tiny_settings(), drawn, augment=as_change(shares))
    assert "so that they are black. Expected 0 to 255" in said
