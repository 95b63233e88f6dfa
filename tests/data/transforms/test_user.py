"""Foreign transforms: boxes and labels follow, and the same generator gives the same sample."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from foveal.data.transforms.user import as_change, from_albumentations, from_torchvision
from foveal.errors import SettingsError
from foveal.structures import Sample, Target

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


def sample(*boxes: tuple[float, ...]) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image.flags.writeable = False  # as it comes from the cache
    labels = np.arange(len(boxes), dtype=np.int64) + 5
    ignored = np.arange(len(boxes)) == 1
    return Sample(image, Target(np.array(boxes, np.float32).reshape(-1, 4), labels, ignored), "it")


BOXES = ((0, 0, 10, 10), (50, 30, 60, 40), (20, 10, 30, 30))


def albumentations_of(*names: str, **options: object):
    import albumentations as a

    return from_albumentations([getattr(a, name)(**options) for name in names])


def flips() -> list:
    return [
        from_torchvision(v2.RandomHorizontalFlip(1.0)),
        albumentations_of("HorizontalFlip", p=1.0),
    ]


def test_flip_by_hand():
    for change in flips():
        found = change(sample(*BOXES), np.random.default_rng(0))
        np.testing.assert_array_equal(found.image, sample().image[:, ::-1])
        expected = [[50, 0, 60, 10], [0, 30, 10, 40], [30, 10, 40, 30]]
        np.testing.assert_allclose(found.target.boxes, expected, atol=1e-4)
        assert found.target.labels.tolist() == [5, 6, 7]
        assert found.target.ignored.tolist() == [False, True, False]
        assert found.name == "it"
        assert found.image.flags.c_contiguous


def test_zero_boxes():
    for change in flips():
        found = change(sample(), np.random.default_rng(0))
        assert found.target.boxes.shape == (0, 4)
        assert found.target.boxes.dtype == np.float32


def test_boxes_cut_away_are_dropped():
    for change in (
        from_torchvision(v2.CenterCrop(20)),
        albumentations_of("CenterCrop", height=20, width=20),
    ):
        found = change(sample(*BOXES), np.random.default_rng(0))
        assert found.image.shape == (20, 20, 3)
        assert found.target.labels.tolist() == [7]
        np.testing.assert_allclose(found.target.boxes, [[0, 0, 10, 20]], atol=1e-4)


def test_sanitizing_by_torchvision_keeps_labels_with_their_boxes():
    change = from_torchvision(v2.Compose([v2.CenterCrop(20), v2.SanitizeBoundingBoxes()]))
    assert change(sample(*BOXES), np.random.default_rng(0)).target.labels.tolist() == [7]


def test_same_generator_same_sample_and_torchs_own_state_stays():
    for change in (
        from_torchvision(v2.RandomCrop(16)),
        albumentations_of("RandomCrop", height=16, width=16),
    ):
        torch.manual_seed(3)
        state = torch.get_rng_state()
        images = [change(sample(*BOXES), np.random.default_rng(seed)).image for seed in (1, 1, 2)]
        assert torch.equal(state, torch.get_rng_state())
        np.testing.assert_array_equal(images[0], images[1])
        assert (images[0] != images[2]).any()


def test_floating_point_images_are_refused():
    change = from_torchvision(v2.ToDtype(torch.float32, scale=True))
    with pytest.raises(
        SettingsError, match=r"float32 \[40, 60, 3\], values 0 to 1\. Expected uint8"
    ):
        change(sample(), np.random.default_rng(0))


def with_target(**changes: object):
    return lambda s, generator: replace(s, target=replace(s.target, **changes))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda s, generator: replace(s, image=s.image / 255), "an image of float64"),
        (lambda s, generator: replace(s, image=s.image[..., 0]), r"shape \[40, 60\]. Expected"),
        (
            lambda s, generator: replace(s, image=s.image[..., :2]),
            r"Expected \[H, W, 3\], as it got",
        ),
        (lambda s, generator: replace(s, image=s.image[:0]), r"shape \[0, 60, 3\]"),
        (lambda s, generator: replace(s, image=s.image.tolist()), "an image that is list"),
        (lambda s, generator: replace(s, target=s.target.boxes), "a target that is ndarray"),
        (with_target(boxes=np.zeros((3, 5), np.float32)), r"boxes \[3, 5\], labels \[3\]"),
        (with_target(boxes=np.full((3, 4), np.nan, np.float32)), "not finite"),
        (with_target(boxes=[[0, 0, 1, 1]]), r"boxes \[1, 4\], labels \[3\]"),
        (lambda s, generator: s.nothing, r"it: AttributeError: .*test_user.py, line \d+"),
    ],
)
def test_what_a_function_must_not_give_is_said(function, said):
    with pytest.raises(SettingsError, match=f"^the augmentation.*{said}"):
        as_change(function)(sample(*BOXES), np.random.default_rng(0))


@pytest.mark.parametrize(
    "function", [lambda sample: sample, lambda sample, generator, more: sample, lambda: None]
)
def test_a_function_of_other_arguments_is_refused_before_training(function):
    with pytest.raises(SettingsError, match=r"Expected a function from \(sample, generator\)"):
        as_change(function)


@pytest.mark.parametrize(
    "function", [lambda sample, rng: sample, lambda *both: both[0], lambda a, b, c=1: a]
)
def test_a_function_that_takes_two_arguments_is_taken(function):
    as_change(function)
