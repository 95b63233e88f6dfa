"""Task-aligned assignment against its definition, object by object."""

from __future__ import annotations

import math

import pytest
import torch
from tests.detection.assignments import (
    HEIGHT,
    NINE,
    ONE,
    WIDTH,
    level_lengths,
    make_batch,
    random_boxes,
    random_raw,
)
from torch import Tensor
from torchvision.ops import box_iou

from foveal.detection import assignment_pairs
from foveal.detection.assignment import BACKGROUND, IGNORED
from foveal.detection.assignment_task_aligned import assign_task_aligned
from foveal.detection.box_coding import decode_boxes
from foveal.structures import RawOutput


def run(grid, raw, batch, **how):
    return assign_task_aligned(
        raw, grid.tensor(HEIGHT, WIDTH), batch, per_location=grid.per_location, **how
    )


def slow(grid, raw: RawOutput[Tensor], batch, m=13):
    anchors = grid.tensor(HEIGHT, WIDTH)
    matched, quality = [], []
    for image, count in enumerate(batch.counts.tolist()):
        scores = torch.cat([level[image] for level in raw.logits]).double().sigmoid()
        predicted = decode_boxes(torch.cat([level[image] for level in raw.deltas]), anchors)
        best = {}  # anchor: (its largest IoU so far, the object)
        t, u = {}, {}
        for number in range(count):
            box, label = batch.boxes[image, number], int(batch.labels[image, number])
            ious = box_iou(predicted, box[None])[:, 0].double()
            aligned = {}
            for i, anchor in enumerate(anchors.tolist()):
                x, y = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
                if box[0] < x < box[2] and box[1] < y < box[3] and ious[i] > 0:
                    aligned[i] = float(scores[i, label] * ious[i] ** 6)
                    t[i, number], u[i, number] = aligned[i], float(ious[i])
            for i in sorted(aligned, key=lambda i: -aligned[i])[:m]:
                if u[i, number] > best.get(i, (0.0,))[0]:
                    best[i] = (u[i, number], number)
        matched.append([best[i][1] if i in best else BACKGROUND for i in range(len(anchors))])
        of_image = [0.0] * len(anchors)
        for number in range(count):
            owned = [i for i, (_, owner) in best.items() if owner == number]
            for i in owned:
                share = t[i, number] / max(t[j, number] for j in owned)
                of_image[i] = share * max(u[j, number] for j in owned)
        quality.append(of_image)
    return matched, torch.tensor(quality)


@pytest.mark.parametrize("grid", [ONE, NINE], ids=["one", "nine"])
@pytest.mark.parametrize("pairs", [1 << 20, 1 << 9])
def test_equals_the_definition_object_by_object(grid, pairs, monkeypatch):
    monkeypatch.setattr(assignment_pairs, "PAIRS_AT_ONCE", pairs)
    counts = torch.tensor([7, 0, 3])
    batch = make_batch(random_boxes(*counts.tolist(), seed=8), counts)
    raw = random_raw(grid, 3)
    found = run(grid, raw, batch, allow_low_quality_matches=False)
    matched, quality = slow(grid, raw, batch)
    assert found.matched.tolist() == matched
    torch.testing.assert_close(found.quality, quality, rtol=1e-4, atol=1e-6)
    assert found.quality.dtype == torch.float32
    assert found.matched[0].unique().numel() > 4


def test_the_best_aligned_anchor_is_to_score_as_high_as_the_largest_iou():
    grid = ONE
    batch = make_batch(torch.tensor([[[28.0, 28, 60, 60]]]), torch.tensor([1]))
    raw = RawOutput(
        tuple(torch.full((1, length, 3), -4.0) for length in level_lengths(grid)),
        tuple(torch.zeros(1, length, 4) for length in level_lengths(grid)),
    )
    found = run(grid, raw, batch, candidates=5)
    best = found.quality.argmax()
    assert best == 5 * (WIDTH // 8) + 5  # the anchor at (44, 44), which is the object
    assert found.quality[0, best] == pytest.approx(1.0)
    assert (found.matched == 0).sum() == 5
    # 8 px beside it: IoU 24 / 40 = 0.6, with equal scores t / max t = 0.6^6.
    assert found.quality[0, best + 1] == pytest.approx(0.6**6)
    # A lower score of the best one makes the others' larger beside it.
    raw.logits[0][0, best] -= 1.0
    sure = run(grid, raw, batch, candidates=5).quality
    assert sure[0, best] == pytest.approx(1.0)
    ratio = (1 + math.exp(5)) / (1 + math.exp(4))
    assert sure[0, best + 1] == pytest.approx(0.6**6 * ratio)


def test_tiny_objects_no_objects_and_predictions_far_off():
    tiny = torch.tensor([[[22.0, 6, 24, 9]]])
    raw = random_raw(ONE, 1, spread=0.0)
    batch = make_batch(tiny, torch.tensor([1]))
    assert (run(ONE, raw, batch, allow_low_quality_matches=False).matched == BACKGROUND).all()
    found = run(ONE, raw, batch)
    assert torch.nonzero(found.matched[0] == 0).tolist() == [[2]]
    assert found.quality[0, 2] == pytest.approx(6 / 32**2)
    away = RawOutput(raw.logits, tuple(level + 50.0 for level in raw.deltas))
    far = run(ONE, away, batch)
    assert torch.equal(far.matched, found.matched)
    assert (far.quality == 0).all()
    none = run(ONE, raw, make_batch(torch.zeros(1, 0, 4), torch.tensor([0])))
    assert (none.matched == BACKGROUND).all()
    assert none.quality.shape == none.matched.shape
    assert (none.quality == 0).all()


def test_regions_to_ignore_take_nothing_from_objects():
    counts = torch.tensor([6, 2])
    boxes, raw = random_boxes(6, 2, seed=9), random_raw(ONE, 2)
    regions = torch.zeros(2, 6, dtype=torch.bool)
    regions[0, [1, 4]] = True
    found = run(ONE, raw, make_batch(boxes, counts, regions), allow_low_quality_matches=False)
    kept = [0, 2, 3, 5]
    alone = make_batch(boxes, counts)
    assert torch.equal(alone.labels, make_batch(boxes, counts, regions).labels)
    matched, _ = slow(ONE, raw, make_batch(boxes, counts, regions))
    free = torch.tensor(matched)
    for number in kept:
        owned = found.matched[0] == number
        assert (owned | ~(free[0] == number)).all()  # it has at least what it had beside them
    assert (found.matched[0] == IGNORED).any()
    assert not torch.isin(found.matched[0], torch.tensor([1, 4])).any()
    assert (found.quality[found.matched < 0] == 0).all()
