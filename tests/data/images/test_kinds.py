"""Which files are images: by their endings, by their content, and what stands beside them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.images.kinds import (
    IMAGE_ENDINGS,
    describe_endings,
    has_image_ending,
    is_image_file,
    kind_of,
    lies_beside_images,
)


def beginning(kind: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (30, 20)).save(content, kind)
    return content.getvalue()[:32]


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF"]
)
def test_the_content_says_the_kind(kind: str) -> None:
    assert kind_of(beginning(kind)) == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", ""),
        (b"\xff\x0a\x18\x30", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"BMW and other makes of cars are listed", ""),
        (b"P5 Pages\n", "PPM"),
        (b"Pages", ""),
        (b"", ""),
    ],
)
def test_what_begins_alike_is_told_apart(content: bytes, kind: str) -> None:
    assert kind_of(content) == kind


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.HEIC", "a.J2K", "x/a.b.Avif"])
def test_endings_of_images_in_any_case(name: str) -> None:
    assert has_image_ending(name)


def test_every_ending_is_in_small_letters_and_once() -> None:
    assert list(IMAGE_ENDINGS) == list(dict.fromkeys(each.lower() for each in IMAGE_ENDINGS))


@pytest.mark.parametrize(
    ("name", "image"),
    [("a.JPG_large", True), ("0001", True), ("a.jpg", True), ("a.txt", False), ("a.cr2", False)],
)
def test_content_counts_where_the_ending_says_nothing(
    tmp_path: Path, name: str, image: bool
) -> None:
    path = tmp_path / name
    path.write_bytes(beginning("TIFF" if name.endswith("cr2") else "JPEG"))
    assert is_image_file(str(path)) is image


@pytest.mark.parametrize("content", [b"", b"some words"])
def test_other_content_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes").write_bytes(content)
    assert not is_image_file(str(tmp_path / "notes"))
    assert not is_image_file(str(tmp_path / "absent"))
    assert not is_image_file(str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX file system")
def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_image_file(str(tmp_path / "pipe"))


def test_annotations_lie_beside_images_and_raw_photographs_do_not() -> None:
    assert lies_beside_images("a.TXT")
    assert not lies_beside_images("a.CR2")


def test_endings_are_counted_as_they_are_written() -> None:
    paths = [Path(name) for name in ("a.txt", "a.HEIC", "b.HEIC", "README")]
    assert describe_endings(paths) == "2 .HEIC, 1 .txt, 1 without an ending"
    assert describe_endings([]) == ""
    assert describe_endings([Path(f"a.x{i}") for i in range(10)]).endswith("1 .x7 and 2 more")


def test_a_picture_with_a_wrong_ending_is_read(tmp_path: Path) -> None:
    from foveal.data.images.reading import image_info, read_image

    Image.new("RGB", (4, 3), (1, 2, 3)).save(tmp_path / "a.jpg", "PNG")
    assert image_info(tmp_path / "a.jpg").format == "PNG"
    assert np.array_equal(read_image(tmp_path / "a.jpg")[0, 0], (1, 2, 3))
