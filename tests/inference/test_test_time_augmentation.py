from dataclasses import replace

import numpy as np
import pytest

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


def test_fusion_takes_means_and_leaves_out_what_few_looks_are_sure_of():
    merged = merge([PLAIN, FLIPPED], **LIMITS, method="fusion", score_threshold=0.2)
    assert merged.scores.tolist() == pytest.approx([0.8, 0.6])  # and not 0.3 / 2
    assert merged.labels.tolist() == [0, 1]
    assert merged.boxes[0].tolist() == pytest.approx([0.4375, 0, 10, 10])
    assert merged.boxes[1].tolist() == pytest.approx([20, 20, 30, 30 + 2 / 3])
    assert not merged.capped
    few = merge([PLAIN, FLIPPED], **{**LIMITS, "max_detections": 1}, method="fusion")
    assert (len(few), few.left_out_score) == (1, pytest.approx(0.6))
    nothing = found([], [], [])
    assert len(merge([nothing, nothing], **LIMITS, method="fusion")) == 0
    assert merge([PLAIN], **LIMITS, method="fusion") is PLAIN


def test_soft_nms_lowers_what_another_look_has_seen_too():
    merged = merge([PLAIN, FLIPPED], **LIMITS, nms_method="soft_linear", score_threshold=0.05)
    # The second looks overlap the better first ones by 0.9 and by 10 / 11.
    assert merged.scores.tolist() == pytest.approx([0.9, 0.8, 0.3, 0.07], abs=1e-6)
    assert merged.labels.tolist() == [0, 1, 1, 0]
    nothing = found([], [], [])
    assert len(merge([nothing, nothing], **LIMITS, nms_method="soft_linear")) == 0
