"""What the card of a model says of the scale of its training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foveal.config import PreparationSettings
from foveal.data.dataset import Dataset, Record
from foveal.tuning.training_scale import measure_scale


def images(*sizes: tuple[int, int], side: float = 10, objects: int = 1) -> Dataset:
    boxes = np.array([[0, 0, side, side / 2]] * objects, np.float32).reshape(-1, 4)
    labels, ignored = np.zeros(objects, np.int64), np.zeros(objects, np.bool_)
    records = [
        Record(Path(f"{n}.png"), *size, boxes, labels, ignored) for n, size in enumerate(sizes)
    ]
    return Dataset(tuple(records), ("thing",), Path())


def test_scale_is_the_median_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr("foveal.tuning.training_scale.georeference_of", lambda path: None)
    data = images((1000, 500), (500, 1000), (500, 500), (200, 100), (125, 125))
    found = measure_scale(data, PreparationSettings(shorter=250, longer=1000))
    assert found.scale == pytest.approx(0.5)
    assert found.ground_resolution is None


def test_with_windows_it_is_theirs(monkeypatch):
    monkeypatch.setattr("foveal.tuning.training_scale.georeference_of", lambda path: None)
    data = images((3000, 2000), side=30)
    found = measure_scale(data, PreparationSettings(mode="windows", shorter=64, scale=2))
    assert found.scale == 2
    assert found.largest_object == 60
    # What no window shows whole is as large as a window.
    large = images((3000, 2000), side=300)
    assert (
        measure_scale(large, PreparationSettings(mode="windows", shorter=64)).largest_object == 64
    )


@pytest.mark.parametrize("data", [images(), images((100, 100), objects=0)], ids=["none", "empty"])
def test_without_images_or_objects_nothing_is_known(data, monkeypatch):
    monkeypatch.setattr("foveal.tuning.training_scale.georeference_of", lambda path: None)
    found = measure_scale(data, PreparationSettings(shorter=100))
    assert found.largest_object is None
    assert found.scale == (1 if len(data) else None)


def test_meters_of_the_ground_are_those_of_an_input_pixel(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    data = images((200, 100))
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=200, height=100, count=3, dtype="uint8",
        crs="EPSG:32631", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 4e6),
    ) as file:  # fmt: skip
        file.write(np.zeros((3, 100, 200), np.uint8))
    (record,) = data.records
    data = replace(data, records=(replace(record, path=path),))
    found = measure_scale(data, PreparationSettings(mode="windows", shorter=64, scale=2))
    assert found.ground_resolution == pytest.approx(5, rel=0.01)
