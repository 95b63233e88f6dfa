import pytest
import torch
from torchvision.ops import batched_nms

from foveal.detection.anchors import AnchorGrid
from foveal.detection.coding import decode_deltas
from foveal.detection.decoding import decode
from foveal.structures import RawOutput

GRID = AnchorGrid(sizes=(16.0, 32.0), strides=(8, 16))
SIZE = 96
CLASSES = 4
ANCHORS = GRID.boxes(SIZE, SIZE)


def raw_output(batch: int, seed: int = 0, bias: float = -2.0) -> RawOutput:
    generator = torch.Generator().manual_seed(seed)
    lengths = [9 * rows * columns for rows, columns in GRID.level_sizes(SIZE, SIZE)]
    return RawOutput(
        tuple(torch.randn(batch, n, CLASSES, generator=generator) * 2 + bias for n in lengths),
        tuple(torch.randn(batch, n, 4, generator=generator) * 0.3 for n in lengths),
    )


def slow_decode(raw, image, *, threshold, top, nms_iou, most):
    """The paper's words, one image and one level at a time."""
    boxes, scores, labels, start = [], [], [], 0
    for logits, deltas in zip(raw.logits, raw.deltas, strict=True):
        probabilities = logits[image].sigmoid().flatten()
        above = (probabilities > threshold).nonzero().squeeze(1)
        order = probabilities[above].sort(descending=True, stable=True).indices[:top]
        index = above[order]
        anchor = index // CLASSES
        anchors = ANCHORS[start : start + logits.shape[1]]
        start += logits.shape[1]
        boxes.append(decode_deltas(deltas[image, anchor], anchors[anchor]).clamp(0, SIZE))
        scores.append(probabilities[index])
        labels.append(index % CLASSES)
    boxes, scores, labels = torch.cat(boxes), torch.cat(scores), torch.cat(labels)
    keep = batched_nms(boxes, scores, labels, nms_iou)[:most]
    return boxes[keep], scores[keep], labels[keep]


@pytest.mark.parametrize(("threshold", "top"), [(0.05, 1000), (0.3, 50), (0.0, 200)])
def test_equals_the_slow_definition_for_a_batch(threshold, top):
    raw = raw_output(3)
    extents = torch.tensor([0.0, 0.0, SIZE, SIZE]).expand(3, 4)
    found = decode(raw, ANCHORS, extents=extents, threshold=threshold, top_per_level=top)
    for image in range(3):
        boxes, scores, labels = slow_decode(
            raw, image, threshold=threshold, top=top, nms_iou=0.5, most=100
        )
        count = len(boxes)
        assert found.counts[image] == count
        torch.testing.assert_close(found.boxes[image, :count], boxes)
        torch.testing.assert_close(found.scores[image, :count], scores)
        assert torch.equal(found.labels[image, :count], labels)
        assert (found.scores[image, count:] == 0).all()


def test_a_batch_gives_the_same_as_one_by_one():
    raw = raw_output(4)
    together = decode(raw, ANCHORS)
    for image in range(4):
        single = RawOutput(
            tuple(part[image : image + 1] for part in raw.logits),
            tuple(part[image : image + 1] for part in raw.deltas),
        )
        alone = decode(single, ANCHORS)
        for one, many in zip(alone, together, strict=True):
            assert torch.equal(one[0], many[image])


def test_nothing_above_the_threshold():
    found = decode(raw_output(2, bias=-50.0), ANCHORS)
    assert found.counts.tolist() == [0, 0]
    assert found.boxes.shape == (2, 100, 4)
    assert decode(raw_output(2), ANCHORS, threshold=1.0).counts.tolist() == [0, 0]


def test_suppressing_over_all_classes_keeps_fewer():
    raw = raw_output(1)
    many = decode(raw, ANCHORS, most=1000)
    few = decode(raw, ANCHORS, most=1000, class_agnostic=True)
    assert 0 < few.counts[0] < many.counts[0]


def test_low_precision_output_gives_float32_detections():
    raw = raw_output(1)
    low = RawOutput(
        tuple(part.bfloat16() for part in raw.logits),
        tuple(part.bfloat16() for part in raw.deltas),
    )
    found = decode(low, ANCHORS)
    assert found.boxes.dtype == found.scores.dtype == torch.float32
