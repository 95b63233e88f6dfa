"""Image files are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.images.encoding import write_image
from foveal.data.images.reading import image_info
from foveal.errors import FovealError

GRAY = np.full((30, 40, 3), 100, np.uint8)


def test_the_ending_says_the_format(tmp_path: Path) -> None:
    for name, kind in (("a.jpg", "JPEG"), ("a.PNG", "PNG")):
        write_image(tmp_path / name, GRAY)
        assert image_info(tmp_path / name).format == kind


def test_what_can_not_be_written_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FovealError, match=r"a\.jpg: can't be written .*Choose another --out"):
        write_image(tmp_path / "file" / "a.jpg", GRAY, advice="Choose another --out.")
    long = np.zeros((1, 70_000, 3), np.uint8)  # no JPEG has so many columns
    with pytest.raises(FovealError, match=r"long\.jpg: can't be written"):
        write_image(tmp_path / "long.jpg", long)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
