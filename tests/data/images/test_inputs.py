"""Images of every kind to pixels, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.data.dataset import Record
from foveal.data.images.inputs import describe, path_of, to_pixels
from foveal.errors import ImageError
from foveal.structures import PixelRange

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def test_gray_is_repeated():
    gray = RGB[..., 0]
    for image in (gray, gray[..., None], torch.from_numpy(gray), Image.fromarray(gray)):
        pixels = to_pixels(image)
        assert pixels.shape == (2, 3, 3)
        assert (pixels == gray[..., None]).all()


def test_a_record_of_a_data_set_is_its_file(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool)
    record = Record(tmp_path / "a.png", 3, 2, *empty)
    assert (to_pixels(record) == RGB).all()
    assert describe(record, 0) == str(tmp_path / "a.png")
    assert (path_of(record), path_of("a"), path_of(RGB)) == (record.path, Path("a"), None)


def test_color_becomes_gray_for_a_network_of_one_band():
    image = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    assert to_pixels(image, PixelRange(1)).tolist() == [[[76], [76]]] * 2  # 0.299 * 255
    assert to_pixels(Image.fromarray(image), PixelRange(1)).tolist() == [[[76], [76]]] * 2


def test_alpha_is_dropped_and_its_color_stays():
    rgba = np.dstack([RGB, np.zeros((2, 3), np.uint8)])
    assert (to_pixels(rgba) == RGB).all()
    assert (to_pixels(Image.fromarray(rgba)) == RGB).all()


def test_the_orientation_of_a_pil_image_is_applied():
    picture = Image.fromarray(RGB)
    picture.getexif()[0x0112] = 6  # a quarter turn clockwise
    assert (to_pixels(picture) == np.rot90(RGB, -1)).all()


def test_floating_point_covers_0_to_1():
    image = np.array([[0, 0.5, 1.0]])
    assert to_pixels(image)[0, :, 0].tolist() == [0, 128, 255]
    assert to_pixels(torch.tensor(image, dtype=torch.bfloat16))[0, :, 0].tolist() == [0, 128, 255]


def test_many_bits_keep_the_high_byte_or_are_scaled():
    image = np.array([[0, 256, 65535]], np.uint16)
    assert to_pixels(image)[0, :, 0].tolist() == [0, 1, 255]
    scaled = to_pixels(image, PixelRange(3, (0,), (512,)))
    assert scaled[0, :, 0].tolist() == [0, 128, 255]


def test_any_number_of_bands():
    image = np.zeros((4, 5, 7), np.uint8)
    assert to_pixels(image, PixelRange(7)).shape == (4, 5, 7)
    assert to_pixels(torch.from_numpy(image).permute(2, 0, 1), PixelRange(7)).shape == (4, 5, 7)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB.astype(np.float32), r"from 0 to 17.*0\.\.1"),
        (np.full((2, 2), np.nan), r"from nan to nan"),
        (RGB.astype(np.int64), r"holds int64 values"),
        (RGB > 3, r"holds bool values"),
        (np.zeros((3, 64, 64), np.uint8), r"has 64 bands, the model takes 3"),
        (torch.zeros(1, 3, 4, 4), r"tensor \[1, 3, 4, 4\].*detect_many"),
        (np.zeros((0, 4, 3), np.uint8), r"at least one pixel"),
        (7, r"An image is a int"),
        (None, r"An image is a NoneType"),
        ("absent.png", r"absent\.png: does not exist"),
    ],
)
def test_what_is_no_image_is_named(image, message):
    with pytest.raises(ImageError, match=message):
        to_pixels(image)


def test_images_are_called_by_path_or_place():
    assert describe("a/b.png", 3) == "a/b.png"
    assert describe(RGB, 3) == "image 3"
