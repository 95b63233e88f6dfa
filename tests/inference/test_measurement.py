"""Measuring a predictor on labeled images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from foveal.data.dataset import Dataset, Record
from foveal.inference.measurement import measure
from foveal.structures import RGB, Detections, ModelCard, PixelRange

CARD = ModelCard(("cell",), score_threshold=0.1)
BOX = np.array([[10, 10, 40, 40]], np.float32)


@dataclass
class Backwards:
    """Stands for a predictor: finds the one object of each image, the last image first."""

    max_detections: int = 7
    pixel_range: PixelRange = RGB
    card: ModelCard = CARD
    asked: list[Path] = field(default_factory=list)
    ranges: list[PixelRange] = field(default_factory=list)

    def stream(self, paths: list[Path], told: set[str]):
        self.asked += paths
        self.ranges.append(self.pixel_range)
        for index in reversed(range(len(paths))):
            score = np.full(1, 0.9 if index else 0.2, np.float32)
            found = Detections(BOX + index, score, np.zeros(1, np.int64), classes=("cell",))
            yield SimpleNamespace(index=index, detections=found)


def data(folder: Path, images: int) -> Dataset:
    records = tuple(
        Record(folder / f"{n}.png", 64, 64, BOX + n, np.zeros(1, np.int64), np.zeros(1, np.bool_))
        for n in range(images)
    )
    return Dataset(records, ("cell",), folder)


def test_each_image_is_compared_with_its_own_ground_truth(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    predictor = Backwards()
    evaluation = measure(
        predictor, data(tmp_path, 3), score_threshold=0.5, progress=lambda *n: done.append(n)
    )
    assert evaluation.ap == pytest.approx(1.0)
    assert (evaluation.images, evaluation.score_threshold) == (3, 0.5)
    assert evaluation.counts.bias == pytest.approx(-1 / 3)
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert evaluation.profile is not None
    assert evaluation.profile.classes == (3,), "from the model's own score threshold on"
    assert [path.stem for path in predictor.asked] == ["0", "1", "2"]


def test_no_images(tmp_path: Path) -> None:
    evaluation = measure(Backwards(), data(tmp_path, 0), score_threshold=None)
    assert (evaluation.images, evaluation.objects, evaluation.detections) == (0, 0, 0)


def test_one_range_is_chosen_for_images_of_more_than_8_bits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, value in enumerate((200, 3000)):
        tifffile.imwrite(tmp_path / f"{number}.png", np.full((64, 64), value, np.uint16))
    predictor = Backwards()
    measure(predictor, data(tmp_path, 2), score_threshold=None)
    assert predictor.ranges == [PixelRange(3, deep=(0, 4095))]
    assert "0 to 4,095 become 0 to 255. --band-range LOW,HIGH" in caplog.text
    assert len(caplog.records) == 1
