"""Reading images: against Pillow for every kind, by hand for the policy, and 30 bad files."""

from __future__ import annotations

import io
import os
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from foveal.data.images import pillow
from foveal.data.images.reading import image_info, image_size, read_image
from foveal.data.images.survey import band_percentiles
from foveal.errors import ImageError, MissingExtraError
from foveal.structures import PixelRange

WIDTH, HEIGHT = 37, 23


def picture(mode: str = "RGB", seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    rough = rng.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
    smooth = cv2.GaussianBlur(rough, (0, 0), 2)
    color = Image.fromarray(smooth[:, :, :3])
    if mode in ("RGBA", "LA", "PA"):
        color.putalpha(Image.fromarray(rough[:, :, 3]))
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16))
    return color.convert(mode)


KINDS = [
    ("JPEG", "jpg", mode, options)
    for mode in ("RGB", "L", "CMYK")
    for options in ({}, {"quality": 95, "subsampling": 0}, {"progressive": True, "quality": 40})
] + [
    *[("PNG", "png", mode, {}) for mode in ("RGB", "L", "1", "P", "RGBA", "LA")],
    *[("TIFF", "tif", mode, {}) for mode in ("RGB", "L", "1", "P", "RGBA", "CMYK")],
    ("TIFF", "tif", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "tif", "RGB", {"compression": "tiff_adobe_deflate"}),
    *[("WEBP", "webp", mode, {}) for mode in ("RGB", "RGBA")],
    ("WEBP", "webp", "RGB", {"lossless": True}),
    *[("BMP", "bmp", mode, {}) for mode in ("RGB", "L", "1", "P")],
    *[("GIF", "gif", mode, {}) for mode in ("L", "P")],
    ("PPM", "ppm", "RGB", {}),
]


@pytest.mark.parametrize(("kind", "suffix", "mode", "options"), KINDS)
def test_gives_what_pillow_gives(tmp_path, kind, suffix, mode, options):
    path = tmp_path / f"an image, with ümlaut.{suffix}"
    picture(mode).save(path, kind, **options)
    with Image.open(path) as stored:
        expected = np.asarray(stored.convert("RGB"))
        gray = np.asarray(stored.convert("L"))
    found = read_image(path)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert found.flags.writeable
    np.testing.assert_array_equal(found, expected)
    assert image_size(path) == (WIDTH, HEIGHT)
    single = read_image(path, PixelRange(1))
    assert single.shape == (HEIGHT, WIDTH, 1)
    if kind != "JPEG":
        assert np.abs(single[:, :, 0].astype(int) - gray).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tif")])
def test_applies_exif_orientation(tmp_path, orientation, kind, suffix):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(path, kind, exif=exif)
    with Image.open(path) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == (expected.shape[1], expected.shape[0])
    assert (image_size(path) == (HEIGHT, WIDTH)) == (orientation >= 5)


def test_drops_alpha_and_keeps_the_color_beneath(tmp_path):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[..., :3] = (10, 20, 30)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == (10, 20, 30)).all()
    assert (read_image(tmp_path / "clear.png", PixelRange(4)) == (10, 20, 30, 0)).all()


def test_keeps_the_high_byte_of_16_bit_values(tmp_path):
    gray = np.array([[0, 255, 256, 65535]], np.uint16)
    color = np.dstack([gray, gray[:, ::-1], gray])
    Image.fromarray(gray).save(tmp_path / "gray.png")
    cv2.imwrite(str(tmp_path / "color.png"), color[:, :, ::-1])
    tifffile.imwrite(tmp_path / "color.tif", color, photometric="rgb")
    expected = (color >> 8).astype(np.uint8)
    for name in ("color.png", "color.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), expected)
        assert image_info(tmp_path / name).bits == 16
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png")[..., 1], gray >> 8)
    assert image_info(tmp_path / "gray.png").bands == 1
    assert image_info(tmp_path / "gray.png").bits == 16


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_scales_stored_values_between_stated_ones(tmp_path, name):
    deep = np.array([[(1000, 1000, 1000), (1500, 1250, 3000), (0, 2000, 65535)]], np.uint16)
    if name.endswith("png"):
        cv2.imwrite(str(tmp_path / name), deep[:, :, ::-1])
    else:
        tifffile.imwrite(tmp_path / name, deep, photometric="rgb")
    found = read_image(tmp_path / name, PixelRange(3, (1000, 1000, 1000), (2000, 2000, 3000)))
    assert found.tolist() == [[[0, 0, 0], [128, 64, 255], [0, 255, 255]]]


@pytest.mark.parametrize(
    ("planar", "compression"),
    [
        ("contig", None),
        ("contig", "zlib"),
        ("contig", "lzw"),
        ("separate", None),
        ("separate", "zlib"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [2, 4, 7])
def test_reads_multi_band_tiff(tmp_path, planar, dtype, bands, compression):
    rng = np.random.default_rng(0)
    values = rng.integers(0, np.iinfo(dtype).max + 1, (HEIGHT, WIDTH, bands)).astype(dtype)
    stored = np.moveaxis(values, -1, 0) if planar == "separate" else values
    path = tmp_path / "bands.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar,
                     compression=compression)  # fmt: skip
    expected = values if dtype == np.uint8 else (values >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read_image(path, PixelRange(bands)), expected)
    assert image_size(path) == (WIDTH, HEIGHT)
    info = image_info(path)
    assert (info.bands, info.bits) == (bands, np.iinfo(dtype).bits)
    with pytest.raises(ImageError, match=rf"bands\.tif: has {bands} bands, expected 3"):
        read_image(path)


def test_scales_floating_point_bands_and_refuses_to_guess_their_range(tmp_path):
    values = np.array([[[0.0, 1.0], [0.5, np.nan], [2.0, -np.inf]]], np.float32)
    tifffile.imwrite(
        tmp_path / "float.tif", values, photometric="minisblack", planarconfig="contig"
    )
    found = read_image(tmp_path / "float.tif", PixelRange(2, (0,), (1,)))
    assert found.tolist() == [[[0, 255], [128, 0], [255, 0]]]
    with pytest.raises(ImageError, match=r"values from 0 to 2, .*--band-range=0,2 .*band_low"):
        read_image(tmp_path / "float.tif", PixelRange(2))


def test_percentiles_of_bands_scale_a_data_set(tmp_path):
    values = np.arange(101, dtype=np.uint16)[None, :, None] * np.array([1, 10, 100, 5], np.uint16)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, values, photometric="minisblack", planarconfig="contig")
    limits = band_percentiles([tmp_path / "a.tif", tmp_path / "b.tif"], bands=4, low=10, high=90)
    np.testing.assert_allclose(limits.low, (10, 100, 1000, 50))
    np.testing.assert_allclose(limits.high, (90, 900, 9000, 450))
    image = read_image(tmp_path / "a.tif", limits)
    assert image[0, 10].tolist() == [0] * 4
    assert image[0, 50].tolist() == [128] * 4
    assert image[0, 90].tolist() == [255] * 4


def test_percentiles_of_a_constant_image_differ(tmp_path):
    Image.new("L", (3, 3), 7).save(tmp_path / "flat.png")
    limits = band_percentiles([tmp_path / "flat.png"], bands=1)
    assert limits.high[0] > limits.low[0]
    with pytest.raises(ImageError, match="No images"):
        band_percentiles([], bands=3)


def test_wants_tifffile_by_the_line_that_installs_it(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4, 5), np.uint8), photometric="minisblack")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[tiff\]'"):
        read_image(tmp_path / "a.tif", PixelRange(5))


def test_one_pixel_image_and_first_page_of_several(tmp_path):
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "one.png")
    assert read_image(tmp_path / "one.png").tolist() == [[[1, 2, 3]]]
    pages = [Image.new("L", (4, 3), 9), Image.new("L", (2, 1), 7)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "pages.tif", PixelRange(1)).tolist() == [[[9]] * 4] * 3


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    quality=st.integers(5, 100),
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
    seed=st.integers(0, 99),
)
def test_fast_jpeg_equals_pillow(
    tmp_path_factory, width, height, quality, subsampling, progressive, seed
):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(
        path, quality=quality, subsampling=subsampling, progressive=progressive
    )
    with Image.open(path) as stored:
        np.testing.assert_array_equal(read_image(path), np.asarray(stored.convert("RGB")))


def test_real_images_equal_pillow(shared):
    paths = sorted((shared / "data/bccd/JPEGImages").glob("*.jpg"))[:5]
    paths += sorted((shared / "data/hit-uav/images").glob("*.jpg"))[:3]
    assert paths
    for path in paths:
        with Image.open(path) as stored:
            np.testing.assert_array_equal(read_image(path), np.asarray(stored.convert("RGB")))


def test_satellite_bands(shared):
    path = shared / "data/sen2ships/algiers.tif"
    assert image_info(path).bands == 4
    limits = band_percentiles([path], bands=4)
    image = read_image(path, limits)
    assert image.shape == (1126, 1351, 4)
    assert ((image > 0) & (image < 255)).mean() > 0.9


# Bad files: each maker writes one file (or none) and gives its path.


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        length, check = len(content), zlib.crc32(kind + content)
        return struct.pack(">I", length) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", data or zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def bmp_claiming(width: int, height: int) -> bytes:
    content = bytearray(encoded("BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def animation(kind: str) -> bytes:
    buffer = io.BytesIO()
    frames = [picture(seed=seed) for seed in range(3)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def multi_band(cut: float = 1.0, **options: object) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 9999, (60, 50, 4)).astype(np.uint16)
    tifffile.imwrite(buffer, values, photometric="minisblack", planarconfig="contig", **options)
    content = buffer.getvalue()
    return content[: int(len(content) * cut)]


def tiff_claiming(width: int, height: int) -> bytes:
    content = bytearray(multi_band(compression="zlib", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as pages:
        tags = pages.pages[0].tags
        for tag, value in (("ImageWidth", width), ("ImageLength", height)):
            offset = tags[tag].valueoffset
            size = 2 if tags[tag].dtype == 3 else 4
            content[offset : offset + size] = struct.pack("<I", value)[:size]
    return bytes(content)


def tall_tiff(height: int) -> bytes:
    """A TIFF of 8 bits, whose header claims far more rows than its strips have."""
    content = bytearray(encoded("TIFF", strip_size=WIDTH * 3 * 4))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as pages:
        tag = pages.pages[0].tags["ImageLength"]
        struct.pack_into("<I", content, tag.valueoffset, height)
        struct.pack_into("<H", content, tag.valueoffset - 6, 4)
    return bytes(content)


def damaged(content: bytes, at: float) -> bytes:
    place = int(len(content) * at)
    return content[:place] + bytes(64) + content[place + 64 :]


CONTENTS: dict[str, Callable[[], bytes]] = {
    "cut.jpg": lambda: encoded("JPEG")[:400],
    "cut to its start.jpg": lambda: encoded("JPEG")[:3],
    "without its last bytes.jpg": lambda: encoded("JPEG")[:-40],
    "text.jpg": lambda: b"this is no image, but somebody renamed it",
    "page.png": lambda: b"<!DOCTYPE html><html>404</html>",
    "empty.png": lambda: b"",
    "one byte.jpg": lambda: b"\xff",
    "zeros.bmp": lambda: bytes(5000),
    "noise.jpg": lambda: np.random.default_rng(0).bytes(5000),
    "bomb.png": lambda: png_claiming(60_000, 60_000),
    "wide bomb.png": lambda: png_claiming(2_000_000_000, 2),
    "bomb.bmp": lambda: bmp_claiming(60_000, 60_000),
    "bomb.tif": lambda: tiff_claiming(60_000, 60_000),
    "without pixels.png": lambda: png_claiming(20, 20, zlib.compress(b"")),
    "half.png": lambda: encoded("PNG")[: len(encoded("PNG")) // 2],
    "no width.png": lambda: png_claiming(0, 10),
    "header only.png": lambda: encoded("PNG")[:8],
    "cut.tif": lambda: encoded("TIFF")[:-500],
    "cut to its header.tif": lambda: encoded("TIFF")[:8],
    "cut compressed.tif": lambda: encoded("TIFF", compression="tiff_lzw")[: -len(CUT)],
    "cut bands.tif": lambda: multi_band(0.5),
    "cut compressed bands.tif": lambda: multi_band(0.5, compression="zlib"),
    "tall.tif": lambda: tall_tiff(9_000_000),
    "tall bands.tif": lambda: tiff_claiming(50, 9_000_000),
    "damaged bands.tif": lambda: damaged(multi_band(compression="zlib"), 0.5),
    "cut.webp": lambda: encoded("WEBP")[: len(encoded("WEBP")) // 2],
    "cut.bmp": lambda: encoded("BMP")[: len(encoded("BMP")) // 2],
    "cut.gif": lambda: encoded("GIF", "P")[:40],
    "moving.gif": lambda: animation("GIF"),
    "moving.webp": lambda: animation("WEBP"),
    "moving.png": lambda: animation("PNG"),
    "program.eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
    "drawing.svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "archive.jpg": lambda: b"PK\x03\x04" + bytes(100),
}
CUT = bytes(300)


def make_bad_file(folder: Path, name: str) -> Path:
    path = folder / name
    if name in CONTENTS:
        path.write_bytes(CONTENTS[name]())
    elif name == "folder.jpg":
        path.mkdir()
    elif name == "pipe.jpg":
        os.mkfifo(path)
    elif name == "to nowhere.jpg":
        path.symlink_to(folder / "nothing.jpg")
    elif name == "to itself.jpg":
        path.symlink_to(path)
    elif name == "device.jpg":
        path.symlink_to("/dev/zero")
    return path


OTHERS = ["folder.jpg", "pipe.jpg", "to nowhere.jpg", "to itself.jpg", "device.jpg", "missing.jpg"]


@pytest.mark.parametrize("name", [*CONTENTS, *OTHERS])
def test_each_bad_file_is_one_error_that_names_it(tmp_path, name):
    if name in OTHERS and sys.platform == "win32":
        pytest.skip("needs a POSIX file system")
    path = make_bad_file(tmp_path, name)
    bands = 4 if "bands" in name or name == "bomb.tif" else 3
    tracemalloc.start()
    try:
        with pytest.raises(ImageError) as caught:
            read_image(path, PixelRange(bands))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert peak < 20_000_000


def test_a_video_is_told_from_an_image_that_is_none(tmp_path):
    for name, words in (("clip.MP4", "is a video.*ffmpeg"), ("clip.jpg", "is no image that can")):
        path = tmp_path / name
        path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
        with pytest.raises(ImageError, match=words):
            read_image(path)


def test_unreadable_file_is_named(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(encoded("JPEG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(ImageError, match=r"secret\.jpg: can't be opened"):
        read_image(path)


def test_limit_of_pixels_can_be_set_and_pillows_own_stays_as_it_was(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "large.png"
    Image.new("L", (200, 100)).save(path)
    with pytest.raises(ImageError, match="200 x 100 pixels, more than the 19,999"):
        read_image(path, max_pixels=19_999)
    assert read_image(path, max_pixels=20_000).shape == (100, 200, 3)
    assert before == Image.MAX_IMAGE_PIXELS


def test_large_picture_raises_no_warning_of_pillows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (20, 30)).save(tmp_path / "large.png")
    assert image_size(tmp_path / "large.png") == (20, 30)
    assert read_image(tmp_path / "large.png").shape == (30, 20, 3)


def test_pillows_limit_is_the_same_for_everybody_at_every_moment(tmp_path, monkeypatch):
    """Another thread that opens a picture meanwhile keeps Pillow's protection."""
    seen = []
    plugins = {
        name: (lambda *given, make=make: seen.append(Image.MAX_IMAGE_PIXELS) or make(*given), knows)
        for name, (make, knows) in {name: Image.OPEN[name] for name in pillow._formats()}.items()
    }
    monkeypatch.setattr(Image, "OPEN", plugins)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for ending in ("png", "jpg", "bmp"):
        path = tmp_path / f"large.{ending}"
        Image.new("L", (20, 30)).save(path)
        read_image(path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(ImageError):
        read_image(tmp_path / "broken.png")
    assert set(seen) == {100}
    assert Image.MAX_IMAGE_PIXELS == 100


def test_what_pillow_refuses_while_it_decodes_is_said(tmp_path, monkeypatch):
    def refuse(_picture):
        raise Image.DecompressionBombError("600 pixels exceed the limit")

    Image.new("L", (20, 30)).save(tmp_path / "large.tif")
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", refuse)
    with pytest.raises(ImageError, match=r"large\.tif: is too large for Pillow \(600 pixels"):
        read_image(tmp_path / "large.tif")


def test_band_limits_that_do_not_match_are_refused(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="band_low has 2 values"):
        read_image(tmp_path / "a.png", PixelRange(3, (0, 1), (1, 2)))
    with pytest.raises(ImageError, match="has 1 bands, expected 4"):
        read_image(tmp_path / "a.png", PixelRange(4))
