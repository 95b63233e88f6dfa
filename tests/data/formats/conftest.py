"""Small data sets with real image files, and a way to compare them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.dataset import Dataset, Record

MakeDataset = Callable[..., Dataset]
AssertSame = Callable[..., None]


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Write a small image file and give its path."""

    def make(path: Path, width: int = 64, height: int = 48) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (width, height), 128).save(path)
        return path

    return make


@pytest.fixture
def make_dataset(tmp_path: Path, picture: Callable[..., Path]) -> MakeDataset:
    """Build a data set of image files from rows (name, width, height, [(box, label, ignored)])."""

    def make(rows: list, classes: tuple[str, ...] = ("cell", "cut cell", "Plättchen")) -> Dataset:
        records = []
        for name, width, height, objects in rows:
            path = picture(tmp_path / "source" / name, width, height)
            boxes = np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4)
            labels = np.array([label for _, label, _ in objects], np.int64)
            ignored = np.array([ignored for _, _, ignored in objects], np.bool_)
            records.append(Record(path, width, height, boxes, labels, ignored))
        return Dataset(tuple(records), classes, tmp_path / "source", "test")

    return make


@pytest.fixture
def assert_same() -> AssertSame:
    """Compare two data sets in what every format must keep, images matched by name."""

    def check(found: Dataset, expected: Dataset, *, atol: float = 0.0) -> None:
        assert found.classes == expected.classes
        assert sorted(r.path.name for r in found) == sorted(r.path.name for r in expected)
        by_name = {record.path.name: record for record in found}
        for record in expected:
            other = by_name[record.path.name]
            assert (other.width, other.height) == (record.width, record.height)
            np.testing.assert_allclose(other.boxes, record.boxes, rtol=0, atol=atol)
            assert other.labels.tolist() == record.labels.tolist()
            assert other.ignored.tolist() == record.ignored.tolist()
            assert other.boxes.dtype == np.float32
            assert other.labels.dtype == np.int64

    return check
