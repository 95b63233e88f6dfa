import copy
import math
from dataclasses import replace

import pytest
import torch
from tests.training.conftest import make_fake_batch, tiny_settings

from foveal.acceleration import accelerated
from foveal.errors import TrainingError
from foveal.models.build import build_model
from foveal.training.loaders import split_batch
from foveal.training.setup import make_accelerator, make_train_step
from foveal.training.step import compile_options, is_out_of_memory, running_statistics


def make(*overrides):
    settings = tiny_settings("training.clip_gradient=0", *overrides)
    torch.manual_seed(0)
    model = build_model(settings, 2)
    return make_train_step(model, settings, accelerator=make_accelerator())


def weights_of(train_step):
    return copy.deepcopy(train_step.model.state_dict())


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_steps_lower_the_loss():
    train_step = make()
    batch = make_fake_batch(3)
    losses = [train_step.step([batch], 0.02, number=number).loss for number in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_batch_without_objects_is_ordinary():
    train_step = make()
    batch = make_fake_batch(1, images=1)
    assert batch.counts.tolist() == [0]
    result = train_step.step([batch], 0.01)
    assert result.applied
    assert result.box == 0
    assert result.classification > 0
    assert math.isfinite(result.gradient_norm)


def test_a_batch_without_room_for_objects_is_ordinary():
    train_step = make()
    batch = make_fake_batch(1, images=1)
    none = torch.zeros(1, 0, 4)
    bare = replace(batch, boxes=none, labels=none[..., 0].long(), ignored=none[..., 0].bool())
    assert train_step.step([bare], 0.01).applied


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("loss.divide_by=batch", 2),
        ("loss.divide_by=batch", 3),
        ("loss.divide_by=batch", 9),
        ("loss.divide_by=image", 3),
        ("loss.divide_by=image", 4),
        ("loss.classification=quality_focal", 3),
    ],
)
def test_accumulation_is_the_whole_batch(override, parts):
    whole, pieces = make(override), make(override)
    batch = make_fake_batch(5)
    for number in range(3):
        one = whole.step([batch], 0.01, number=number)
        other = pieces.step(split_batch(batch, parts), 0.01, number=number)
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(pieces.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_nothing(bad):
    train_step = make("model.norm=live", "training.ema_decay=0.9")
    train_step.step([make_fake_batch(0)], 0.01)
    before, average = weights_of(train_step), copy.deepcopy(train_step.ema.model.state_dict())
    momentum = copy.deepcopy(train_step.optimizer.state_dict()["state"])
    batch = make_fake_batch(1)
    images = batch.images.float()
    images[1, 0, 5, 5] = bad
    batch = replace(batch, images=images)
    result = train_step.step([batch], 0.01)
    assert not result.applied
    assert same(before, train_step.model.state_dict())
    assert same(average, train_step.ema.model.state_dict())
    after = train_step.optimizer.state_dict()["state"]
    assert all(same(momentum[index], after[index]) for index in momentum)
    assert train_step.step([make_fake_batch(2)], 0.01).applied


def test_batch_norm_forgets_a_step_that_was_left_out():
    train_step = make("model.norm=live")
    assert running_statistics(train_step.model)
    with torch.no_grad():
        next(train_step.model.backbone.parameters())[0] = math.nan
    before = [value.clone() for value in running_statistics(train_step.model)]
    assert not train_step.step([make_fake_batch(1)], 0.01).applied
    for value, kept in zip(running_statistics(train_step.model), before, strict=True):
        assert torch.equal(value, kept)


def test_clipping_scales_the_whole_gradient():
    free = make("training.momentum=0", "training.weight_decay=0")
    batch = make_fake_batch(4)
    before = weights_of(free)
    norm = free.step([batch], 0.01).gradient_norm
    clipped = make(
        "training.momentum=0", "training.weight_decay=0", f"training.clip_gradient={norm / 4}"
    )
    assert clipped.step([batch], 0.01).gradient_norm == pytest.approx(norm)
    for name, weight in free.model.named_parameters():
        whole = weight - before[name]
        quarter = clipped.model.get_parameter(name) - before[name]
        torch.testing.assert_close(quarter, whole / 4, rtol=1e-3, atol=1e-6)


def test_a_frozen_backbone_stays_and_is_thawed():
    train_step = make("model.norm=live")
    train_step.freeze_backbone(train_step.model.backbone.stage_count)
    before = weights_of(train_step)
    train_step.step([make_fake_batch(0)], 0.05)
    after = train_step.model.state_dict()
    backbone = [name for name in before if name.startswith("backbone.")]
    others = [name for name, _ in train_step.model.named_parameters() if name not in backbone]
    assert all(torch.equal(before[name], after[name]) for name in backbone)
    assert not all(torch.equal(before[name], after[name]) for name in others)
    train_step.freeze_backbone(0)
    train_step.step([make_fake_batch(0)], 0.05)
    assert not all(torch.equal(before[name], after[name]) for name in backbone)


def test_frozen_stages_stay_frozen_when_the_backbone_is_thawed():
    train_step = make("model.frozen_stages=2")
    frozen = [n for n, w in train_step.model.named_parameters() if not w.requires_grad]
    assert frozen
    train_step.freeze_backbone(train_step.model.backbone.stage_count)
    train_step.freeze_backbone(0)
    assert frozen == [n for n, w in train_step.model.named_parameters() if not w.requires_grad]


@pytest.mark.parametrize(
    ("accumulate", "advice"),
    [(1, "training.accumulate=2"), (2, "training.accumulate=4"), (4, "preparation.shorter")],
)
def test_too_little_memory_says_what_to_lower(monkeypatch, accumulate, advice):
    train_step = make()

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(train_step, "_part_losses", fail)
    with pytest.raises(TrainingError, match="64 x 64 pixels") as caught:
        train_step.step(split_batch(make_fake_batch(0), accumulate), 0.01)
    assert advice in str(caught.value)


def test_other_errors_pass_through(monkeypatch):
    train_step = make()

    def fail(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(train_step, "_part_losses", fail)
    with pytest.raises(RuntimeError, match="something else"):
        train_step.step([make_fake_batch(0)], 0.01)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))


def test_bf16_is_close_to_float32():
    exact, rough = make(), make("training.precision=bf16")
    batch = make_fake_batch(6)
    one, other = exact.step([batch], 0.01), rough.step([batch], 0.01)
    assert other.loss == pytest.approx(one.loss, rel=0.03)
    assert other.loss != one.loss
    assert all(weight.dtype is torch.float32 for weight in rough.model.parameters())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_same_steps_give_the_same_bits(optimizer):
    states = []
    for _ in range(2):
        train_step = make(f"training.optimizer={optimizer}", "training.ema_decay=0.9")
        for number in range(3):
            train_step.step([make_fake_batch(number)], 0.003, number=number)
        states.append(
            train_step.model.state_dict()
            | {"average": train_step.evaluation_model.fpn.state_dict()}
        )
    average = [state.pop("average") for state in states]
    assert same(states[0], states[1])
    assert same(average[0], average[1])
    assert not same(average[0], train_step.model.fpn.state_dict())


def test_a_step_is_accelerated(monkeypatch):
    used = []

    class Watched(accelerated.FasterFunctions):
        def __enter__(self):
            used.append(len(self._folded))
            return super().__enter__()

    monkeypatch.setattr(accelerated, "FasterFunctions", Watched)
    train_step = make("model.norm=frozen")
    plain = copy.deepcopy(train_step.model).train()
    batch = make_fake_batch(3)
    anchors = plain.anchors(*batch.images.shape[-2:])
    expected = train_step.criterion(plain(batch.images), anchors, batch)
    found = train_step.step([batch], 0.01)
    assert used == [15]
    assert found.loss == pytest.approx(expected.total.item(), rel=1e-4)


@pytest.mark.parametrize("has_option", [True, False])
def test_as_many_compilations_as_there_are_input_sizes(monkeypatch, has_option):
    def compile_now(model, *, dynamic=None, recompile_limit=None):
        raise NotImplementedError

    def compile_before(model, *, dynamic=None):
        raise NotImplementedError

    monkeypatch.setattr(torch, "compile", compile_now if has_option else compile_before)
    assert compile_options() == ({"recompile_limit": 64} if has_option else {})
