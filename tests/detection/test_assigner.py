"""One call for all methods: the same objects, whatever decides."""

from __future__ import annotations

import warnings
from dataclasses import replace

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

from foveal.detection import assignment_claims
from foveal.detection.anchors import AnchorGrid
from foveal.detection.assigner import Assigner
from foveal.detection.assignment import IGNORED, assign
from foveal.detection.assignment_atss import assign_atss
from foveal.detection.assignment_fcos import assign_fcos
from foveal.detection.assignment_task_aligned import assign_task_aligned
from foveal.detection.criterion import Criterion
from foveal.structures import RawOutput

METHODS = ("iou", "atss", "task_aligned", "fcos")
COUNTS = torch.tensor([6, 0, 2])
ANCHORS = ONE.tensor(HEIGHT, WIDTH)


def assigner(method, **how):
    return Assigner(method, strides=ONE.strides, per_location=1, **how)


def crowd(*, regions: bool):
    ignored = torch.zeros(3, 6, dtype=torch.bool)
    ignored[0, 2] = ignored[2, 1] = True
    return make_batch(random_boxes(6, 0, 2, seed=6), COUNTS, ignored if regions else None)


def test_each_method_is_its_function():
    batch, raw = crowd(regions=True), random_raw(ONE, 3)
    given = (ANCHORS, batch.boxes, batch.counts)
    levels = {"level_lengths": level_lengths(ONE), "ignored": batch.ignored}
    few = {"candidates": 4, "allow_low_quality_matches": False, "ignored_overlap": 0.3}
    expected = {
        "iou": assign(*given, ignored=batch.ignored, foreground_iou=0.3, background_iou=0.2),
        "atss": assign_atss(*given, per_location=1, **levels, **few),
        "fcos": assign_fcos(*given, strides=ONE.strides, **levels, allow_low_quality_matches=False),
    }
    made = {
        "iou": assigner("iou", foreground_iou=0.3, background_iou=0.2),
        "atss": assigner("atss", **few),
        "fcos": assigner("fcos", **few),
    }
    for method, matched in expected.items():
        found = made[method](raw, ANCHORS, batch)
        assert torch.equal(found.matched, matched)
        assert found.quality is None
    aligned = assign_task_aligned(raw, ANCHORS, batch, per_location=1, **few)
    found = assigner("task_aligned", **few)(raw, ANCHORS, batch)
    assert torch.equal(found.matched, aligned.matched)
    assert torch.equal(found.quality, aligned.quality)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_matter_only_where_it_is_said(method):
    batch = crowd(regions=False)
    one, other = (assigner(method)(random_raw(ONE, 3, seed=s), ANCHORS, batch) for s in (1, 2))
    assert torch.equal(one.matched, other.matched) != assigner(method).follows_predictions


@pytest.mark.parametrize("method", METHODS)
def test_only_anchors_near_an_object_or_in_a_region_are_no_background(method):
    batch = crowd(regions=True)
    found = assigner(method)(random_raw(ONE, 3), ANCHORS, batch).matched
    assert (found[0] == IGNORED).any()
    assert not (found[0] == 2).any()  # the region is no object
    assert (found[1] == -1).all()
    assert ((found[2] == 0) | (found[2] < 0)).all()
    assert (found < COUNTS[:, None].clamp(min=1)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("classification", ["focal", "quality_focal"])
@pytest.mark.parametrize("counts", [COUNTS, COUNTS * 0])
def test_losses_and_gradients_are_finite(method, classification, counts):
    raw = random_raw(ONE, 3)
    for level in (*raw.logits, *raw.deltas):
        level.requires_grad_()
    batch = replace(crowd(regions=False), counts=counts)
    learns = {"classification": classification, "weigh_boxes": classification != "focal"}
    losses = Criterion(assigner(method), box="giou", **learns)(raw, ANCHORS, batch)
    assert (losses.box > 0) == (counts.sum() > 0)
    for gradient in torch.autograd.grad(losses.total, [*raw.logits, *raw.deltas]):
        assert gradient.isfinite().all()
    assert losses.classification > 0


def test_compiles_whole(monkeypatch):
    monkeypatch.setattr(assignment_claims, "ROUNDS", 1)  # each is traced anew, which takes long
    grid = AnchorGrid(sizes=(32.0,), strides=(16,), scales=(1.0,), ratios=(1.0,))
    given = (
        RawOutput((torch.zeros(3, 16, 3),), (torch.zeros(3, 16, 4),)),
        grid.tensor(64, 64),
        crowd(regions=True),
    )
    method = Assigner("task_aligned", per_location=1)  # which holds what the others do, and more
    found = torch.compile(method, fullgraph=True, backend="eager")(*given)
    assert torch.equal(found.matched, method(*given).matched)
    torch.testing.assert_close(found.quality, method(*given).quality)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own, in 2.11
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", [ONE, NINE], ids=["one", "nine"])
def test_a_gpu_gives_the_same_and_waits_for_nothing(method, grid):
    if method == "fcos" and grid is NINE:
        pytest.skip("one anchor a location only")
    batch, raw = crowd(regions=True), random_raw(grid, 3)
    method = Assigner(method, strides=grid.strides, per_location=grid.per_location)
    expected = method(raw, grid.tensor(HEIGHT, WIDTH), batch)
    there = type(raw)(*(tuple(level.cuda() for level in part) for part in raw[:2]))
    anchors, batch = grid.tensor(HEIGHT, WIDTH, device="cuda"), batch.to("cuda")
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls the mode a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        found = method(there, anchors, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (found.matched.cpu() == expected.matched).float().mean() > 0.999
    if grid is ONE and method.method == "task_aligned":  # compiling takes long
        compiled = torch.compile(method, fullgraph=True)(there, anchors, batch)
        assert (compiled.matched.cpu() == expected.matched).float().mean() > 0.999
