"""Pictures are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.images.reading import image_info, image_size, read_image
from foveal.errors import FovealError
from foveal.outputs.pictures import write_image, write_picture
from foveal.structures import Detections
from foveal.visualization.boxes import draw_detections

GRAY = np.full((30, 40, 3), 100, np.uint8)


def detections(count: int) -> Detections:
    return Detections(
        np.asarray([[10, 10, 30, 25]] * count, np.float32).reshape(-1, 4),
        np.full(count, 0.9, np.float32),
        np.zeros(count, np.int64),
        classes=("cell",),
    )


@pytest.mark.parametrize("count", [0, 2])
def test_a_picture_holds_what_is_drawn(count: int, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.png"
    write_picture(path, GRAY, detections(count), min_side=0)
    expected = draw_detections(GRAY, detections(count))
    np.testing.assert_array_equal(read_image(path), expected)
    write_picture(path, GRAY, detections(count))
    assert image_size(path) == (640, 480)
    assert list(path.parent.iterdir()) == [path]


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
