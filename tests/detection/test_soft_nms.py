"""Soft-NMS of arrays and of tensors: by hand, and against the paper's algorithm."""

import numpy as np
import pytest
import torch

from foveal.detection.soft_nms import batched_soft_nms, soft_nms
from foveal.geometry.arrays import iou

LIMITS = {
    "method": "soft_linear",
    "iou_threshold": 0.5,
    "sigma": 0.5,
    "score_threshold": 0.05,
    "max_detections": 100,
}
# Each overlaps the next by 0.6, the first and the third by 1/3.
ROW = [[0, 0, 10, 10], [0, 2.5, 10, 12.5], [0, 5, 10, 15]]
SCORES = [0.9, 0.8, 0.7]


def of_arrays(boxes, scores, groups, **changes):
    keep, kept = soft_nms(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(scores, np.float32),
        np.asarray(groups, np.int64),
        **{**LIMITS, **changes},
    )
    return keep.tolist(), kept.tolist()


def of_tensors(boxes, scores, groups, **changes):
    """The same as the second image of a batch; the first has nothing, and padding follows."""
    boxes = torch.tensor(np.asarray(boxes, np.float32)).reshape(1, -1, 4)
    scores = torch.tensor(np.asarray(scores, np.float32))[None]
    groups = torch.tensor(np.asarray(groups, np.int64))[None]
    keep, kept = batched_soft_nms(
        torch.cat([torch.cat([torch.zeros_like(boxes), boxes]), torch.ones(2, 3, 4)], dim=1),
        torch.cat([torch.cat([torch.zeros_like(scores), scores]), torch.zeros(2, 3)], dim=1),
        torch.cat([groups.repeat(2, 1), torch.zeros(2, 3, dtype=torch.int64)], dim=1),
        **{**LIMITS, **changes},
    )
    assert keep.shape == kept.shape == (2, {**LIMITS, **changes}["max_detections"])
    assert (keep[0] == -1).all()
    assert not kept[0].any()
    real = keep[1] >= 0
    assert not kept[1][~real].any()
    return keep[1][real].tolist(), kept[1][real].tolist()


FORMS = pytest.mark.parametrize("form", [of_arrays, of_tensors])


@FORMS
def test_by_hand_linear(form):
    # The first lowers the second, 0.8 * 0.4 = 0.32; then the third is the best, and lowers it too.
    keep, scores = form(ROW, SCORES, [0, 0, 0])
    assert keep == [0, 2, 1]
    assert scores == pytest.approx([0.9, 0.7, 0.128], abs=1e-6)
    assert form(ROW, SCORES, [0, 0, 0], score_threshold=0.2)[0] == [0, 2]
    assert form(ROW, SCORES, [0, 0, 0], max_detections=1)[0] == [0]
    keep, scores = form(ROW, SCORES, [0, 1, 0])
    assert (keep, scores) == ([0, 1, 2], pytest.approx(SCORES, abs=1e-6))


@FORMS
def test_by_hand_gaussian(form):
    # exp(-0.36 / 0.5) = 0.4868 and exp(-(1/3)^2 / 0.5) = 0.8007
    keep, scores = form(ROW, SCORES, [0, 0, 0], method="soft_gaussian")
    assert keep == [0, 2, 1]
    assert scores == pytest.approx([0.9, 0.7 * 0.80074, 0.8 * 0.48675**2], abs=1e-4)
    wide = form(ROW, SCORES, [0, 0, 0], method="soft_gaussian", sigma=1e6)
    assert wide == ([0, 1, 2], pytest.approx(SCORES, abs=1e-4))


@FORMS
def test_nothing_one_and_boxes_that_are_none(form):
    assert form([], [], []) == ([], [])
    assert form(ROW[:1], [0.05], [0]) == ([], [])
    broken = [[0, 0, 10, 10], [np.nan, 0, 10, 10], [5, 5, 5, 5]]
    assert form(broken, SCORES, [0, 0, 0]) == ([0, 1, 2], pytest.approx(SCORES))
    same = [ROW[0]] * 3
    assert form(same, [0.5] * 3, [0] * 3) == ([0], [0.5])


def test_what_one_view_has_seen_twice_is_lowered_by_other_views_alone():
    boxes, scores = np.array([ROW[0], ROW[1], ROW[0]], np.float32), np.array(SCORES, np.float32)
    keep, kept = soft_nms(boxes, scores, np.zeros(3, np.int64), **LIMITS, views=np.array([0, 0, 1]))
    assert keep.tolist() == [0, 1]
    assert kept.tolist() == pytest.approx([0.9, 0.8])


def by_definition(boxes, scores, groups, *, method, iou_threshold, sigma, score_threshold):
    """Figure 2 of the paper, candidate by candidate, in float64."""
    left = {i: float(score) for i, score in enumerate(scores)}
    keep, kept = [], []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        score = left.pop(best)
        if score <= score_threshold:
            break
        keep.append(best)
        kept.append(score)
        for other in left:
            if groups[other] == groups[best]:
                overlap = float(iou(boxes[best].astype(float), boxes[other].astype(float)))
                if method == "soft_gaussian":
                    left[other] *= np.exp(-(overlap**2) / sigma)
                elif overlap > iou_threshold:
                    left[other] *= 1 - overlap
    return keep, kept


@FORMS
@pytest.mark.parametrize("method", ["soft_linear", "soft_gaussian"])
@pytest.mark.parametrize("seed", range(2))
def test_equals_the_definition(form, method, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (60, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (60, 2))], 1).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, 60))[::-1].astype(np.float32)
    groups = rng.integers(0, 2, 60)
    expected, their_scores = by_definition(
        boxes, scores, groups, method=method, iou_threshold=0.5, sigma=0.5, score_threshold=0.05
    )
    keep, kept = form(boxes, scores, groups, method=method)
    assert 10 < len(keep) < 60
    assert keep == expected
    np.testing.assert_allclose(kept, their_scores, atol=1e-5)
