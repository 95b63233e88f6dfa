"""FCOS's assignment against its definition, location by location."""

from __future__ import annotations

import pytest
import torch
from tests.detection.assignments import HEIGHT, ONE, WIDTH, level_lengths, random_boxes

from foveal.detection import assignment_pairs
from foveal.detection.assignment import BACKGROUND, IGNORED
from foveal.detection.assignment_fcos import assign_fcos

COLUMNS = WIDTH // 8


def run(boxes, counts, **how):
    return assign_fcos(
        ONE.tensor(HEIGHT, WIDTH),
        boxes,
        torch.tensor(counts),
        level_lengths=level_lengths(ONE),
        strides=ONE.strides,
        **how,
    )


def slow(boxes, counts):
    limits = {8: (0, 64), 16: (64, 128), 32: (128, float("inf"))}
    result = []
    for of_image, count in zip(boxes.double().tolist(), counts, strict=True):
        matched = []
        for stride, (low, high) in limits.items():
            for row in range(HEIGHT // stride):
                for column in range(WIDTH // stride):
                    x, y = (column + 0.5) * stride, (row + 0.5) * stride
                    best = (float("inf"), BACKGROUND)
                    for number, (x1, y1, x2, y2) in enumerate(of_image[:count]):
                        sides = (x - x1, y - y1, x2 - x, y2 - y)
                        apart = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
                        if min(sides) > 0 and apart <= 1.5 * stride and low <= max(sides) <= high:
                            best = min(best, ((x2 - x1) * (y2 - y1), number))
                    matched.append(best[1])
        result.append(matched)
    return result


@pytest.mark.parametrize("pairs", [1 << 20, 1 << 7])
def test_equals_the_definition_location_by_location(pairs, monkeypatch):
    monkeypatch.setattr(assignment_pairs, "PAIRS_AT_ONCE", pairs)
    counts = [9, 0, 4]
    boxes = random_boxes(*counts, seed=7, largest=160.0)
    found = run(boxes, counts, allow_low_quality_matches=False)
    assert found.tolist() == slow(boxes, counts)
    assert found[0].unique().numel() > 5
    assert (found[:, level_lengths(ONE)[0] :] >= 0).any()


def test_by_hand():
    # The center is (24, 24); locations within 12 px of it along both axes are 12, 20, 28 and 36.
    found = run(torch.tensor([[[0.0, 0, 48, 48]]]), [1])[0]
    rows, columns = torch.nonzero(found[: HEIGHT // 8 * COLUMNS].view(-1, COLUMNS) == 0).T
    assert sorted(set(rows.tolist())) == sorted(set(columns.tolist())) == [1, 2, 3, 4]
    assert (found >= 0).sum() == 16


def test_a_tiny_object_between_the_locations_gets_the_nearest():
    boxes = torch.tensor([[[22.0, 6, 24, 9]]])
    assert (run(boxes, [1], allow_low_quality_matches=False) == BACKGROUND).all()
    found = run(boxes, [1])[0]
    assert torch.nonzero(found == 0).tolist() == [[2]]


def test_locations_in_regions_to_ignore_and_images_without_objects():
    boxes = torch.tensor([[[0.0, 0, 48, 48], [40, 40, 80, 80]], [[0, 0, 9, 9], [0, 0, 9, 9]]])
    regions = torch.tensor([[False, True], [False, False]])
    alone = run(boxes[:1, :1], [1])
    found = run(boxes, [2, 0], ignored=regions)
    assert torch.equal(found[:1] == 0, alone == 0)
    assert (found[1] == BACKGROUND).all()
    centers = ONE.tensor(HEIGHT, WIDTH).view(-1, 2, 2).mean(dim=1)
    inside = ((centers > 40) & (centers < 80)).all(dim=1)
    assert torch.equal(found[0] == IGNORED, inside & (alone[0] != 0))
    between = torch.tensor([[[22.0, 6, 24, 9]]])
    assert torch.nonzero(run(between, [1], ignored=regions[:1, 1:])[0] == IGNORED).tolist() == [[2]]
    none = run(torch.zeros(2, 0, 4), [0, 0])
    assert none.shape == (2, sum(level_lengths(ONE)))
    assert (none == BACKGROUND).all()
