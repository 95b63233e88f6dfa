"""The list of published checkpoints: complete, each named once."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError
from torchvision.models.detection import (
    RetinaNet_ResNet50_FPN_V2_Weights,
    RetinaNet_ResNet50_FPN_Weights,
)

from foveal.checkpoints.published import (
    PublishedCheckpoint,
    find_published,
    published_checkpoints,
)


def test_names_and_files_are_given_once() -> None:
    for attribute in ("name", "url"):
        counts = Counter(getattr(entry, attribute) for entry in published_checkpoints())
        assert max(counts.values()) == 1, counts.most_common(1)
    assert {entry.source for entry in published_checkpoints()} == {
        "torchvision",
        "detectron2",
        "mmdetection",
        "deepforest",
        "odtk",
        "yhenon",
    }


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("torchvision-r50", RetinaNet_ResNet50_FPN_Weights.COCO_V1),
        ("torchvision-r50-v2", RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1),
    ],
)
def test_torchvisions_are_as_torchvision_says(name: str, weights: object) -> None:
    entry = find_published(name)
    assert entry is not None
    assert weights.url.rsplit("/", 1)[-1] in entry.note  # type: ignore[attr-defined]
    assert f"{type(weights).__name__}.COCO_V1.get_state_dict()" in entry.note
    meta = weights.meta  # type: ignore[attr-defined]
    published = meta["_metrics"]["COCO-val2017"]["box_map"]
    assert published == entry.AP
    assert entry.megabytes == pytest.approx(meta["_file_size"] * 2**20 / 1e6, abs=0.1)
    assert entry.size == f"{entry.megabytes:.0f} MB"


def test_sizes_say_what_they_are() -> None:
    entry = find_published("detectron2-r50-1x")
    assert entry is not None
    assert entry.size == "~152 MB"
    assert entry.model_copy(update={"megabytes": None}).size == ""
    assert find_published("nothing") is None


def test_a_wrong_entry_is_refused() -> None:
    entry = published_checkpoints()[0].model_dump()
    for change in ({"AP": 0.0}, {"url": "http://x"}, {"source": "keras"}, {"fps": 3}):
        with pytest.raises(ValidationError):
            PublishedCheckpoint.model_validate(entry | change)
