"""The box subnet's additions: start values, order, distances, what they cost the plain network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.conftest import SMALL, make_small
from torch import nn

from foveal.acceleration import accelerated
from foveal.acceleration.accelerated import Accelerated
from foveal.config import make_settings
from foveal.data.loading.collate import make_batch
from foveal.detection.box_coding import decode_boxes, encode_distances
from foveal.models.box_heads import BoxHead, expectation, positive_distances
from foveal.models.build import build_model
from foveal.models.heads import Head
from foveal.models.retinanet import RetinaNet
from foveal.structures import Sample, Target
from foveal.training.setup import make_criterion

ONE_ANCHOR = ("anchors.scales=[1.0]", "anchors.ratios=[1.0]", "anchors.sizes=[64,128,256,512,1024]")
FCOS = (*ONE_ANCHOR, "model.box_coding=distances", "model.quality=centerness",
        "model.level_scales=true")  # fmt: skip
BINS = (*FCOS, "model.box_bins=17")
IMAGES = torch.randint(
    0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
)


def spread(model: RetinaNet) -> RetinaNet:
    """Random output layers, so that no two predictions are the same."""
    torch.manual_seed(1)
    for head in (model.classification, model.box):
        nn.init.normal_(head.output.weight, std=0.3)
        if getattr(head, "quality", None) is not None:
            nn.init.normal_(head.quality.weight, std=0.3)
    return model


def test_the_plain_network_has_no_addition() -> None:
    model, _ = make_small()
    assert isinstance(model.box, Head)
    raw = model(IMAGES)
    assert raw.quality == raw.distributions == ()


@pytest.mark.parametrize("settings", [FCOS, BINS, ("model.quality=iou",)])
def test_start_values(settings: tuple[str, ...]) -> None:
    model, _ = make_small(*settings)
    raw = model(IMAGES)
    logits, quality, deltas = (torch.cat(part, 1) for part in (raw.logits, raw.quality, raw.deltas))
    assert quality.shape == logits.shape[:2] == deltas.shape[:2]
    assert logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.05)
    assert quality.abs().max() < 0.2
    if settings is BINS:  # expectations of even distributions: 8 eighths on each side
        assert decode_boxes(deltas[0, 0], torch.tensor([0.0, 0, 64, 64])).tolist() == pytest.approx(
            [-32, -32, 96, 96], abs=2
        )
    else:  # boxes begin as the anchors
        assert deltas.abs().max() < 0.2


def test_keys_of_the_plain_network_stay() -> None:
    plain, _ = make_small(*ONE_ANCHOR)
    more, _ = make_small(*FCOS)
    new = set(more.state_dict()) - set(plain.state_dict())
    assert new == {"box.scales", "box.quality.weight", "box.quality.bias"}
    assert set(plain.state_dict()) <= set(more.state_dict())


def test_each_level_has_its_own_factor() -> None:
    model, _ = make_small("model.level_scales=true")
    spread(model)
    before = model(IMAGES).deltas
    model.box.scales.data[1] = 3.0
    after = model(IMAGES).deltas
    for level, (one, other) in enumerate(zip(before, after, strict=True)):
        torch.testing.assert_close(other, one * (3.0 if level == 1 else 1.0))


def test_order_of_anchors_and_bins() -> None:
    """channel = 100 * side + bin of one anchor; and one quality for each of two anchors."""
    head = BoxHead(
        Head(1, anchors=1, values=8, depth=0), channels=1, anchors=1, coding="distances", bins=2
    )
    nn.init.zeros_(head.output.weight)
    head.output.bias.data = torch.tensor([0.0, 1, 100, 101, 200, 201, 300, 301])
    (found,) = head((torch.zeros(1, 1, 1, 2),)).distributions
    assert found[0, 1].tolist() == [[0, 1], [100, 101], [200, 201], [300, 301]]
    head = BoxHead(Head(1, anchors=2, values=4, depth=0), channels=1, anchors=2, quality=True)
    nn.init.zeros_(head.quality.weight)
    head.quality.bias.data = torch.tensor([5.0, 6.0])
    assert head((torch.zeros(1, 1, 1, 2),)).quality[0].tolist() == [[5, 6, 5, 6]]


def test_distances_by_hand() -> None:
    """Each distance is 4 eighths of the side times e to the prediction."""
    assert positive_distances(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([4, 4 * math.e])
    assert expectation(torch.tensor([0.0, 0.0, 0.0])).item() == 1
    assert expectation(torch.log(torch.tensor([0.5, 0.25, 0.25]))).item() == pytest.approx(0.75)


@pytest.mark.parametrize("settings", [FCOS, BINS])
def test_boxes_are_at_the_distances(settings: tuple[str, ...]) -> None:
    model, _ = make_small(*settings)
    spread(model)
    levels = model.fpn(model.backbone(model.normalize(IMAGES)))
    head, level = model.box, 1
    predicted = head.output(head.tower(levels[level])).permute(0, 2, 3, 1)
    if settings is BINS:
        expected = expectation(predicted.unflatten(3, (4, 17))).flatten(1, 2)
    else:
        expected = 4 * predicted.flatten(1, 2).exp()
    start = model(IMAGES).deltas[0].shape[1]
    deltas = model(IMAGES).deltas[level]
    anchors = model.anchors(64, 96)[start : start + deltas.shape[1]]
    found = encode_distances(decode_boxes(deltas, anchors), anchors.expand(2, -1, -1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("bins", [0, 4])
def test_extreme_predictions_have_boxes_and_gradients(prediction: float, bins: int) -> None:
    head = BoxHead(
        Head(1, anchors=1, values=4 * max(bins, 1), depth=0),
        channels=1,
        anchors=1,
        coding="distances",
        bins=bins,
    )
    nn.init.constant_(head.output.bias, prediction)
    head.output.bias.data[0] *= -1
    (deltas,) = head((torch.ones(1, 1, 2, 2),)).deltas
    deltas.sum().backward()
    assert deltas.isfinite().all()
    assert head.output.weight.grad.isfinite().all()


def test_half_precision_keeps_boxes_in_float32() -> None:
    model, _ = make_small(*FCOS)
    expected = spread(model)(IMAGES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(IMAGES)
    assert found.logits[0].dtype == torch.bfloat16
    assert {level.dtype for level in found.deltas} == {torch.float32}
    gap = torch.cat(found.deltas, 1) - torch.cat(expected.deltas, 1)
    assert gap.abs().mean() < 0.02


@pytest.mark.parametrize("settings", [FCOS, BINS])
def test_acceleration_gives_the_same(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the levels side by side, which has to be used."""
    packed: list[Any] = []
    pack = accelerated.pack
    monkeypatch.setattr(accelerated, "pack", lambda levels: packed.append(1) or pack(levels))
    model, _ = make_small(*settings)
    spread(model)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        images = IMAGES.repeat(1, 1, 2, 2)  # on smaller ones the levels find no room
        for ours, theirs in zip(Accelerated(model)(images), model(images), strict=True):
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)
    assert packed


GENERALIZED = ("model.quality=none", "loss.classification=quality_focal",
               "model.box_coding=distances", "model.box_bins=17")  # fmt: skip


@pytest.mark.parametrize("objects", [2, 0])
@pytest.mark.parametrize(("preset", "changes"), [("fcos", ()), ("atss", ()), ("atss", GENERALIZED)])
def test_every_weight_of_the_presets_learns(
    preset: str, changes: tuple[str, ...], objects: int
) -> None:
    small = [*SMALL, "model.fpn_channels=32", "model.head_channels=32"]
    settings = make_settings(preset=preset, overrides=[*small, *changes])
    torch.manual_seed(0)
    model = build_model(settings, 3).train()
    boxes = np.array([[5, 8, 40, 50], [30, 10, 90, 60]], np.float32)[:objects]
    target = Target(boxes, np.arange(objects), np.zeros(objects, np.bool_))
    pixels = IMAGES[0].permute(1, 2, 0).numpy()
    batch = make_batch([(Sample(pixels, target, "a"), None)] * 2)
    raw = model(batch.images)
    losses = make_criterion(settings, ("a", "b", "c"))(raw, model.anchors(64, 96), batch)
    losses.total.backward()
    assert losses.total.isfinite()
    for name, weight in model.box.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert bool(weight.grad.any()) is (objects > 0), name
