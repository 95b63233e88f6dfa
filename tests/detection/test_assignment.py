import sys
from pathlib import Path

import pytest
import torch
from tests import forked
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from foveal.detection import assignment_pairs
from foveal.detection.anchors import AnchorGrid
from foveal.detection.assignment import BACKGROUND, IGNORED, assign

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20], [100, 100, 110, 110], [0, 0, 10, 45]])


def one(boxes: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(boxes).reshape(1, -1, 4), torch.tensor([len(boxes)])


def test_by_hand():
    boxes, counts = one([[0.0, 0, 10, 20]])
    # IoU with the anchors: 0.5, 1, 0, 20 / 45 = 0.444.
    assert assign(ANCHORS, boxes, counts).tolist() == [[0, 0, BACKGROUND, IGNORED]]


def test_best_anchor_is_forced_only_when_asked():
    boxes, counts = one([[100.0, 100, 102, 102]])  # IoU 0.04 with the third anchor
    assert assign(ANCHORS, boxes, counts)[0, 2] == 0
    assert assign(ANCHORS, boxes, counts, allow_low_quality_matches=False)[0, 2] == BACKGROUND


def test_object_that_touches_no_anchor_gets_none():
    boxes, counts = one([[500.0, 500, 510, 510]])
    assert assign(ANCHORS, boxes, counts).tolist() == [[BACKGROUND] * 4]


def test_images_without_objects_are_ordinary():
    boxes = torch.zeros(2, 3, 4)
    boxes[1, 0] = torch.tensor([0.0, 0, 10, 20])
    found = assign(ANCHORS, boxes, torch.tensor([0, 1]))
    assert found[0].tolist() == [BACKGROUND] * 4
    assert found[1].tolist() == [0, 0, BACKGROUND, IGNORED]
    none = assign(ANCHORS, torch.zeros(2, 0, 4), torch.tensor([0, 0]))
    assert none.tolist() == [[BACKGROUND] * 4] * 2


def test_regions_to_ignore_are_neither_object_nor_background():
    boxes, counts = one([[0.0, 0, 10, 20], [95, 95, 120, 120]])
    ignored = torch.tensor([[False, True]])
    found = assign(ANCHORS, boxes, counts, ignored=ignored)
    assert found.tolist() == [[0, 0, IGNORED, IGNORED]]
    # An anchor that an object claims stays the object's.
    ignored = torch.tensor([[False, True]])
    boxes, counts = one([[0.0, 0, 10, 20], [0, 0, 50, 50]])
    assert assign(ANCHORS, boxes, counts, ignored=ignored)[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("allow_low_quality_matches", [True, False])
@pytest.mark.parametrize("pairs_at_once", [1 << 20, 1 << 12])
def test_equals_torchvisions_matcher_for_a_batch(
    allow_low_quality_matches, pairs_at_once, monkeypatch
):
    monkeypatch.setattr(assignment_pairs, "PAIRS_AT_ONCE", pairs_at_once)
    generator = torch.Generator().manual_seed(1)
    grid = AnchorGrid(compat="torchvision")
    anchors = grid.tensor(128, 160)
    corner = torch.rand(3, 12, 2, generator=generator) * 100
    sides = torch.rand(3, 12, 2, generator=generator) * 60 + 2
    boxes, counts = torch.cat([corner, corner + sides], dim=-1), torch.tensor([12, 5, 1])
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=allow_low_quality_matches)
    found = assign(anchors, boxes, counts, allow_low_quality_matches=allow_low_quality_matches)
    for image, count in enumerate(counts):
        expected = matcher(box_iou(boxes[image, :count], anchors))
        assert torch.equal(found[image], expected)


def test_padding_changes_nothing():
    boxes, counts = one([[0.0, 0, 10, 20]])
    padded = torch.cat([boxes, torch.full((1, 7, 4), 3.0)], dim=1)
    assert torch.equal(assign(ANCHORS, padded, counts), assign(ANCHORS, boxes, counts))


def kilobytes(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise AssertionError(f"no {key}")


def say_megabytes_of_a_peak():
    anchors = AnchorGrid().tensor(800, 1344)
    corner = torch.rand(1, 400, 2) * 700
    boxes = torch.cat([corner, corner + 60], dim=-1)
    assign(anchors[:1000], boxes, torch.tensor([400]))
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    assign(anchors, boxes, torch.tensor([400]))
    sys.stdout.write(str((kilobytes("VmHWM") - before) // 1024))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak")
def test_memory_does_not_grow_with_anchors_times_objects(tmp_path):
    # The whole matrix of 201,600 x 400 would take 308 MB, and several of them at once.
    (done,) = forked.run(say_megabytes_of_a_peak, folder=tmp_path)
    assert done.code == 0, done.complaint
    assert int(done.said) < 150
