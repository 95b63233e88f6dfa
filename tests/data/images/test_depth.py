"""Values of more than 8 bits, and of floating point: which become black and white, and why."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from foveal.data.images.depth import Extent, extent_of, join
from foveal.data.images.inputs import to_pixels
from foveal.data.images.reading import image_info, read_image
from foveal.data.images.survey import image_extent, settle_depth, telling_depth
from foveal.errors import ImageError, MissingExtraError
from foveal.structures import RGB, PixelRange


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        (np.array([0, 200], np.uint16), (0, 255)),
        (np.array([0, 256], np.uint16), (0, 1023)),
        (np.array([5, 4095], np.uint16), (0, 4095)),
        (np.array([5, 4096], np.uint16), (0, 16383)),
        (np.array([5, 65535], np.uint16), (0, 65535)),
        (np.array([5, 65536], np.uint32), None),
        (np.array([5, 4000], np.int16), (0, 4095)),
        (np.array([-1, 4000], np.int16), None),
        (np.array([0, 1], np.float32), (0, 1)),
        (np.array([0.2, np.nan, np.inf], np.float32), (0, 1)),
        (np.array([0.5, 200], np.float64), (0, 255)),
        (np.array([0, 4000], np.float32), (0, 4095)),
        (np.array([0, 17.5], np.float32), None),
        (np.array([-0.5, 1], np.float16), None),
        (np.array([np.nan], np.float32), None),
        (np.zeros(0, np.uint16), (0, 255)),
        (np.zeros(3, np.uint16), (0, 255)),
    ],
)
def test_values_say_their_range_or_nothing_does(values: Any, limits: Any) -> None:
    assert extent_of(values).limits() == limits


def test_a_header_that_states_bits_goes_before_the_values() -> None:
    assert extent_of(np.array([0, 100], np.uint16), bits=12).limits() == (0, 4095)
    assert extent_of(np.array([0, 100], np.uint16), bits=16).limits() == (0, 65535)


def test_the_range_of_several_images_holds_all() -> None:
    dark, bright = Extent(0, 300), Extent(2, 3000)
    assert join([dark, bright]).limits() == (0, 4095)
    assert join([]).limits() == (0, 255)
    assert join([Extent(0, 0.5, False, True), bright]).limits() is None


def save_deep(path: Path, values: Any) -> Path:
    if path.suffix == ".png":
        cv2.imwrite(str(path), values[:, :, ::-1] if values.ndim == 3 else values)
    elif values.ndim == 3:
        tifffile.imwrite(path, values, photometric="rgb")
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    return path


@pytest.mark.parametrize("name", ["gray.tif", "gray.png", "color.tif", "color.png"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_bits_that_are_used_become_bytes(tmp_path: Path, name: str, bits: int) -> None:
    bytes_ = np.arange(256, dtype=np.uint16).reshape(16, 16)
    stored = bytes_ << (bits - 8)
    if name.startswith("color"):
        stored = np.dstack([stored, stored.T, stored[::-1]])
    found = read_image(save_deep(tmp_path / name, stored))
    assert np.array_equal(found[:, :, 0], bytes_)
    other = bytes_.T if name.startswith("color") else bytes_
    assert np.array_equal(found[:, :, 1], other)
    assert image_info(tmp_path / name).bits == 16


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("high", [1, 255])
def test_floating_point_files(tmp_path: Path, dtype: Any, high: int) -> None:
    bytes_ = np.arange(256).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", (bytes_ * (high / 255)).astype(dtype))
    assert np.abs(read_image(tmp_path / "a.tif")[:, :, 0].astype(int) - bytes_).max() <= 1
    holed = (bytes_ * (high / 255)).astype(dtype)
    holed[0, 5] = np.nan
    tifffile.imwrite(tmp_path / "b.tif", holed)
    assert read_image(tmp_path / "b.tif")[0, 5, 0] == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.float32([[-3, 40.5]]),
            r"float32 values, values from -3 to 40\.5, .*=-3,40",
        ),
        (np.int16([[-3, 40]]), r"values from -3 to 40, .*--band-range=-3,40"),
        (np.float32([[np.nan, np.nan]]), r"no number at all"),
    ],
)
def test_what_nothing_says_is_asked_for_by_the_option(
    tmp_path: Path, values: Any, message: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.tif")
    stated = read_image(tmp_path / "a.tif", PixelRange(3, deep=(-3, 40.5)))
    assert stated.shape == (1, 2, 3)


def test_stated_values_go_before_the_images_own(tmp_path: Path) -> None:
    path = save_deep(tmp_path / "a.tif", np.array([[0, 500, 1000, 4000]], np.uint16))
    assert read_image(path, PixelRange(1, deep=(0, 1000))).ravel().tolist() == [0, 128, 255, 255]
    assert read_image(path, PixelRange(1, deep=(0, 65535))).ravel().tolist() == [0, 1, 3, 15]
    Image.fromarray(np.uint8([[0, 128, 255]])).save(tmp_path / "b.png")
    shallow = read_image(tmp_path / "b.png", PixelRange(1, deep=(0, 1000)))
    assert shallow.ravel().tolist() == [0, 128, 255]


def test_gray_with_white_as_zero_is_turned_round(tmp_path: Path) -> None:
    values = np.array([[0, 65535]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 0]
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="miniswhite", compression="zlib")
    assert read_image(tmp_path / "b.tif", PixelRange(1))[0, :, 0].tolist() == [255, 0]


def test_deep_color_with_alpha_gives_color(tmp_path: Path) -> None:
    values = np.full((4, 5, 4), 4000, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    assert image_info(tmp_path / "a.tif").bands == 3
    assert read_image(tmp_path / "a.tif").shape == (4, 5, 3)
    assert read_image(tmp_path / "a.tif", PixelRange(4)).shape == (4, 5, 4)


def test_12_bits_packed_into_a_tiff(tmp_path: Path) -> None:
    values = np.full((4, 6), 100, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, bitspersample=12, photometric="minisblack")
    assert image_info(tmp_path / "a.tif").bits == 12
    assert (read_image(tmp_path / "a.tif") == 100 >> 4).all()


def test_arrays_of_16_bits_and_deep_pil_images() -> None:
    values = np.array([[0, 2048, 4095]], np.uint16)
    assert to_pixels(values)[0, :, 0].tolist() == [0, 128, 255]
    assert to_pixels(Image.fromarray(values))[0, :, 0].tolist() == [0, 128, 255]
    floating = Image.fromarray(np.float32([[0, 0.5, 1]]))
    assert to_pixels(floating)[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(ImageError, match="PIL image: holds float32"):
        to_pixels(Image.fromarray(np.float32([[0, 7.5]])))


# One range for a run


def test_one_range_for_all_images_of_a_run(tmp_path: Path) -> None:
    dark = save_deep(tmp_path / "dark.tif", np.full((4, 5), 200, np.uint16))
    bright = save_deep(tmp_path / "bright.tif", np.full((4, 5), 3000, np.uint16))
    Image.new("RGB", (5, 4), (9, 9, 9)).save(tmp_path / "c.jpg")
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    paths = [dark, bright, tmp_path / "c.jpg", tmp_path / "broken.tif"]
    chosen, said = settle_depth(paths, RGB)
    assert chosen == PixelRange(3, deep=(0, 4095))
    assert said == (
        "2 images hold more than 8 bits, values from 200 to 3,000: 0 to 4,095 become 0 to 255. "
        "--band-range LOW,HIGH takes others (in Python PixelRange)."
    )
    assert (read_image(dark, chosen) == 200 >> 4).all()
    assert settle_depth(paths, chosen) == (chosen, "")


def test_images_of_bytes_need_no_choice(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (5, 4)).save(tmp_path / "b.jpg")
    assert settle_depth([tmp_path / "a.png", tmp_path / "b.jpg"], RGB) == (RGB, "")
    assert settle_depth([], RGB) == (RGB, "")
    assert image_extent(tmp_path / "a.png") is None


def test_a_mixture_that_no_range_suits_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.float32([[0, 0.5]]))
    whole = save_deep(tmp_path / "b.tif", np.array([[0, 3000]], np.uint16))
    chosen, said = settle_depth([tmp_path / "a.tif", whole], RGB)
    assert chosen == RGB
    assert "each is scaled by its own where that says enough" in said


def test_bytes_for_a_model_of_deeper_values_are_told(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    deep = PixelRange(3, (200,), (3000,))
    chosen, said = settle_depth([tmp_path / "a.png"], deep)
    assert chosen == deep
    assert said.startswith("1 image holds 8 bits, and the model takes values from 200 to 3,000")
    assert settle_depth([tmp_path / "a.png"], PixelRange(3, (0,), (255,)))[1] == ""


def test_deep_color_without_tifffile_is_not_read_as_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_deep(tmp_path / "a.tif", np.full((4, 5, 3), 4000, np.uint16))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"a\.tif: .*foveal\[tiff\]"):
        read_image(path)


def gray_with_alpha(values: Any) -> bytes:
    """A PNG of 16-bit gray and alpha, which no library here writes."""
    height, width = values.shape
    pixels = np.dstack([values, np.zeros_like(values)]).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_deep_gray_with_alpha_keeps_its_bits(tmp_path: Path) -> None:
    values = np.array([[0, 2048, 4095]], np.uint16)
    (tmp_path / "a.png").write_bytes(gray_with_alpha(values))
    info = image_info(tmp_path / "a.png")
    assert (info.bands, info.bits) == (1, 16)
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(tmp_path / "a.png", PixelRange(1)).ravel().tolist() == [0, 128, 255]


def test_large_numbers_of_32_bits_are_not_negative(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.array([[1, 2**32 - 1]], np.uint32))
    with pytest.raises(ImageError, match=r"uint32 values, values from 1 to 4\.29497e\+09"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones((4, 5), np.complex64), {}, "holds complex numbers"),
        (np.ones((4, 16, 16), np.uint8), {"volumetric": True, "tile": (4, 16, 16)}, "4 slices"),
    ],
)
def test_what_is_no_picture_is_said(
    tmp_path: Path, values: Any, options: dict[str, Any], message: str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **options)
    with pytest.raises(ImageError, match=rf"a\.tif: .*{message}"):
        read_image(tmp_path / "a.tif")


def test_python_is_told_of_the_first_deep_image_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save_deep(tmp_path / "a.tif", np.array([[7, 3000]], np.uint16))
    images = [np.zeros((2, 2, 3), np.uint8), path, np.full((2, 2), 900, np.uint16), 7]
    assert list(telling_depth(images, RGB)) == images
    assert len(caplog.records) == 1
    assert "values from 7 to 3,000: 0 to 4095 become 0 to 255" in caplog.text
    caplog.clear()
    assert len(list(telling_depth(images, PixelRange(3, deep=(0, 9))))) == 4
    assert caplog.text == ""
