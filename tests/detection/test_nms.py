"""NMS of arrays and of tensors against the definition, candidate by candidate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import ops

import foveal.detection.nms as nms_module
from foveal.detection.nms import batched_nms, nms
from foveal.geometry.arrays import iou


def candidates(count: int, seed: int, spread: float, *, whole: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, spread, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 21, (count, 2))], axis=1)
    return (boxes.round() if whole else boxes).astype(np.float32)


def by_definition(boxes, groups, *, iou_threshold, max_detections) -> list[int]:
    keep: list[int] = []
    for index in range(len(boxes)):
        rivals = [other for other in keep if groups[other] == groups[index]]
        if not (iou(boxes[rivals], boxes[index]) > iou_threshold).any():
            keep.append(index)
    return keep[:max_detections]


def of_arrays(boxes, groups, *, iou_threshold=0.5, max_detections=100) -> list[int]:
    limits = {"iou_threshold": iou_threshold, "max_detections": max_detections}
    return nms(np.asarray(boxes, np.float32), np.asarray(groups), **limits).tolist()


def of_tensors(boxes, groups, *, iou_threshold=0.5, max_detections=100) -> list[int]:
    keep = batched_nms(
        torch.tensor(np.asarray(boxes, np.float32))[None],
        torch.tensor(np.asarray(groups))[None],
        torch.tensor([len(boxes)]),
        iou_threshold=iou_threshold,
        max_detections=max_detections,
    )
    assert keep.shape == (1, max_detections)
    return keep[keep >= 0].tolist()


FORMS = pytest.mark.parametrize("form", [of_arrays, of_tensors])


@FORMS
def test_by_hand_a_dropped_candidate_drops_nobody(form):
    # Each overlaps the next by 0.6, not the one after: greedy keeps the first and the third.
    boxes = [[0, 0, 10, 10], [0, 2.5, 10, 12.5], [0, 5, 10, 15]]
    assert form(boxes, [0, 0, 0]) == [0, 2]
    assert form(boxes[1:], [0, 0]) == [0]
    assert form(boxes, [0, 1, 0]) == [0, 1, 2]


@FORMS
def test_an_overlap_that_equals_the_threshold_suppresses_nobody(form):
    half = [[0, 0, 10, 10], [0, 0, 10, 5]]
    assert form(half, [0, 0], iou_threshold=0.5) == [0, 1]
    assert form(half, [0, 0], iou_threshold=0.4999) == [0]
    tenths = [[0, 0, 10, 10], [0, 0, 10, 6]]
    assert form(tenths, [0, 0], iou_threshold=0.6) == [0, 1]


@FORMS
def test_nothing_and_one(form):
    assert form(np.zeros((0, 4)), np.zeros(0, np.int64)) == []
    assert form([[1, 2, 3, 4]], [7]) == [0]


@FORMS
def test_of_the_same_box_the_first_is_kept(form):
    boxes = np.tile(np.array([3, 4, 50, 60], np.float32), (500, 1))
    assert form(boxes, np.zeros(500, np.int64)) == [0]
    assert form(boxes, np.arange(500) % 3) == [0, 1, 2]


@FORMS
def test_boxes_without_area_and_without_numbers(form):
    boxes = [[5, 5, 5, 9], [5, 5, 5, 9], [np.nan, 0, 9, 9], [0, 0, 9, 9], [0, 0, 9, 9]]
    assert form(boxes, [0] * 5) == [0, 1, 2, 3]
    endless = [[-np.inf, 0, np.inf, 9], [-np.inf, 0, np.inf, 9], [0, 0, 9, 9]]
    assert form(endless, [0] * 3) == [0, 2]


@FORMS
def test_many_classes_at_large_coordinates(form):
    # Moved apart by class in float32, as torchvision.ops.batched_nms does it, boxes are rounded.
    boxes = np.array([[5000, 5000, 5008, 5008], [5000, 5000, 5004.0045, 5008]], np.float32)
    labels = np.array([90, 90])
    score_threshold = float(iou(boxes[0], boxes[1])) - 1e-5
    assert form(boxes, labels, iou_threshold=score_threshold) == [0]
    scores = torch.tensor([0.9, 0.8])
    theirs = ops.batched_nms(torch.tensor(boxes), scores, torch.tensor(labels), score_threshold)
    assert theirs.tolist() == [0, 1]


@FORMS
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    count=st.sampled_from([1, 40, 64, 65, 600]),
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([20.0, 200.0]),
    whole=st.booleans(),
    iou_threshold=st.sampled_from([0.1, 0.5, 0.9]),
    max_detections=st.sampled_from([1, 30, 10_000]),
)
def test_equals_the_definition(form, count, seed, spread, whole, iou_threshold, max_detections):
    boxes = candidates(count, seed, spread, whole=whole)
    groups = np.arange(count) % 3
    limits = {"iou_threshold": iou_threshold, "max_detections": max_detections}
    assert form(boxes, groups, **limits) == by_definition(boxes, groups, **limits)


@pytest.mark.parametrize(("front", "together"), [(1024, 2048), (50, 130), (1, 1)])
def test_each_image_of_a_batch_is_on_its_own(front, together, monkeypatch):
    monkeypatch.setattr(nms_module, "_USUALLY_ENOUGH", front)
    monkeypatch.setattr(nms_module, "_LARGEST_CALL", together)
    counts = [300, 0, 7, 300, 120, 1]
    boxes = np.stack([candidates(300, seed, 60.0) for seed in range(len(counts))])
    groups = np.tile(np.arange(300) % 2, (len(counts), 1))
    for max_detections in (5, 60):
        keep = batched_nms(
            torch.tensor(boxes),
            torch.tensor(groups),
            torch.tensor(counts),
            iou_threshold=0.5,
            max_detections=max_detections,
        )
        assert keep.shape == (len(counts), max_detections)
        for image, count in enumerate(counts):
            expected = of_arrays(
                boxes[image, :count], groups[image, :count], max_detections=max_detections
            )
            assert keep[image].tolist() == expected + [-1] * (max_detections - len(expected))


def test_a_batch_of_no_images():
    keep = batched_nms(
        torch.zeros(0, 5, 4),
        torch.zeros(0, 5, dtype=torch.int64),
        torch.zeros(0, dtype=torch.int64),
        iou_threshold=0.5,
        max_detections=3,
    )
    assert keep.shape == (0, 3)
