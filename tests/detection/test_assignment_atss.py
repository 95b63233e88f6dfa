"""ATSS against a reference in plain Python, and what it does with objects that it forgets."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from tests.detection.assignments import HEIGHT, NINE, ONE, WIDTH, level_lengths, random_boxes

from foveal.detection import assignment_pairs
from foveal.detection.anchors import AnchorGrid
from foveal.detection.assignment import BACKGROUND, IGNORED
from foveal.detection.assignment_atss import assign_atss


def run(grid, boxes, counts, **how):
    return assign_atss(
        grid.tensor(HEIGHT, WIDTH),
        boxes,
        torch.tensor(counts),
        level_lengths=level_lengths(grid),
        per_location=grid.per_location,
        **how,
    )


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(sizes) - shared)


def middle(box):
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def wanted_by(box, anchors, lengths, per_location, k):
    """{anchor: IoU} of the anchors that the paper's lines 3 to 14 give one object."""
    candidates, start = [], 0
    for length in lengths:
        level = range(start, start + length)
        level = sorted(level, key=lambda i: math.dist(middle(anchors[i]), middle(box)))
        candidates += level[: k * per_location]
        start += length
    ious = [overlap(anchors[i], box) for i in candidates]
    limit = statistics.mean(ious) + statistics.stdev(ious)
    inside = {}
    for i, iou in zip(candidates, ious, strict=True):
        x, y = middle(anchors[i])
        if iou >= limit and box[0] < x < box[2] and box[1] < y < box[3]:
            inside[i] = iou
    return inside


def slow(grid, boxes, counts, k=9):
    anchors = grid.tensor(HEIGHT, WIDTH).double().tolist()
    result = []
    for of_image, count in zip(boxes.double().tolist(), counts, strict=True):
        best = [(0.0, BACKGROUND)] * len(anchors)
        for number, box in enumerate(of_image[:count]):
            wanted = wanted_by(box, anchors, level_lengths(grid), grid.per_location, k)
            for i, iou in wanted.items():
                if iou > best[i][0]:
                    best[i] = (iou, number)
        result.append([number for _, number in best])
    return result


@pytest.mark.parametrize("grid", [ONE, NINE], ids=["one", "nine"])
@pytest.mark.parametrize("pairs", [1 << 20, 1 << 9])
def test_equals_the_papers_algorithm_object_by_object(grid, pairs, monkeypatch):
    monkeypatch.setattr(assignment_pairs, "PAIRS_AT_ONCE", pairs)
    counts = [8, 0, 3]
    boxes = random_boxes(*counts, seed=4)
    found = run(grid, boxes, counts, allow_low_quality_matches=False)
    expected = slow(grid, boxes, counts)
    assert found.tolist() == expected
    assert found[0].unique().numel() > 4
    assert (found[1] == BACKGROUND).all()


def test_a_crowd_of_other_candidates():
    boxes = random_boxes(40, seed=5, largest=40.0)
    found = run(ONE, boxes, [40], candidates=4, allow_low_quality_matches=False)
    assert found.tolist() == slow(ONE, boxes, [40], k=4)


def test_by_hand():
    grid = AnchorGrid(sizes=(16.0,), strides=(8,), scales=(1.0,), ratios=(1.0,))
    # Centers 4, 12, 20, 28; the object is the anchor at (12, 12). IoU 1 there, 8 / 24 = 1/3 beside
    # it, 64 / 448 = 1/7 at the corners: mean 0.32, deviation 0.27, so that only the first is above.
    boxes = torch.tensor([[[4.0, 4, 20, 20]]])
    found = assign_atss(
        grid.tensor(32, 32), boxes, torch.tensor([1]), level_lengths=(16,), per_location=1
    )
    assert torch.nonzero(found >= 0).tolist() == [[0, 5]]


def test_a_tiny_object_between_the_locations_gets_the_nearest_free_anchor():
    boxes = torch.tensor([[[22.0, 6, 24, 9], [21.5, 6.5, 23.5, 9.5], [70, 50, 110, 90]]])
    forgotten = run(ONE, boxes, [3], allow_low_quality_matches=False)
    assert set(forgotten.unique().tolist()) == {BACKGROUND, 2}
    found = run(ONE, boxes, [3])
    # The location at (20, 4) is the nearest of both, then (20, 12).
    first, second = 2, WIDTH // 8 + 2
    assert found[0, first] in (0, 1)
    assert found[0, second] in (0, 1)
    assert [(found == number).sum().item() for number in (0, 1)] == [1, 1]
    assert torch.equal(found == 2, forgotten == 2)  # nobody lost an anchor by it


def test_no_objects_and_padding_change_nothing():
    none = run(ONE, torch.zeros(2, 0, 4), [0, 0])
    assert none.shape == (2, sum(level_lengths(ONE)))
    assert (none == BACKGROUND).all()
    boxes = random_boxes(5, 2, seed=1)
    padded = torch.cat([boxes, torch.full((2, 4, 4), 30.0)], dim=1)
    assert torch.equal(run(NINE, padded, [5, 2]), run(NINE, boxes, [5, 2]))


def test_what_a_region_to_ignore_would_get_is_ignored_unless_an_object_has_it():
    boxes = torch.tensor([[[20.0, 20, 60, 62], [21, 20, 61, 62], [81, 40, 87, 46]]])
    regions = torch.tensor([[False, True, True]])
    alone = run(ONE, boxes[:, :1], [1])
    found = run(ONE, boxes, [3], ignored=regions)
    assert torch.equal(found == 0, alone == 0)
    assert set(found.unique().tolist()) == {0, BACKGROUND, IGNORED}
    # Of the small region no anchor has half its area in it; the one on it is ignored all the same.
    tiny = run(ONE, boxes[:, 2:], [1], ignored=regions[:, 2:])
    claimed = run(ONE, boxes[:, 2:], [1])
    assert (claimed >= 0).any()
    assert torch.equal(tiny == IGNORED, claimed >= 0)
    # Where none would be its own, the nearest is ignored, as it would be an object's.
    between = torch.tensor([[[22.0, 6, 24, 9]]])
    found = run(ONE, between, [1], ignored=regions[:, 1:2])
    assert torch.equal(found == IGNORED, run(ONE, between, [1]) == 0)
    how = {"ignored": regions[:, 1:2], "allow_low_quality_matches": False}
    assert (run(ONE, between, [1], **how) == BACKGROUND).all()
    whole = run(ONE, torch.tensor([[[0.0, 0, WIDTH, HEIGHT]]]), [1], ignored=regions[:, 1:2])
    assert (whole == IGNORED).float().mean() > 0.8
    assert not (whole >= 0).any()
