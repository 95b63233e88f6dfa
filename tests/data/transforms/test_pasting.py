"""Pasted objects: their boxes lie where pixels changed, and what they cover follows the pixels."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.data.transforms.augmentation import Augmentation
from foveal.data.transforms.pasting import Cutout, paste_objects
from foveal.data.transforms.preparation import Preparation
from foveal.structures import Sample, Target

DARK, LIGHT = 20, 240


def target_of(*boxes: tuple[float, ...], label: int = 0) -> Target:
    count = len(boxes)
    return Target(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, label, np.int64),
        np.zeros(count, np.bool_),
    )


def cut_of(width: int, height: int, border: int, *, label: int = 1) -> Sample:
    """A light object with a border of the same light."""
    image = np.full((height + 2 * border, width + 2 * border, 3), LIGHT, np.uint8)
    box = (border, border, border + width, border + height)
    return Sample(image, target_of(box, label=label))


def paste(image, target, *cuts, seed=0, min_visibility=0.25, cut="drop"):
    return paste_objects(
        image, target, cuts, np.random.default_rng(seed), min_visibility=min_visibility, cut=cut
    )


@pytest.mark.parametrize("seed", range(5))
def test_boxes_lie_where_pixels_changed(seed):
    image = np.full((60, 80, 3), DARK, np.uint8)
    found = paste(image, Target.empty(), cut_of(20, 12, 4), seed=seed)
    assert found.labels.tolist() == [1]
    x0, y0, x1, y1 = found.boxes[0].astype(int)
    assert (x1 - x0, y1 - y0) == (20, 12)
    assert (image[y0:y1, x0:x1] == LIGHT).all()
    changed = (image != DARK).any(axis=2)
    assert changed[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4].all()
    assert changed.sum() == 28 * 20
    # Straight to the cut's border: 1/8, 3/8, 5/8 and 7/8 of the way from dark to light.
    row = image[(y0 + y1) // 2, x0 - 4 : x0, 0].astype(float)
    assert row == pytest.approx(
        [DARK + (LIGHT - DARK) * share / 8 for share in (1, 3, 5, 7)], abs=1
    )


def test_covered_objects_shrink_go_or_are_ignored():
    image = np.full((20, 20, 3), DARK, np.uint8)
    whole = cut_of(20, 20, 0)
    assert paste(image.copy(), target_of((2, 2, 9, 9)), whole).labels.tolist() == [1]
    under = target_of((0, 0, 20, 20))
    wide = Sample(np.full((20, 12, 3), LIGHT, np.uint8), target_of((0, 0, 12, 20), label=1))
    for seed in range(3):
        shown = image.copy()
        found = paste(shown, under, wide, seed=seed)
        left = np.flatnonzero(shown[0, :, 0] == DARK)
        assert found.labels.tolist() == [0, 1]
        assert found.boxes[0].tolist() == [left[0], 0, left[-1] + 1, 20]
    assert paste(image.copy(), under, wide, min_visibility=0.5).labels.tolist() == [1]
    kept = paste(image.copy(), under, wide, min_visibility=0.5, cut="ignore")
    assert kept.ignored.tolist() == [True, False]


def test_later_ones_lie_upon_earlier_ones():
    image = np.full((20, 20, 3), DARK, np.uint8)
    found = paste(image, Target.empty(), cut_of(20, 20, 0, label=1), cut_of(20, 20, 0, label=2))
    assert found.labels.tolist() == [2]


def test_a_place_that_covers_little_is_taken():
    covered = 0
    for seed in range(10):
        image = np.full((40, 40, 3), DARK, np.uint8)
        found = paste(image, target_of((0, 0, 16, 16)), cut_of(10, 10, 0), seed=seed)
        covered += not np.array_equal(found.boxes[0], (0, 0, 16, 16))
    assert covered <= 1


def test_what_is_larger_than_the_image_is_left_out():
    image = np.full((20, 20, 3), DARK, np.uint8)
    assert paste(image, target_of((1, 1, 5, 5)), cut_of(21, 5, 0)) == target_of((1, 1, 5, 5))
    assert (image == DARK).all()


@pytest.mark.parametrize("mode", ["keep", "square", "windows"])
def test_in_an_augmentation_boxes_follow_the_pasted_pixels(mode):
    """One dark image with padding: all that is light was pasted, and lies in the image's part."""
    preparation = Preparation(mode=mode, shorter=96, longer=160, multiple=32, fill=(DARK,))
    change = Augmentation(
        flip_vertical=True, quarter_turns=True, scale=(0.7, 1.0), copy_paste=1.0, min_visibility=0
    )
    plain = Sample(np.full((60, 90, 3), DARK, np.uint8), target_of())
    half = cut_of(10, 20, 0)
    half.image[:10] = DARK + 100  # so that a turn is seen
    for seed in range(6):
        donor = lambda: Cutout(half, 1.0)  # noqa: E731
        made = change(plain, np.random.default_rng(seed), preparation, donor=donor)
        again = change(plain, np.random.default_rng(seed), preparation, donor=donor)
        assert made == again
        light = made.image[:, :, 0] > DARK + 10
        shown = np.zeros_like(light)
        assert 1 <= len(made.target) <= 3
        for x0, y0, x1, y1 in made.target.boxes:
            shown[round(float(y0)) : round(float(y1)), round(float(x0)) : round(float(x1))] = True
        assert np.array_equal(shown, light)


def test_without_a_share_or_a_donor_nothing_is_drawn():
    preparation = Preparation(mode="square", shorter=64)
    plain = Sample(np.full((60, 60, 3), DARK, np.uint8), target_of((5, 5, 20, 20)))

    def made(change, **options):
        return change(plain, np.random.default_rng(0), preparation, **options)

    def refuse():
        raise AssertionError

    before = made(Augmentation(brightness=0.3))
    assert made(Augmentation(brightness=0.3), donor=refuse) == before
    assert made(Augmentation(brightness=0.3, copy_paste=1.0)) == before
    assert len(made(Augmentation(copy_paste=1.0), donor=lambda: None).target) == 1
