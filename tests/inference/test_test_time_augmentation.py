from dataclasses import replace

import numpy as np

from foveal.inference.test_time_augmentation import merge
from foveal.structures import Detections

CLASSES = ("red", "white")
LIMITS = {"nms_iou": 0.5, "max_detections": 100, "class_agnostic": False}


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        classes=CLASSES,
        width=50,
        height=40,
    )


PLAIN = found([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.4], [0, 1])
FLIPPED = found([[20, 20, 30, 31], [1, 0, 10, 10], [0, 0, 10, 10]], [0.8, 0.7, 0.3], [1, 0, 1])


def test_of_what_overlaps_the_best_of_its_class_is_kept():
    merged = merge([PLAIN, FLIPPED], **LIMITS)
    assert merged.scores.tolist() == np.float32([0.9, 0.8, 0.3]).tolist()
    assert merged.labels.tolist() == [0, 1, 1]
    assert merged.boxes[1].tolist() == [20, 20, 30, 31]
    assert (merged.classes, merged.width, merged.height) == (CLASSES, 50, 40)


def test_over_all_classes():
    merged = merge([PLAIN, FLIPPED], **{**LIMITS, "class_agnostic": True})
    assert merged.labels.tolist() == [0, 1]


def test_at_most_so_many():
    for limit, capped in ((1, True), (2, True), (3, False)):
        merged = merge([PLAIN, FLIPPED], **{**LIMITS, "max_detections": limit})
        assert (len(merged), merged.capped) == (limit, capped)
    assert merge([PLAIN, replace(FLIPPED, left_out_score=0.3)], **LIMITS).capped


def test_one_look_and_looks_without_detections():
    nothing = found([], [], [])
    assert merge([PLAIN], **LIMITS) is PLAIN
    assert len(merge([nothing, nothing], **LIMITS)) == 0
    assert merge([nothing, PLAIN], **LIMITS).scores.tolist() == PLAIN.scores.tolist()
