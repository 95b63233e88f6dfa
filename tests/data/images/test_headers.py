"""Headers and endings of many files: the same sizes as the readers', and what is cut is known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.images import headers, rasters, reading, survey
from foveal.data.images.headers import Header, decode_whole, read_header, read_headers
from foveal.data.images.reading import read_image

ENDINGS = (".jpg", ".png", ".tif", ".webp", ".bmp", ".gif", ".ppm", ".jp2", ".avif")


def _write(path: Path, **options: object) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def _turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _write(path, exif=exif)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_complete_file_has_its_size_and_a_cut_one_a_fault(ending: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"a{ending}")
    assert read_header(str(path)) == Header(64, 48)
    path.write_bytes(path.read_bytes()[:-40])
    header = read_header(str(path))
    assert bool(header.fault) == bool(decode_whole(str(path)).fault)
    if ending not in (".gif", ".webp", ".jp2"):  # whose decoders may make do with less
        assert str(path) in header.fault


@pytest.mark.parametrize("behind", [b"\0\0\0", b"junk", b"\xff\xd8\xff"])
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_what_stands_behind_the_end_is_harmless(behind: bytes, ending: str, tmp_path: Path) -> None:
    path = _write(tmp_path / f"a{ending}")
    path.write_bytes(path.read_bytes() + behind)
    assert read_header(str(path)) == Header(64, 48)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".webp"])
def test_the_size_is_that_of_the_pixels_read_and_the_stored_one_is_known(
    orientation: int, ending: str, tmp_path: Path
) -> None:
    path = _turned(tmp_path / f"a{ending}", orientation)
    header = read_header(str(path))
    height, width, _ = read_image(path).shape
    assert (header.width, header.height) == (width, height)
    assert header.stored == (64, 48)
    assert header.orientation == orientation


def test_a_preview_in_the_header_is_not_the_end(tmp_path: Path) -> None:
    preview = _write(tmp_path / "small.jpg").read_bytes()
    path = tmp_path / "a.jpg"
    whole = _write(path).read_bytes()
    note = b"\xff\xe2" + (len(preview) + 2).to_bytes(2, "big") + preview
    path.write_bytes(whole[:2] + note + whole[2:])
    assert read_header(str(path)) == Header(64, 48)
    path.write_bytes(whole[:2] + note)
    assert read_header(str(path)).fault


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.touch(),
        lambda path: path.write_text("no image"),
        lambda path: os.mkfifo(path),
        lambda path: path.write_bytes(b"\xff\xd8\xff"),
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"),
        lambda path: path.write_bytes(b"II*\0\x08\0\0\0"),
        lambda path: path.write_bytes(
            b"\xff\xd8\xff\xe1\0\x10Exif\0\0II*\0\xff\xff\xff\xff\xff\xd9"
        ),
    ],
)
def test_what_is_no_image_has_a_fault(make: Callable[[Path], object], tmp_path: Path) -> None:
    make(tmp_path / "a.jpg")
    header = read_header(str(tmp_path / "a.jpg"))
    assert (header.width, header.height) == (0, 0)
    assert "a.jpg" in header.fault


def test_many_are_in_order_and_told(tmp_path: Path) -> None:
    paths = [str(_write(tmp_path / f"{n}.jpg")) for n in range(3)]
    steps: list[tuple[int, int]] = []
    found = read_headers(
        [*paths, str(tmp_path / "gone.jpg")], progress=lambda *step: steps.append(step)
    )
    assert found[:3] == [Header(64, 48)] * 3
    assert found[3].fault
    assert steps == [(4, 4)]
    assert read_headers([]) == []


def test_what_was_read_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(headers, "_WORTH_KEEPING", 2)
    whole, cut = _write(tmp_path / "a.jpg"), _write(tmp_path / "b.jpg")
    other = _turned(tmp_path / "c.jpg", 6)
    cut.write_bytes(cut.read_bytes()[:-40])
    paths = [str(whole), str(cut), str(other)]
    first = read_headers(paths, cache="data")
    (file,) = (tmp_path / "cache/headers").iterdir()
    assert set(json.loads(file.read_bytes())["files"]) == {str(whole), str(other)}

    opened: list[str] = []
    quick = headers._quick
    monkeypatch.setattr(
        headers, "_quick", lambda descriptor, size: opened.append("x") or quick(descriptor, size)
    )
    assert read_headers(paths, cache="data") == first
    assert len(opened) == 1  # the broken one, which may have been mended
    _turned(whole, 6)
    assert read_headers(paths, cache="data")[0].orientation == 6
    file.write_text("no json")
    assert read_headers(paths, cache="data")[0].orientation == 6


def test_a_large_scene_is_never_decoded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rasterio = pytest.importorskip("rasterio")
    values = (np.arange(2 * 300 * 40).reshape(2, 300, 40) ** 2 % 2999).astype(np.uint16)
    place = {"crs": "EPSG:32617", "transform": rasterio.Affine(1, 0, 5e5, 0, -1, 4e6)}
    size = {"width": 40, "height": 300, "count": 2, "dtype": "uint16"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", compress="deflate", **size, **place
    ) as file:
        file.write(values)
    content = (tmp_path / "a.tif").read_bytes()
    damaged = content[:20_000] + bytes(len(content) - 20_000)
    (tmp_path / "b.tif").write_bytes(damaged)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded whole")

    for module in (headers, rasters):
        monkeypatch.setattr(module, "SMALL", 0)
    for name in ("read_image", "read_stored"):
        monkeypatch.setattr(reading, name, refuse)
        monkeypatch.setattr(headers if name == "read_image" else rasters, name, refuse)
    assert headers.decode_whole(str(tmp_path / "a.tif")).fault == ""
    assert "can't be read" in headers.decode_whole(str(tmp_path / "b.tif")).fault
    extent = survey.image_extent(tmp_path / "a.tif")
    assert extent is not None
    assert (extent.low, extent.high) == (values.min(), values.max())
    limits = survey.band_percentiles([tmp_path / "a.tif"], bands=2, low=0, high=100)
    assert limits.high == tuple(values.max(axis=(1, 2)))
