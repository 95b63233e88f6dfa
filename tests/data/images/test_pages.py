"""Stacks and animations: how many pages there are, which are none, and each read by its name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from foveal.data.images.encoding import write_page
from foveal.data.images.pages import Pages, describe_stacks, file_of, page_path, split_page
from foveal.data.images.reading import count_pages, image_info, read_image, read_values
from foveal.errors import ImageError
from foveal.structures import PixelRange

COLORS = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (16, 12), color) for color in COLORS]


def save_frames(path: Path, **options: Any) -> Path:
    first, *others = frames()
    first.save(path, save_all=True, append_images=others, **options)
    return path


def test_a_page_is_named_behind_the_file(tmp_path: Path) -> None:
    stack = tmp_path / "stack.tif"
    assert page_path(stack, 3) == tmp_path / "stack.tif[3]"
    assert split_page(tmp_path / "stack.tif[3]") == (stack, 3)
    assert file_of(tmp_path / "stack.tif[12]") == stack
    for name in ("stack.tif", "stack.tif[0]", "stack.tif[x]", "[3]", "stack.tif[3].png"):
        assert split_page(tmp_path / name) == (tmp_path / name, None)


def test_a_file_that_is_really_called_so_goes_before(tmp_path: Path) -> None:
    odd = tmp_path / "cell.png[2]"
    Image.new("RGB", (4, 3), (1, 2, 3)).save(odd, "PNG")
    assert split_page(odd) == (odd, None)
    assert read_image(odd)[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_pages_that_pillow_reads(tmp_path: Path, compression: str | None) -> None:
    path = save_frames(tmp_path / "a.tif", compression=compression)
    assert count_pages(path) == Pages(3)
    for number, color in enumerate(COLORS, 1):
        page = page_path(path, number)
        assert count_pages(page) == Pages(3)
        assert (read_image(page) == color).all()
        assert (image_info(page).width, image_info(page).height) == (16, 12)
    assert (read_image(path) == COLORS[0]).all()


@pytest.mark.parametrize(
    ("options", "axes"),
    [
        ({"imagej": True}, "3 channels, 2 slices"),
        ({"photometric": "minisblack"}, ""),
        ({"photometric": "minisblack", "bigtiff": True, "compression": "zlib"}, ""),
        ({"photometric": "minisblack", "byteorder": ">"}, ""),
        ({"photometric": "minisblack", "ome": True, "metadata": {"axes": "ZCYX"}}, ""),
    ],
)
def test_deep_stacks(tmp_path: Path, options: dict[str, Any], axes: str) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (2, 3, 10, 14)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stored, **options)
    assert count_pages(tmp_path / "a.tif") == Pages(6, axes=axes)
    for number in (1, 2, 6):
        values = read_values(tmp_path / f"a.tif[{number}]")
        assert np.array_equal(values[:, :, 0], stored.reshape(6, 10, 14)[number - 1])


def test_pages_of_other_sizes_are_pages_and_smaller_versions_are_none(tmp_path: Path) -> None:
    def write(*pages: tuple[int, int, int]) -> Pages:
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            for height, width, kind in pages:
                file.write(np.full((height, width), True), subfiletype=kind)
        return count_pages(tmp_path / "a.tif")

    assert write((64, 48, 0), (32, 24, 1), (16, 12, 1)) == Pages(1)
    assert write((64, 48, 0), (32, 24, 0), (16, 12, 0)) == Pages(1, smaller=2)
    assert write((64, 48, 0), (60, 48, 0), (64, 50, 0)) == Pages(3)
    assert write((64, 48, 0), (64, 48, 4)) == Pages(1)
    assert write((16, 12, 1), (64, 48, 0), (32, 24, 1)) == Pages(1)
    assert read_image(tmp_path / "a.tif").shape == (64, 48, 3)
    assert image_info(tmp_path / "a.tif").width == 48
    assert write((16, 12, 1)) == Pages(1)


def test_planes_of_one_picture_are_no_pages(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 9, 7), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig="separate")
    assert count_pages(tmp_path / "a.tif") == Pages(1)
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.moveaxis(stored, 0, -1))


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "avif"])
def test_frames_of_animations(tmp_path: Path, ending: str) -> None:
    path = save_frames(tmp_path / f"a.{ending}", duration=50)
    assert count_pages(path) == Pages(3, "frame")
    for number, color in enumerate(COLORS, 1):
        found = read_image(page_path(path, number)).astype(int)
        assert np.abs(found - color).max() < 24
    with pytest.raises(ImageError, match=r"animation of 3 frames.*--page 1 .*'a\.\w+\[1\]'"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.tif[4]", r"a\.tif\[4\]: has no page 4: the file holds 3 pages\. Expected from 1 to 3"),
        ("a.gif[4]", r"a\.gif\[4\]: has no frame 4: the file holds 3 frames"),
        ("a.png[2]", r"a\.png\[2\]: has no page 2: the file holds 1 page\. Expected 1\."),
        ("absent.tif[2]", r"absent\.tif\[2\]: does not exist"),
    ],
)
def test_a_page_that_is_not_there_is_named(tmp_path: Path, name: str, message: str) -> None:
    save_frames(tmp_path / "a.tif")
    save_frames(tmp_path / "a.gif")
    frames()[0].save(tmp_path / "a.png")
    for look in (read_image, image_info):
        with pytest.raises(ImageError, match=message):
            look(tmp_path / name)


def test_the_only_page_may_be_named(tmp_path: Path) -> None:
    for ending in ("png", "jpg", "tif"):
        frames()[0].save(tmp_path / f"a.{ending}")
        assert count_pages(tmp_path / f"a.{ending}") == Pages(1)
        assert np.array_equal(
            read_image(tmp_path / f"a.{ending}[1]"), read_image(tmp_path / f"a.{ending}")
        )


def test_a_chain_of_pages_that_bites_its_tail_ends(tmp_path: Path) -> None:
    path = save_frames(tmp_path / "a.tif")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    last = offsets[-1]
    count = struct.unpack_from("<H", content, last)[0]
    struct.pack_into("<I", content, last + 2 + 12 * count, offsets[0])
    path.write_bytes(bytes(content))
    assert count_pages(path) == Pages(3)
    struct.pack_into("<I", content, last + 2 + 12 * count, len(content) + 99)
    path.write_bytes(bytes(content))
    assert count_pages(path) == Pages(3)


def test_a_stack_of_imagej_without_directories_is_refused(tmp_path: Path) -> None:
    stored = np.zeros((5, 10, 14), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored[:1], description="ImageJ=1.53\nimages=5\n")
    assert read_image(tmp_path / "a.tif").shape == (10, 14, 3)  # cut out of a stack
    with (tmp_path / "a.tif").open("ab") as file:
        file.write(stored.tobytes())
    with pytest.raises(ImageError, match="5 images, of which only the first has a directory"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("bands", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_page_is_written_by_itself(tmp_path: Path, bands: int, dtype: Any) -> None:
    stored = np.random.default_rng(0).integers(0, 200, (2, 9, 7, bands)).astype(dtype)
    options: dict[str, Any] = {"photometric": "rgb" if bands == 3 else "minisblack"}
    options |= {"planarconfig": "contig"} if bands > 1 else {}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in stored:
            file.write(page if bands > 1 else page[:, :, 0], **options)
    write_page(tmp_path / "a.tif[2]", tmp_path / "b.tif")
    assert count_pages(tmp_path / "b.tif") == Pages(1)
    values = read_values(tmp_path / "b.tif")
    assert values.dtype == dtype
    assert np.array_equal(values, stored[1])


def test_stacks_are_described() -> None:
    stack = Pages(12, axes="3 channels, 4 slices")
    assert describe_stacks([(Path("a.tif"), stack)]) == (
        "a.tif holds 12 pages (3 channels, 4 slices)"
    )
    assert describe_stacks([(Path("x/a.tif"), stack), (Path("b.gif"), Pages(2, "frame"))]) == (
        "2 files hold several images (a.tif: 12 pages (3 channels, 4 slices))"
    )
    assert Pages(1, smaller=2).describe() == "1 page and 2 smaller versions of it"
    assert not Pages(1).several


def test_pixel_range_and_pages_go_together(tmp_path: Path) -> None:
    stored = np.full((2, 4, 5), 1000, np.uint16)
    stored[1] = 2000
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
    found = read_image(tmp_path / "a.tif[2]", PixelRange(1, (1000,), (2000,)))
    assert (found == 255).all()
