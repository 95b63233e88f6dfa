import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tests.listener import Listener
from tests.training.conftest import (
    FakeBatches,
    distillation_of_parts,
    make_fake_batch,
    tiny_settings,
)

from foveal.checkpoints import model_file
from foveal.errors import ModelFileError, SettingsError, TrainingError, WeightsError
from foveal.models.build import build_model
from foveal.structures import ModelCard
from foveal.training import teacher as teacher_module
from foveal.training import trainer
from foveal.training.distillation_choice import check_teacher
from foveal.training.loaders import split_batch
from foveal.training.pyramid_distillation import (
    PyramidDistillation,
    match_levels,
    pkd_loss,
    standardize,
)
from foveal.training.setup import make_accelerator, make_train_step
from foveal.training.step import LossModule
from foveal.training.teacher import read_teacher

CARD = ModelCard(("a", "b", "c"))  # other classes than the student's
STRIDES = ("anchors.strides=[8, 16, 32, 64]", "anchors.sizes=[16, 32, 64, 128]")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A model with one more level than the student has, and half as many channels again."""
    return write(tmp_path_factory.mktemp("teacher") / "big.safetensors")


def write(path, *overrides, seed=7):
    settings = tiny_settings("model.fpn_channels=12", "model.norm=live", *STRIDES, *overrides)
    torch.manual_seed(seed)
    model = build_model(settings, 3)
    model_file.save(path, model, settings, CARD)
    return path


def make(path, *overrides):
    named = () if path is None else (f"training.teacher={path}",)
    settings = tiny_settings("training.clip_gradient=0", *named, *overrides)
    torch.manual_seed(0)
    model = build_model(settings, 2)
    return make_train_step(model, settings, accelerator=make_accelerator())


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# The loss ------------------------------------------------------------------------------------


def test_by_hand():
    """Of the values 1, 2, 3, 6 and 2, 1, 4, 5 Pearson's correlation is 10 / sqrt(140)."""
    student = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    target = standardize(torch.tensor([2.0, 1.0, 4.0, 5.0]).reshape(1, 1, 2, 2))
    assert pkd_loss(student, target).item() == pytest.approx(1 - 10 / math.sqrt(140), abs=1e-5)


def test_it_is_one_minus_pearsons_correlation():
    student, teacher = noise(3, 5, 4, 6), noise(3, 5, 4, 6, seed=1)
    rows = [each.transpose(0, 1).flatten(1) for each in (student, teacher)]
    expected = [1 - torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*rows, strict=True)]
    found = pkd_loss(student, standardize(teacher))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


def test_scale_and_shift_of_a_channel_do_not_matter():
    teacher = noise(2, 3, 4, 4)
    scale, shift = (torch.tensor(each).view(1, 3, 1, 1) for each in ((0.5, 2.0, 30), (9.0, 0, -4)))
    assert pkd_loss(teacher * scale + shift, standardize(teacher)).item() < 1e-5
    assert pkd_loss(-teacher, standardize(teacher)).item() == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (2, 2, 3, 3)])
def test_constant_channels_give_a_finite_gradient(shape):
    features = torch.full(shape, 3.0, requires_grad=True)
    pkd_loss(features, standardize(torch.ones(shape))).backward()
    assert torch.equal(features.grad, torch.zeros(shape))


# The step ------------------------------------------------------------------------------------


def test_only_the_student_and_the_connections_learn(teacher):
    train_step = make(teacher)
    own = train_step.distillation
    network = own._teacher[0].model
    before = copy.deepcopy(network.state_dict())
    student = copy.deepcopy(train_step.model.state_dict())
    connections = copy.deepcopy(own.state_dict())
    result = train_step.step([make_fake_batch(1)], 0.05)
    assert result.applied
    assert 0 < result.distillation < 10 * 2 * 3  # weight, largest loss, levels
    assert result.loss == result.classification + result.box + result.distillation
    assert not network.training
    assert all(weight.grad is None for weight in network.parameters())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert [tuple(value.shape[:2]) for value in connections.values() if value.ndim == 4] == [
        (12, 8)
    ] * 3
    after = own.state_dict()
    assert not any(
        torch.equal(value, after[name]) for name, value in connections.items() if value.ndim > 1
    )
    assert not torch.equal(student["fpn.lateral.0.weight"], train_step.model.fpn.lateral[0].weight)
    module = LossModule(train_step.model, train_step.criterion, own)
    assert not any("_teacher" in name for name in module.state_dict())


def test_images_without_objects_teach_too(teacher):
    empty = make_fake_batch(1, images=1)
    assert empty.counts.tolist() == [0]
    taught, alone = make(teacher), make(None)
    results = [train_step.step([empty], 0.02) for train_step in (taught, alone)]
    assert results[0].distillation > 0
    assert results[1].distillation == 0
    assert results[0].classification == pytest.approx(results[1].classification)
    assert results[0].box == results[1].box == 0


def test_steps_bring_the_pyramids_nearer(teacher):
    train_step = make(teacher)
    batch = make_fake_batch(2)
    losses = [train_step.step([batch], 0.01, number=n).distillation for n in range(5)]
    assert losses[-1] < 0.95 * losses[0]


def test_its_own_copy_has_nothing_to_teach(tmp_path):
    """The same network with frozen norms: no convolution stands between, and the loss is 0."""
    settings = tiny_settings("model.norm=frozen")
    torch.manual_seed(0)
    model_file.save(
        tmp_path / "same.safetensors", build_model(settings, 2), settings, ModelCard(("a", "b"))
    )
    train_step = make(tmp_path / "same.safetensors", "model.norm=frozen")
    assert not list(train_step.distillation.parameters())
    assert train_step.step([make_fake_batch(1)], 0.01).distillation < 1e-4


def test_a_teacher_has_its_own_mean_and_deviation(tmp_path, teacher):
    other = write(tmp_path / "other.safetensors", "preparation.mean=[0, 0, 0]")
    images = make_fake_batch(1).images
    targets = [make(path).distillation.targets(images, torch.float32) for path in (teacher, other)]
    assert [each.shape for each in targets[0]] == [(4, 12, 8, 8), (4, 12, 4, 4), (4, 12, 2, 2)]
    assert not any(torch.allclose(one, two) for one, two in zip(*targets, strict=True))


def test_accumulated_parts_weigh_as_their_losses_do(teacher):
    """A part's loss against the teacher counts by its assigned anchors."""
    parts = split_batch(make_fake_batch(5), 2)
    expected = distillation_of_parts(lambda: make(teacher), parts)
    found = make(teacher).step(parts, 0.01)
    assert found.distillation == pytest.approx(expected, rel=1e-4)


def test_accumulated_parts_without_objects_weigh_alike(teacher):
    batch = make_fake_batch(5)
    none = torch.zeros(4, 0, 4)
    bare = replace(
        batch,
        boxes=none,
        labels=none[..., 0].long(),
        ignored=none[..., 0].bool(),
        counts=torch.zeros(4, dtype=torch.long),
    )
    parts = split_batch(bare, 2)
    each = [make(teacher).step([part], 0.01).distillation for part in parts]
    assert make(teacher).step(parts, 0.01).distillation == pytest.approx(sum(each) / 2, rel=1e-4)


def test_in_bfloat16_it_is_nearly_the_same(teacher):
    exact, rough = (
        make(teacher, f"training.precision={precision}").step([make_fake_batch(3)], 0.01)
        for precision in ("float32", "bf16")
    )
    assert rough.distillation == pytest.approx(exact.distillation, rel=0.05)


# A run ---------------------------------------------------------------------------------------


def run(data, out, teacher, **options):
    named = () if teacher is None else (f"training.teacher={teacher}",)
    settings = tiny_settings("training.optimizer=adamw", *named)
    torch.manual_seed(0)
    model = build_model(settings, 2)
    trainer.train(model, settings, data, out=out, **options)
    return model.state_dict()


def test_a_stopped_run_goes_on_exactly(tmp_path, fake_data, teacher, monkeypatch):
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(2))
    whole = run(fake_data, tmp_path / "whole", teacher)

    def fail(_):
        raise RuntimeError("stopped here")

    with pytest.raises(RuntimeError, match="stopped here"):
        run(fake_data, tmp_path / "run", teacher, validate=fail)
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(teacher.read_bytes())
    listener = Listener()
    again = run(fake_data, tmp_path / "run", moved, resume=True, reporter=listener)
    assert all(torch.equal(value, again[name]) for name, value in whole.items())
    assert any("8 channels brought to 12" in text for text in listener.said if "teacher" in text)
    assert all(step.distillation > 0 for step in listener.steps)
    for line in map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()):
        if line["kind"] in ("step", "epoch"):
            parts = [line[name] for name in ("classification", "box", "distillation")]
            assert line["loss"] == pytest.approx(sum(parts))
    other = write(tmp_path / "other.safetensors", seed=8)
    for changed, message in ((other, "another content"), (None, "had a teacher")):
        with pytest.raises(TrainingError, match=message):
            run(fake_data, tmp_path / "run", changed, resume=True)


def test_without_a_teacher_nothing_is_told_of_one(tmp_path, fake_data, monkeypatch):
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(1))
    run(fake_data, tmp_path, None)
    assert 'distillation"' not in (tmp_path / "metrics.jsonl").read_text()


# What can't teach ----------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.safetensors: no such file.*--teacher MODEL"):
        read_teacher(tmp_path / "none.safetensors")


def test_an_exported_model(tmp_path):
    with pytest.raises(ModelFileError, match="only predict"):
        read_teacher(tmp_path / "model.xml")


def test_other_bands(tmp_path):
    path = write(
        tmp_path / "four.safetensors",
        "model.bands=4",
        "preparation.mean=[0, 0, 0, 0]",
        "preparation.std=[1, 1, 1, 1]",
    )
    with pytest.raises(SettingsError, match=r"images of 4 band\(s\), and here they have 3"):
        check_teacher(tiny_settings(f"training.teacher={path}"))
    with pytest.raises(SettingsError, match=r"--set model\.bands=3"):
        make(path)


def test_levels_go_by_their_strides():
    assert match_levels((8, 16, 32, 64), (4, 8, 16, 32)) == ((0, 1), (1, 2), (2, 3))
    with pytest.raises(SettingsError, match=r"strides 2, 4, the network's 8, 16"):
        match_levels((8, 16), (2, 4))


def test_a_foreign_checkpoint_is_imported(tmp_path, teacher, monkeypatch):
    known = model_file.load(teacher)
    monkeypatch.setattr(
        teacher_module, "import_on_the_way", lambda path: (known, ("taken to be.",))
    )
    for name in ("model.pth", "model.safetensors"):
        save_file({"a": torch.ones(1)}, tmp_path / name)
        assert read_teacher(tmp_path / name).loaded is known
    settings = tiny_settings("training.clip_gradient=0")
    read = read_teacher(tmp_path / "model.pth")
    assumed, imitated = PyramidDistillation(read, build_model(settings, 2), weight=1.0).lines
    assert assumed == "taken to be."
    assert imitated.startswith(f"The teacher is {tmp_path / 'model.pth'}")
    monkeypatch.undo()
    with pytest.raises(WeightsError, match=r"model\.pth"):
        read_teacher(tmp_path / "model.pth")
