"""Images to calibrate and to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import Dataset, Record
from foveal.errors import DataError, ImageError
from foveal.exporting.images import align, decodable
from foveal.structures import ModelCard


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Three images of which the second is cut short."""
    none = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    path = tmp_path / "b.png"
    path.write_bytes(path.read_bytes()[:-20])
    records = tuple(Record(tmp_path / f"{n}.png", 64, 48, *none) for n in "abc")
    return Dataset(records, ("x",), tmp_path, "d")


def test_a_calibration_passes_over_what_training_passed_over(data: Dataset) -> None:
    assert [path.name for path in decodable(data).paths] == ["a.png", "c.png"]
    assert len(decodable(data.take([]))) == 0


def test_images_to_export_with_are_looked_at_first(data: Dataset) -> None:
    card = ModelCard(("x",))
    with pytest.raises(ImageError, match=r"1 of 3 images can't be read.*remove them\.$"):
        align(data, card)
    assert len(align(data.take([0, 2]), card)) == 2
    with pytest.raises(DataError, match="has no images"):
        align(data.take([]), card)
