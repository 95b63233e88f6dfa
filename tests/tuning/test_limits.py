"""The limits of decoding, which follow the fullest training image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foveal.config import make_settings
from foveal.data.dataset import ANY_CLASS, Dataset, Record
from foveal.tuning.data_defaults import fit_to_data
from foveal.tuning.limits import follow_objects, limit_in_words


def images(*objects: int, regions: int = 0) -> Dataset:
    """Images with so many objects, each with so many regions to ignore besides."""
    records = []
    for number, count in enumerate(objects):
        total = count + regions
        corners = np.arange(total, dtype=np.float32) * 12
        boxes = np.stack([corners, corners, corners + 10, corners + 10], axis=1)
        ignored = np.arange(total) >= count
        labels = np.where(ignored, ANY_CLASS, 0)
        records.append(Record(Path(f"{number}.png"), 640, 480, boxes, labels, ignored))
    return Dataset(tuple(records), ("cell",), Path())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (images(), (100, 1000)),
        (images(0), (100, 1000)),
        (images(0, 50), (100, 1000)),
        (images(51, 3), (102, 1020)),
        (images(200, 7), (400, 4000)),
        (images(60, regions=500), (120, 1200)),
    ],
    ids=["no image", "no object", "usual", "just above", "dense", "regions to ignore"],
)
def test_twice_the_objects_of_the_fullest_image_and_never_below_the_usual(
    data: Dataset, expected: tuple[int, int]
) -> None:
    decoding = follow_objects(make_settings(), data).decoding
    assert (decoding.max_detections, decoding.top_per_level) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("max_detections=100", (100, 4000)), ("top_per_level=1000", (400, 1000))],
)
def test_what_was_set_stays(given: str, expected: tuple[int, int]) -> None:
    decoding = follow_objects(make_settings(overrides=[f"decoding.{given}"]), images(200)).decoding
    assert (decoding.max_detections, decoding.top_per_level) == expected


def test_a_detector_is_made_with_them() -> None:
    given = ["anchors.scales=[1.0]", "preparation.mean=[0,0,0]"]
    settings, _ = fit_to_data(make_settings(overrides=given), images(200))
    assert settings.decoding.max_detections == 400


@pytest.mark.parametrize(
    ("overrides", "data", "told"),
    [
        ([], images(), ""),
        ([], images(50), ""),
        (
            [],
            images(3, 200),
            "At most 400 detections an image, since the fullest training image has 200 objects.",
        ),
        (["decoding.max_detections=300"], images(200), ""),
        (
            ["decoding.max_detections=100"],
            images(200),
            "decoding.max_detections = 100 is set, but the fullest training image has 200 objects: "
            "what is found beyond 100 will be left out, and counts will be too low. "
            "Expected more: --set decoding.max_detections=400",
        ),
    ],
    ids=["no image", "usual", "raised", "set", "set too low"],
)
def test_what_is_unusual_is_told(overrides: list[str], data: Dataset, told: str) -> None:
    settings = follow_objects(make_settings(overrides=overrides), data)
    assert limit_in_words(settings.decoding, data, settings.preparation) == told
