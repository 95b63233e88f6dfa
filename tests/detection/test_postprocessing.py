"""From a network's output back to original pixels: by hand, for arrays, tensors and detections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foveal.detection.anchors import AnchorGrid
from foveal.detection.postprocessing import Origin, postprocess
from foveal.geometry.placement import Placement
from foveal.structures import PaddedDetections, RawOutput

GRID = AnchorGrid(sizes=(32,), strides=(32,), scales=(1.0,), ratios=(1.0,))
"""2 x 2 anchors of 32 x 32 in an input of 64 x 64."""
HALF = Placement(100, 80, scale_x=0.5, scale_y=0.5)
"""The image takes 50 x 40 pixels of the input."""
SETTINGS = {
    "size": (64, 64),
    "classes": ("cell", "platelet"),
    "score_threshold": 0.5,
    "top_per_level": 10,
    "nms_iou": 0.5,
    "max_detections": 10,
    "class_agnostic": False,
}


def output(*found: tuple[int, int], images: int = 1) -> RawOutput:
    """High logits for these anchors and classes, in each image."""
    logits = np.full((images, 4, 2), -9, np.float32)
    for number, (anchor, label) in enumerate(found):
        logits[:, anchor, label] = 4 - number
    return RawOutput((logits,), (np.zeros((images, 4, 4), np.float32),))


def test_boxes_come_back_to_the_image_and_are_cut_at_its_edge() -> None:
    origin = Origin(HALF, path=Path("a.png"))
    (found,) = postprocess(output((0, 1), (3, 0)), GRID, [origin], **SETTINGS)
    assert found.boxes.tolist() == [[0, 0, 64, 64], [64, 64, 100, 80]]
    assert found.names == ["platelet", "cell"]
    assert (found.width, found.height, found.path) == (100, 80, Path("a.png"))
    assert (np.diff(found.scores) < 0).all()


def test_a_mirrored_image_is_mirrored_back() -> None:
    (found,) = postprocess(output((0, 1), (3, 0)), GRID, [Origin(HALF, mirrored=True)], **SETTINGS)
    assert found.boxes.tolist() == [[36, 0, 100, 64], [0, 64, 36, 80]]


def test_tensors_and_detections_give_the_same_as_arrays() -> None:
    arrays = output((0, 1), (3, 0), images=3)  # the last is there to fill the batch
    origins = [Origin(HALF), Origin(Placement(64, 64))]
    expected = postprocess(arrays, GRID, origins, **SETTINGS)
    assert [len(each) for each in expected] == [2, 2]
    tensors = RawOutput(*(tuple(map(torch.from_numpy, part)) for part in arrays))
    assert postprocess(tensors, GRID, origins, **SETTINGS) == expected
    decoded = PaddedDetections(
        np.array(
            [
                [[0, 0, 32, 32], [32, 32, 50, 40], [0, 0, 0, 0]],
                [[0, 0, 32, 32], [32, 32, 64, 64], [0, 0, 0, 0]],
            ],
            "f4",
        ),
        np.stack([np.append(each.scores, np.float32(0)) for each in expected]),
        np.stack([np.append(each.labels, 0) for each in expected]),
        np.array([2, 2]),
    )
    assert postprocess(decoded, GRID, origins, **SETTINGS) == expected


@pytest.mark.parametrize(
    ("limits", "capped"),
    [
        ({"max_detections": 1}, True),
        ({"max_detections": 2}, False),
        ({"top_per_level": 1}, True),
        # The second one's score is 0.953.
        ({"max_detections": 1, "score_threshold": 0.96}, False),
        ({"top_per_level": 1, "score_threshold": 0.99}, False),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_an_image_is_marked_where_more_than_the_limit_reaches_the_threshold(
    limits: dict[str, float], capped: bool, kind: Any
) -> None:
    raw = RawOutput(*(tuple(map(kind, part)) for part in output((0, 1), (3, 0))))
    (found,) = postprocess(raw, GRID, [Origin(HALF)], **(SETTINGS | limits))
    assert found.capped is capped


@pytest.mark.parametrize(
    ("count", "threshold", "capped"), [(2, 0.5, True), (2, 0.8, False), (1, 0.5, False)]
)
def test_a_full_row_of_a_runtime_that_decodes_is_marked(
    count: int, threshold: float, capped: bool
) -> None:
    decoded = PaddedDetections(
        np.array([[[0, 0, 32, 32], [32, 32, 50, 40]]], "f4"),
        np.array([[0.9, 0.7 if count == 2 else 0]], "f4"),
        np.array([[0, 1]]),
        np.array([count]),
    )
    settings = SETTINGS | {"score_threshold": threshold}
    (found,) = postprocess(decoded, GRID, [Origin(HALF)], **settings)
    assert found.capped is capped


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_nothing_found(threshold: float) -> None:
    settings = SETTINGS | {"score_threshold": threshold}
    (found,) = postprocess(output(), GRID, [Origin(HALF)], **settings)
    assert found.boxes.shape == (0, 4)
    assert found.counts() == {"cell": 0, "platelet": 0}


def test_what_lies_beyond_the_image_is_no_object() -> None:
    (found,) = postprocess(output((1, 0)), GRID, [Origin(Placement(20, 64))], **SETTINGS)
    assert len(found) == 0
