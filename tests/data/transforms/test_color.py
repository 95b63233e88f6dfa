"""Color: the matrix against its definitions and torchvision; blur and noise by statistics."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from foveal.data.transforms.color import add_noise, blur, change_colors, color_matrix

NEUTRAL = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "mean": 100.0}
LUMA = np.array([0.299, 0.587, 0.114])


def apply(matrix: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return pixels @ matrix[:, :3].T + matrix[:, 3]


PIXELS = np.array([[10.0, 200.0, 90.0], [77.0, 77.0, 77.0], [250.0, 3.0, 120.0]])


def test_neutral_changes_nothing():
    np.testing.assert_allclose(apply(color_matrix(**NEUTRAL), PIXELS), PIXELS, atol=1e-3)


def test_brightness_contrast_and_saturation_by_hand():
    bright = color_matrix(**{**NEUTRAL, "brightness": 1.5})
    np.testing.assert_allclose(apply(bright, PIXELS), PIXELS * 1.5, atol=1e-3)
    contrast = color_matrix(**{**NEUTRAL, "contrast": 0.5})
    np.testing.assert_allclose(apply(contrast, PIXELS), 100 + (PIXELS - 100) * 0.5, atol=1e-3)
    gray = color_matrix(**{**NEUTRAL, "saturation": 0.0})
    expected = np.repeat((PIXELS @ LUMA)[:, None], 3, axis=1)
    np.testing.assert_allclose(apply(gray, PIXELS), expected, atol=1e-3)


def test_hue_turns_the_color_circle_and_keeps_luma():
    for hue in (-0.5, -0.1, 0.2, 0.5):
        turned = apply(color_matrix(**{**NEUTRAL, "hue": hue}), PIXELS)
        np.testing.assert_allclose(turned @ LUMA, PIXELS @ LUMA, atol=1e-2)
        np.testing.assert_allclose(turned[1], PIXELS[1], atol=1e-2)  # gray stays gray
    third = apply(color_matrix(**{**NEUTRAL, "hue": 1 / 3}), np.array([[120.0, 60.0, 60.0]]))[0]
    assert third.argmax() != 0
    whole = apply(color_matrix(**{**NEUTRAL, "hue": 1.0}), PIXELS)
    np.testing.assert_allclose(whole, PIXELS, atol=1e-3)


def test_equals_torchvision_for_brightness_contrast_and_saturation():
    import torch
    from torchvision.transforms.v2 import functional

    rng = np.random.default_rng(0)
    image = rng.integers(60, 190, (64, 64, 3), np.uint8)
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    mean = float(image.mean(axis=(0, 1)) @ LUMA)
    for name in ("brightness", "contrast", "saturation"):
        ours = apply(color_matrix(**{**NEUTRAL, "mean": mean, name: 1.2}), image.astype(float))
        theirs = getattr(functional, f"adjust_{name}")(tensor, 1.2).permute(1, 2, 0) * 255
        np.testing.assert_allclose(np.clip(ours, 0, 255), theirs.numpy(), atol=0.2)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
def test_changes_in_place_and_within_the_stated_range(bands):
    original = np.full((32, 32, bands), 100, np.uint8)
    original[:16] = 60
    seen = []
    for seed in range(30):
        image = original.copy()
        change_colors(
            image, np.random.default_rng(seed), brightness=0.2, contrast=0.0, saturation=0, hue=0
        )
        seen.append(image[-1, 0].astype(int).tolist())
    values = np.array(seen)
    assert values.min() >= 79
    assert values.max() <= 121
    assert values.std(axis=0).min() > 3


def test_works_on_a_part_of_an_image():
    image = np.full((20, 20, 3), 100, np.uint8)
    change_colors(
        image[5:10, 5:10], np.random.default_rng(1), brightness=0.5, contrast=0, saturation=0, hue=0
    )
    inside = np.zeros((20, 20), np.bool_)
    inside[5:10, 5:10] = True
    assert (image[~inside] == 100).all()
    assert (image[inside] != 100).all()


def test_nothing_asked_nothing_done():
    image = np.asarray(Image.effect_noise((16, 16), 60).convert("RGB")).copy()
    before = image.copy()
    rng = np.random.default_rng(0)
    change_colors(image, rng, brightness=0, contrast=0, saturation=0, hue=0)
    add_noise(image, rng, deviation=0)
    blur(image, rng, share=0)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("bands", [1, 3, 6])
def test_noise_is_normal_and_has_the_stated_deviation(bands):
    class Largest(np.random.Generator):
        def uniform(self, low, high):
            return high

    image = np.full((200, 200, bands), 128, np.uint8)
    add_noise(image, Largest(np.random.PCG64(0)), deviation=12.0)
    noise = image.astype(float) - 128
    assert abs(noise.mean()) < 0.2
    assert abs(noise.std() - 12) < 0.3
    assert abs((np.abs(noise) < 12).mean() - 0.683) < 0.03


@pytest.mark.parametrize("bands", [1, 3, 6])
def test_blurs_the_stated_share(bands):
    changed = 0
    for seed in range(100):
        image = np.zeros((9, 9, bands), np.uint8)
        image[4, 4] = 255
        blur(image, np.random.default_rng(seed), share=0.3)
        changed += int(image[4, 4, 0] < 255)
    assert 15 <= changed <= 45
