"""Preparation: sizes by hand, and laws for images of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.config import ModelSettings, PreparationSettings
from foveal.data.transforms.preparation import Preparation, fill_values, make_pixel_range
from foveal.structures import RGB, PixelRange, Sample, Target


def sample(width: int, height: int, bands: int = 3, boxes: tuple = ()) -> Sample:
    image = np.full((height, width, bands), 200, np.uint8)
    count = len(boxes)
    target = Target(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(count, dtype=np.int64),
        np.zeros(count, np.bool_),
    )
    return Sample(image, target, "an image")


def test_defaults_are_those_of_the_settings():
    settings_ = PreparationSettings()
    ours = Preparation()
    for name in ("mode", "shorter", "longer", "multiple", "compat"):
        assert getattr(ours, name) == getattr(settings_, name)


@pytest.mark.parametrize(
    ("original", "resized", "inputs"),
    [
        ((640, 480), (853, 640), (896, 640)),
        ((480, 640), (640, 853), (640, 896)),
        ((500, 500), (640, 640), (640, 640)),
        ((2000, 1000), (1066, 533), (1088, 576)),
        ((1, 1), (640, 640), (640, 640)),
        ((10_000, 3), (1066, 1), (1088, 64)),
    ],
)
def test_sizes_by_hand(original, resized, inputs):
    preparation = Preparation(shorter=640, longer=1066, multiple=32)
    assert preparation.size_for(*original) == inputs[::-1]
    placement = preparation.placement_for(*original)
    assert placement.scale_x == resized[0] / original[0]
    assert placement.scale_y == resized[1] / original[1]
    assert (placement.offset_x, placement.offset_y) == (0, 0)


def test_square_by_hand():
    preparation = Preparation(mode="square", shorter=500, multiple=32)
    assert preparation.size_for(4000, 30) == (512, 512)
    placement = preparation.placement_for(1000, 250)
    assert (placement.scale_x, placement.scale_y) == (0.5, 125 / 250)


def test_another_scale_keeps_the_proportion_of_the_limits():
    other = Preparation(shorter=600, longer=1000).with_shorter(300)
    assert (other.shorter, other.longer) == (300, 500)


def test_sizes_are_few():
    preparation = Preparation()
    sizes = {preparation.size_for(w, h) for w in range(50, 2000, 13) for h in range(50, 2000, 17)}
    assert len(sizes) <= 40


def test_pads_at_the_right_and_below_with_the_fill():
    preparation = Preparation(shorter=64, longer=96, multiple=32, fill=(1, 2, 3))
    prepared, _ = preparation(sample(100, 80))
    assert prepared.image.shape == (64, 96, 3)
    assert (prepared.image[:, :80] == 200).all()
    assert (prepared.image[:, 80:] == (1, 2, 3)).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shorter", [32, 320])
def test_any_number_of_bands(bands, shorter):
    original = sample(150, 100, bands)
    original.image[...] = np.arange(bands) * 20
    prepared, _ = Preparation(shorter=shorter, longer=2 * shorter)(original)
    assert (prepared.image[:shorter, :shorter] == np.arange(bands) * 20).all()


def test_fill_of_other_bands_is_the_mean():
    assert fill_values((124, 116, 104), 3).tolist() == [124, 116, 104]
    assert fill_values((124, 116, 104), 2).tolist() == [115, 115]
    assert fill_values((), 1).tolist() == [0]


def test_shrinks_by_a_whole_factor_to_the_mean():
    stripes = sample(256, 256)
    stripes.image[:, ::2] = 0
    prepared, _ = Preparation(mode="square", shorter=64)(stripes)
    assert np.abs(prepared.image.astype(int) - 100).max() <= 1


def test_writes_into_a_given_place_and_fits_a_given_size():
    out = np.zeros((64, 64, 3), np.uint8)
    prepared, placement = Preparation(shorter=128, longer=256)(
        sample(40, 80, boxes=((0, 0, 40, 80),)), size=(64, 64), out=out
    )
    assert prepared.image is out
    assert prepared.target.boxes.tolist() == [[0, 0, 32, 64]]
    assert (out[:, :32] == 200).all()
    assert (placement.scale_x, placement.scale_y) == (0.8, 0.8)


def test_leaves_the_original_alone_and_keeps_what_it_knows():
    original = sample(30, 20, boxes=((1, 2, 3, 4), (5, 5, 6, 6)))
    before = original.image.copy()
    prepared, placement = Preparation(shorter=64, longer=128)(original)
    assert (original.image == before).all()
    assert original.target.boxes[0].tolist() == [1, 2, 3, 4]
    assert prepared.name == "an image"
    assert prepared.target.labels.tolist() == [0, 1]
    assert (placement.width, placement.height) == (30, 20)


def test_zero_boxes():
    prepared, _ = Preparation(shorter=64, longer=64)(sample(10, 10))
    assert prepared.target.boxes.shape == (0, 4)


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    mode=st.sampled_from(["keep", "square"]),
    shorter=st.integers(20, 200),
    ratio=st.floats(1, 3),
    multiple=st.sampled_from([1, 8, 32]),
)
def test_law_inside_the_input_and_back_again(width, height, mode, shorter, ratio, multiple):
    preparation = Preparation(
        mode=mode, shorter=shorter, longer=round(shorter * ratio), multiple=multiple
    )
    edge = (0, 0, width, height)
    pixel = (width - 1, height - 1, width, height)
    prepared, placement = preparation(sample(width, height, boxes=(edge, pixel)))
    rows, columns = prepared.image.shape[:2]
    assert (rows, columns) == preparation.size_for(width, height)
    assert rows % multiple == columns % multiple == 0
    boxes = prepared.target.boxes
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= columns + 1e-3).all()
    assert (boxes[:, 3] <= rows + 1e-3).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    np.testing.assert_allclose(placement.to_original(boxes), [edge, pixel], atol=1e-3)
    right, bottom = (round(float(value)) for value in boxes[0, 2:])
    assert abs(right - boxes[0, 2]) < 1e-3  # an image covers whole pixels
    assert (prepared.image[:bottom, :right] == 200).all()
    assert (prepared.image[bottom:] != 200).all()
    assert (prepared.image[:, right:] != 200).all()
    # one scale gives both sides, but for rounding and for one pixel at least
    sides = ((right, width), (bottom, height))
    lowest = max(0 if side == 1 else (side - 0.5) / old for side, old in sides)
    highest = min((side + 0.5) / old for side, old in sides)
    assert lowest <= highest * (1 + 1e-9)


@pytest.mark.parametrize("bands", [1, 3, 4, 5])
def test_shrinks_like_pillow_by_any_factor(bands):
    rng = np.random.default_rng(0)
    original = sample(203, 155, bands)
    original.image[...] = rng.integers(0, 256, original.image.shape)
    original.image.flags.writeable = False
    prepared, placement = Preparation(shorter=64, longer=128)(original)
    size = (round(203 * placement.scale_x), 64)
    for band in range(bands):
        picture = Image.fromarray(original.image[:, :, band]).resize(
            size, Image.Resampling.BILINEAR
        )
        found = prepared.image[:64, : size[0], band].astype(int)
        assert np.abs(found - np.asarray(picture)).max() <= 1


@pytest.mark.parametrize("shorter", [100, 320, 416, 512, 640, 800, 1024])
def test_an_image_with_the_shorter_side_is_filled_up_to_the_multiple_only(shorter: int) -> None:
    preparation = Preparation(shorter=shorter, longer=2 * shorter)
    side = -(-shorter // 32) * 32
    assert preparation.size_for(shorter, shorter) == (side, side)
    assert preparation.size_for(shorter, 2 * shorter)[1] == side


def test_the_pixel_range_is_that_of_the_settings():
    assert make_pixel_range(ModelSettings(), PreparationSettings()) == RGB
    deep = PreparationSettings(band_low=(1, 2), band_high=(3, 4))
    assert make_pixel_range(ModelSettings(bands=2), deep) == PixelRange(2, (1, 2), (3, 4))


@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (1280, 960), (1999, 1501), (431, 90), (50, 64), (333, 199)]
)
def test_compat_torchvision_is_what_its_detectors_see(width, height):
    """Sizes, padding and pixels of torchvision's own transform, to the rounding of pixels."""
    import torch
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    theirs = GeneralizedRCNNTransform(160, 251, [0.0] * 3, [1.0] * 3)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    images, _ = theirs.eval()([torch.from_numpy(image).permute(2, 0, 1) / 255])
    wanted = images.tensors[0].permute(1, 2, 0).numpy() * 255
    seen = images.image_sizes[0]

    preparation = Preparation(
        shorter=160, longer=251, multiple=32, fill=(0, 0, 0), compat="torchvision"
    )
    original = Sample(image, Target.empty(), "an image")
    prepared, placement = preparation(original)
    assert prepared.image.shape == wanted.shape
    assert (width * placement.scale_x, height * placement.scale_y) == pytest.approx(seen[::-1])
    assert np.abs(prepared.image - wanted).max() < 0.6
    filtered, _ = replace(preparation, compat="none")(original, size=prepared.image.shape[:2])
    if seen[0] < height:
        assert np.abs(filtered.image - wanted).max() > 30


def test_compat_torchvision_is_of_mode_keep_alone():
    plain = Preparation(mode="square", shorter=64)
    ours, theirs = (
        each.placement_for(100, 67) for each in (plain, replace(plain, compat="torchvision"))
    )
    assert ours == theirs
    assert replace(plain, compat="torchvision").filtered
