"""Detections as pictures in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.data.images.reading import image_size, read_image
from foveal.errors import FovealError
from foveal.outputs.pictures import write_picture
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


def test_what_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FovealError, match=r"a\.jpg: can't be written .*Choose another --out"):
        write_picture(
            tmp_path / "file" / "a.jpg", GRAY, detections(1), advice="Choose another --out."
        )
