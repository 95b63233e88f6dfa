"""HEIC, AVIF and JPEG XL: read where their packages are installed, named where they are not."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from foveal.data.images import pillow
from foveal.data.images.missing import MissingExtras
from foveal.data.images.reading import image_info, read_image
from foveal.errors import ImageError, MissingExtraError
from foveal.structures import PixelRange

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAX5tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABogABAAAAAAAAADoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA/mlwcnAAAADeaXBjbwAAAHdodmNDAQQIAAAAnjgAAAAAHvAA/P/4+AAADwNgAAEA"
    "F0ABDAH//wQIAAADAJ44AAADAAAeugJAYQABACpCAQEECAAAAwCeOAAAAwAAHpAEECCy3VXTXNwENBgQAAADAZAAAAMA"
    "EIBiAAEACEQBwXMYMBiQAAAAE2NvbHJuY2x4AAEADQAGgAAAABRpc3BlAAAAAAAAAEAAAABAAAAAKGNsYXAAAAAQAAAA"
    "AQAAAAgAAAAB////0AAAAAL////IAAAAAgAAABBwaXhpAAAAAAMICAgAAAAYaXBtYQAAAAAAAAABAAEFgQIDBYQAAABC"
    "bWRhdAAAADYoAa8TIXRiwOUyNv9cT1TPfDV+4GioJ+QrDXrCQXf3YyGwIPMknGPx3ejjqIcxRcWkkoq8tjA="
)
"""16 x 8 pixels, the left half red and the right half blue."""


def values(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("name", ["photo.HEIC", "renamed.jpg"])
def test_heic(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HEIC)
    info = image_info(tmp_path / name)
    assert (info.width, info.height, info.bands, info.bits, info.format) == (16, 8, 3, 8, "HEIF")
    left, right = read_image(tmp_path / name)[4, [2, 13]].astype(int)
    assert left[0] > 150 > 100 > left[2]
    assert right[2] > 150 > 100 > right[0]


def test_avif(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (200, 40, 40)).save(tmp_path / "a.avif")
    assert image_info(tmp_path / "a.avif").format == "AVIF"
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - (200, 40, 40)).max() < 12


@pytest.mark.parametrize("container", [True, False])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((8, 16), np.uint8),
        ((8, 8, 3), np.uint8),
        ((9, 300, 3), np.uint16),
        ((513, 3, 4), np.uint8),
        ((8, 16, 2), np.uint8),
    ],
)
def test_jpeg_xl(tmp_path: Path, shape: tuple[int, ...], dtype: Any, container: bool) -> None:
    stored = values(shape, dtype)
    content = imagecodecs.jpegxl_encode(stored, lossless=True, usecontainer=container)
    (tmp_path / "a.jxl").write_bytes(content)
    color = stored.reshape(*shape[:2], -1)
    color = color[:, :, :-1] if color.shape[2] in (2, 4) else color
    info = image_info(tmp_path / "a.jxl")
    assert (info.height, info.width, info.bands) == color.shape
    assert (info.bits, info.format) == (8 * stored.dtype.itemsize, "JPEG XL")
    limit = float(np.iinfo(dtype).max)
    found = read_image(tmp_path / "a.jxl", PixelRange(color.shape[2], (0,), (limit,)))
    assert np.array_equal(found, np.rint(color * np.float32(255 / limit)))


@pytest.mark.parametrize(
    "content", [b"\xff\x0a", b"\xff\x0a" + bytes(40), HEIC[:-9], HEIC[:200], HEIC[:40]]
)
def test_cut_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cut").write_bytes(content)
    with pytest.raises(ImageError, match=r"cut: is (broken|no image)") as caught:
        read_image(tmp_path / "cut")
    assert "\n" not in str(caught.value)


def test_a_jpeg_xl_that_claims_too_much_is_not_decoded(tmp_path: Path) -> None:
    content = imagecodecs.jpegxl_encode(values((40, 50, 3)), lossless=True)
    (tmp_path / "a.jxl").write_bytes(content)
    with pytest.raises(ImageError, match="50 x 40 pixels, more than the 1,999"):
        read_image(tmp_path / "a.jxl", max_pixels=1999)


def test_an_animated_jpeg_xl_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(values((3, 8, 9, 3)), lossless=True))
    with pytest.raises(ImageError, match="is an animation"):
        read_image(tmp_path / "a.jxl")


def test_a_missing_package_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setattr(pillow, "_formats", lambda: ("JPEG", "PNG"))
    Image.new("RGB", (16, 8)).save(tmp_path / "a.avif")
    (tmp_path / "a.heic").write_bytes(HEIC)
    (tmp_path / "b.heic").write_bytes(HEIC)
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(40))
    missing = MissingExtras()
    for name in ("a.avif", "a.heic", "b.heic", "a.jxl"):
        for look in (image_info, read_image):
            with pytest.raises(MissingExtraError, match=rf"{name}: .*'foveal\[images\]'") as caught:
                look(tmp_path / name)
        missing.add(caught.value)
    assert len(missing) == 4
    assert missing.sentences()[1] == (
        f"2 images can't be read, the first of them {tmp_path / 'a.heic'}. "
        "Reading HEIC and HEIF needs pi-heif: pip install 'foveal[images]'"
    )
