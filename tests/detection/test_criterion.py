import math

import pytest
import torch
from torch.nn import functional

from foveal.detection.anchors import AnchorGrid
from foveal.detection.assignment import BACKGROUND, IGNORED, Assignment, assign
from foveal.detection.box_coding import decode_boxes, encode_boxes, encode_distances
from foveal.detection.centerness import centerness
from foveal.detection.criterion import Criterion
from foveal.detection.losses import (
    distribution_focal_loss,
    focal_loss,
    giou_loss,
    quality_focal_loss,
)
from foveal.errors import SettingsError
from foveal.geometry.boxes import iou
from foveal.structures import Batch, RawOutput

GRID = AnchorGrid(sizes=(16.0, 32.0), strides=(8, 16), ratios=(1.0,))
SIZE = 64
CLASSES = 3


def raw_output(batch: int, seed: int = 0) -> RawOutput:
    generator = torch.Generator().manual_seed(seed)
    lengths = [3 * rows * columns for rows, columns in GRID.level_sizes(SIZE, SIZE)]
    return RawOutput(
        tuple(
            torch.randn(batch, n, CLASSES, generator=generator).requires_grad_() for n in lengths
        ),
        tuple(torch.randn(batch, n, 4, generator=generator).requires_grad_() for n in lengths),
    )


def make_batch(objects: list[list[tuple[float, ...]]], ignored: list[list[bool]] | None = None):
    max_detections = max((len(image) for image in objects), default=0)
    boxes = torch.zeros(len(objects), max_detections, 4)
    labels = torch.zeros(len(objects), max_detections, dtype=torch.int64)
    regions = torch.zeros(len(objects), max_detections, dtype=torch.bool)
    for image, found in enumerate(objects):
        for index, (*box, label) in enumerate(found):
            boxes[image, index] = torch.tensor(box)
            labels[image, index] = int(label)
            regions[image, index] = bool(ignored and ignored[image][index])
    return Batch(
        images=torch.zeros(len(objects), 3, SIZE, SIZE, dtype=torch.uint8),
        boxes=boxes,
        labels=labels,
        ignored=regions,
        counts=torch.tensor([len(found) for found in objects]),
        has_ignored=ignored is not None,
    )


OBJECTS = [
    [(3.0, 5.0, 20.0, 19.0, 0), (30.0, 28.0, 62.0, 60.0, 2), (40.0, 2.0, 55.0, 20.0, 1)],
    [],
    [(10.0, 10.0, 40.0, 44.0, 1)],
]


def slow_losses(raw: RawOutput, batch: Batch, ignored: torch.Tensor | None = None):
    """The definition: dense one-hot targets, image by image."""
    anchors = GRID.tensor(SIZE, SIZE)
    logits, deltas = torch.cat(raw.logits, 1), torch.cat(raw.deltas, 1)
    matched = assign(anchors, batch.boxes, batch.counts, ignored=ignored)
    sums = []
    for image, of_image in enumerate(matched):
        targets = torch.zeros_like(logits[image])
        objects = of_image >= 0
        targets[objects, batch.labels[image][of_image[objects]]] = 1
        loss = focal_loss(logits[image], targets, alpha=0.25, gamma=2)
        expected = encode_boxes(batch.boxes[image][of_image[objects]], anchors[objects])
        sums.append(
            (
                loss[of_image != IGNORED].sum(),
                functional.smooth_l1_loss(
                    deltas[image][objects], expected, beta=0.11, reduction="sum"
                ),
                int(objects.sum()),
            )
        )
    return sums


def test_equals_the_slow_definition_and_its_gradient():
    raw, batch = raw_output(3), make_batch(OBJECTS)
    sums = slow_losses(raw, batch)
    assigned = sum(count for _, _, count in sums)
    classification = sum(value for value, _, _ in sums) / assigned
    box = sum(value for _, value, _ in sums) / assigned
    losses = Criterion()(raw, GRID.tensor(SIZE, SIZE), batch)
    torch.testing.assert_close(losses.classification, classification)
    torch.testing.assert_close(losses.box, box)
    assert losses.divisor == assigned
    slow = torch.autograd.grad(classification + box, [*raw.logits, *raw.deltas])
    fast = torch.autograd.grad(losses.total, [*raw.logits, *raw.deltas])
    for expected, got in zip(slow, fast, strict=True):
        torch.testing.assert_close(got, expected)


def test_divided_image_by_image():
    raw, batch = raw_output(3), make_batch(OBJECTS)
    sums = slow_losses(raw, batch)
    losses = Criterion(divide_by="image")(raw, GRID.tensor(SIZE, SIZE), batch)
    expected = sum(value / max(1, count) for value, _, count in sums) / 3
    torch.testing.assert_close(losses.classification, expected)
    expected = sum(value / max(1, count) for _, value, count in sums) / 3
    torch.testing.assert_close(losses.box, expected)


@pytest.mark.parametrize("box", ["smooth_l1", "l1", "giou"])
@pytest.mark.parametrize("objects", [[[], []], [[], [(3.0, 5.0, 20.0, 19.0, 0)]]])
def test_batches_without_objects_have_losses_and_gradients(box, objects):
    raw, batch = raw_output(2), make_batch(objects)
    losses = Criterion(box=box)(raw, GRID.tensor(SIZE, SIZE), batch)
    if objects == [[], []]:
        assert losses.box == 0
        assert losses.classification > 0
    gradients = torch.autograd.grad(losses.total, [*raw.logits, *raw.deltas])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients[:2])


def test_regions_to_ignore_teach_nothing():
    raw = raw_output(1)
    anchors = GRID.tensor(SIZE, SIZE)
    batch = make_batch([[(0.0, 0.0, 64.0, 64.0, 0)]], ignored=[[True]])
    losses = Criterion()(raw, anchors, batch)
    inside = ((anchors[:, :2] >= 0) & (anchors[:, 2:] <= SIZE)).all(dim=1)
    gradient = torch.cat(torch.autograd.grad(losses.total, raw.logits), dim=1)[0]
    assert inside.any()
    assert (gradient[inside] == 0).all()
    assert losses.divisor == 0


def test_alpha_none_is_the_unbalanced_loss():
    raw, batch = raw_output(1), make_batch([[]])
    losses = Criterion(alpha=None, gamma=0.0)(raw, GRID.tensor(SIZE, SIZE), batch)
    expected = functional.softplus(torch.cat(raw.logits, 1)).sum()
    torch.testing.assert_close(losses.classification, expected)


def test_low_precision_output_is_summed_in_float32():
    raw = raw_output(3)
    low = RawOutput(
        tuple(part.detach().bfloat16() for part in raw.logits),
        tuple(part.detach().bfloat16() for part in raw.deltas),
    )
    anchors = GRID.tensor(SIZE, SIZE)
    exact = RawOutput(
        tuple(part.float() for part in low.logits), tuple(part.float() for part in low.deltas)
    )
    losses = Criterion()(low, anchors, make_batch(OBJECTS))
    torch.testing.assert_close(losses, Criterion()(exact, anchors, make_batch(OBJECTS)))
    assert losses.total.dtype == torch.float32


def test_one_anchor_by_hand():
    grid = AnchorGrid(sizes=(8.0,), strides=(8,), scales=(1.0,), ratios=(1.0,))
    raw = RawOutput((torch.zeros(1, 1, 1),), (torch.zeros(1, 1, 4),))
    batch = make_batch([[(0.0, 0.0, 8.0, 8.0, 0)]])
    losses = Criterion()(raw, grid.tensor(8, 8), batch)
    assert losses.classification.item() == pytest.approx(0.25 * 0.25 * math.log(2))
    assert losses.box == 0
    assert assign(grid.tensor(8, 8), batch.boxes, batch.counts).tolist() == [[0]]
    assert BACKGROUND < 0


@pytest.mark.parametrize(
    "criterion",
    [
        Criterion(),
        Criterion(
            classification="quality_focal", box="giou", weigh_boxes=True, quality="centerness"
        ),
    ],
    ids=["plain", "everything"],
)
def test_compiles_whole(criterion):
    batch = make_batch(OBJECTS)
    raw = rich_output(3) if criterion.quality != "none" else raw_output(3)
    raw = RawOutput(*(part[1:] for part in raw))  # one level: a compilation is slow
    anchors = GRID.tensor(SIZE, SIZE)[-raw.logits[0].shape[1] :]
    compiled = torch.compile(criterion, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(raw, anchors, batch), criterion(raw, anchors, batch))


def test_divisors_are_those_of_all_processes(monkeypatch):
    """As if two processes had the same batch, and DDP took the mean of their gradients."""
    raw, batch, anchors = raw_output(3), make_batch(OBJECTS), GRID.tensor(SIZE, SIZE)
    criterion = Criterion(box="giou", weigh_boxes=True)
    alone = criterion(raw, anchors, batch)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for others, share in ((2, 1), (4, 1 / 2)):  # in all, in batches of ours
        monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, n=others: x.mul_(n))
        found = criterion(raw, anchors, batch)
        torch.testing.assert_close(found.classification, alone.classification * share)
        torch.testing.assert_close(found.box, alone.box * share)
        assert found.divisor == alone.divisor


BINS = 6


def rich_output(batch: int) -> RawOutput:
    """With a quality branch and distributions, from which the deltas do not follow here."""
    raw, generator = raw_output(batch), torch.Generator().manual_seed(1)
    more = [
        tuple(
            torch.randn(*level.shape[:2], *shape, generator=generator).requires_grad_()
            for level in raw.deltas
        )
        for shape in ((), (4, BINS))
    ]
    return RawOutput(raw.logits, raw.deltas, *more)


def test_a_branch_that_nobody_teaches_is_an_error():
    raw, anchors = rich_output(1), GRID.tensor(SIZE, SIZE)
    with pytest.raises(SettingsError, match=r"has a quality branch, and .*'none'.*'iou'"):
        Criterion()(raw, anchors, make_batch(OBJECTS[:1]))


@pytest.mark.parametrize("weigh_boxes", [False, True])
@pytest.mark.parametrize("quality", ["centerness", "iou"])
def test_quality_and_distributions_equal_their_slow_definition(quality, weigh_boxes):
    raw, batch, anchors = rich_output(3), make_batch(OBJECTS), GRID.tensor(SIZE, SIZE)
    criterion = Criterion(
        box="giou",
        box_weight=2.0,
        quality=quality,
        quality_weight=3.0,
        distribution_weight=0.5,
        weigh_boxes=weigh_boxes,
    )
    matched = criterion.match(raw, anchors, batch).matched
    _, deltas, branch, distributions = (torch.cat(part, 1) for part in raw)
    boxes = decode_boxes(deltas, anchors)
    box, of_branch, weights = 0.0, 0.0, []
    for image, anchor in (matched >= 0).nonzero().tolist():
        expected = batch.boxes[image, matched[image, anchor]]
        if quality == "iou":
            fit = iou(boxes[image, anchor].detach(), expected)
        else:
            fit = centerness(expected, anchors[anchor])
        weights.append(fit if weigh_boxes else torch.tensor(1.0))
        sides = distribution_focal_loss(
            distributions[image, anchor], encode_distances(expected, anchors[anchor])
        )
        loss = 2 * giou_loss(boxes[image, anchor], expected) + 0.5 * sides.sum() / 4
        box = box + weights[-1] * loss
        of_branch = of_branch + functional.binary_cross_entropy_with_logits(
            branch[image, anchor], fit
        )
    expected = box / sum(weights).clamp(min=1) + 3 * of_branch / len(weights)
    losses = criterion(raw, anchors, batch)
    torch.testing.assert_close(losses.box, expected)
    plain = Criterion()(RawOutput(raw.logits, raw.deltas), anchors, batch)
    torch.testing.assert_close(losses.classification, plain.classification)
    of = [*raw.deltas, *raw.quality, *raw.distributions]
    slow, fast = (torch.autograd.grad(total, of) for total in (expected, losses.box))
    for one, other in zip(slow, fast, strict=True):
        torch.testing.assert_close(one, other)


def test_branches_have_gradients_without_objects():
    raw, batch = rich_output(2), make_batch([[], []])
    losses = Criterion(quality="iou", weigh_boxes=True)(raw, GRID.tensor(SIZE, SIZE), batch)
    assert losses.box == 0
    of = [*raw.deltas, *raw.quality, *raw.distributions]
    assert all((part == 0).all() for part in torch.autograd.grad(losses.total, of))


def slow_quality_losses(raw, batch, matched, *, scores=None):
    """Dense targets, one anchor after the other: loss sums, assigned anchors, sum of scores."""
    anchors = GRID.tensor(SIZE, SIZE)
    logits, deltas = torch.cat(raw.logits, 1), torch.cat(raw.deltas, 1)
    boxes = decode_boxes(deltas, anchors)
    targets = torch.zeros_like(logits)
    box, wanted = 0.0, []
    for image, anchor in (matched >= 0).nonzero().tolist():
        index = matched[image, anchor]
        expected = batch.boxes[image, index]
        score = iou(boxes[image, anchor].detach(), expected)
        score = score if scores is None else scores[image, anchor]
        targets[image, anchor, batch.labels[image, index]] = score
        box = box + score * giou_loss(boxes[image, anchor], expected)
        wanted.append(score)
    loss = quality_focal_loss(logits, targets, gamma=2)
    return loss[matched != IGNORED].sum(), box, len(wanted), sum(wanted)


@pytest.mark.parametrize("with_scores", [False, True])
def test_the_quality_focal_loss_equals_its_slow_definition(with_scores):
    raw, batch = raw_output(3), make_batch(OBJECTS)
    anchors = GRID.tensor(SIZE, SIZE)
    criterion = Criterion(
        classification="quality_focal", box="giou", box_weight=2.0, weigh_boxes=True
    )
    matched = criterion.match(raw, anchors, batch).matched
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(matched.shape, generator=generator) if with_scores else None
    sums = criterion.sums(raw, anchors, batch, Assignment(matched, scores))
    classified, box, assigned, wanted = slow_quality_losses(raw, batch, matched, scores=scores)
    torch.testing.assert_close(sums.losses[:2].sum(dim=1), torch.stack([classified, 2 * box]))
    assert (sums.losses[2] == 0).all()
    torch.testing.assert_close(sums.divisors[1].sum(), wanted)
    torch.testing.assert_close(
        sums.divisors[0].sum(), wanted if with_scores else torch.tensor(float(assigned))
    )
    # An image without objects has nothing to divide by, and no box loss.
    assert sums.losses[1, 1] == sums.divisors[0, 1] == sums.divisors[1, 1] == 0
    if not with_scores:
        losses = criterion(raw, anchors, batch)
        expected = classified / assigned + 2 * box / wanted
        torch.testing.assert_close(losses.total, expected)
        of = [*raw.logits, *raw.deltas]
        slow, fast = (torch.autograd.grad(total, of) for total in (expected, losses.total))
        for one, other in zip(slow, fast, strict=True):
            torch.testing.assert_close(one, other)


def test_scores_of_the_assignment_mean_nothing_to_the_focal_loss():
    raw, batch, anchors = raw_output(3), make_batch(OBJECTS), GRID.tensor(SIZE, SIZE)
    matched = Criterion().match(raw, anchors, batch).matched
    plain, scored = (
        Criterion().sums(raw, anchors, batch, Assignment(matched, scores))
        for scores in (None, torch.full(matched.shape, 0.3))
    )
    torch.testing.assert_close(plain, scored)


@pytest.mark.parametrize("box", ["smooth_l1", "giou"])
@pytest.mark.parametrize("objects", [[[], []], [[], [(3.0, 5.0, 20.0, 19.0, 0)]]])
def test_quality_losses_without_objects(box, objects):
    raw, batch = raw_output(2), make_batch(objects)
    criterion = Criterion(classification="quality_focal", box=box, weigh_boxes=True)
    losses = criterion(raw, GRID.tensor(SIZE, SIZE), batch)
    if objects == [[], []]:
        assert losses.box == losses.divisor == 0
        assert losses.classification > 0
    gradients = torch.autograd.grad(losses.total, [*raw.logits, *raw.deltas])
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_regions_to_ignore_teach_no_scores():
    raw, anchors = raw_output(1), GRID.tensor(SIZE, SIZE)
    batch = make_batch([[(0.0, 0.0, 64.0, 64.0, 0)]], ignored=[[True]])
    losses = Criterion(classification="quality_focal")(raw, anchors, batch)
    inside = ((anchors[:, :2] >= 0) & (anchors[:, 2:] <= SIZE)).all(dim=1)
    gradient = torch.cat(torch.autograd.grad(losses.total, raw.logits), dim=1)[0]
    assert (gradient[inside] == 0).all()
    assert (gradient[~inside] != 0).any()


def test_quality_losses_take_low_precision():
    raw, batch, anchors = raw_output(3), make_batch(OBJECTS), GRID.tensor(SIZE, SIZE)
    criterion = Criterion(classification="quality_focal", box="giou", weigh_boxes=True)
    low = raw.map(lambda level: level.detach().bfloat16())
    found = criterion(low, anchors, batch)
    assert found.total.dtype == torch.float32
    expected = criterion(raw, anchors, batch).total
    torch.testing.assert_close(found.total, expected, rtol=0.02, atol=0)
