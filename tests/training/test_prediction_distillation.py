import copy
import math

import pytest
import torch
from tests.listener import Listener
from tests.training.conftest import (
    FakeBatches,
    distillation_of_parts,
    make_fake_batch,
    tiny_settings,
)

from foveal.checkpoints import model_file
from foveal.errors import SettingsError
from foveal.models.build import build_model
from foveal.structures import ModelCard
from foveal.training import trainer
from foveal.training.loaders import split_batch
from foveal.training.prediction_distillation import (
    PredictionDistillation,
    branch_loss,
    distribution_loss,
    score_loss,
    why_not_comparable,
)
from foveal.training.pyramid_distillation import PyramidDistillation
from foveal.training.setup import make_accelerator, make_train_step
from foveal.training.teacher import read_teacher

BINS = (
    "anchors.scales=[1.0]",
    "anchors.ratios=[1.0]",
    "anchors.sizes=[64, 128, 256]",
    "model.box_coding=distances",
    "model.box_bins=9",
    "loss.box=giou",
)
CLASSES = ("a", "b")


def write(path, *overrides, classes=("c", "b", "a"), seed=7):
    """A teacher with opinions, that knows one class more than the student, in another order."""
    settings = tiny_settings(*BINS, "model.fpn_channels=12", *overrides)
    torch.manual_seed(seed)
    model = build_model(settings, len(classes))
    for weights in (*model.classification.output.parameters(), *model.box.output.parameters()):
        torch.nn.init.normal_(weights, std=0.5)
    model_file.save(path, model, settings, ModelCard(classes))
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return write(tmp_path_factory.mktemp("teacher") / "big.safetensors")


def settings_with(path, *overrides):
    return tiny_settings(*BINS, "training.clip_gradient=0", f"training.teacher={path}", *overrides)


def make(path, *overrides):
    settings = settings_with(path, *overrides)
    torch.manual_seed(0)
    model = build_model(settings, 2)
    return make_train_step(model, settings, classes=CLASSES, accelerator=make_accelerator())


# The losses ----------------------------------------------------------------------------------


def test_scores_by_hand():
    """|0.8 - 0.5|^2 log 2 and |0.4 - 0.5|^2 log 2, over 0.8 + 0.4 and no less than 1."""
    scores = torch.tensor([[[0.8], [0.4]]])
    expected = (0.09 + 0.01) * math.log(2) / 1.2
    assert score_loss(torch.zeros(1, 2, 1), scores).item() == pytest.approx(expected, rel=1e-5)
    few = score_loss(torch.zeros(1, 2, 1), scores / 2)
    assert few.item() == pytest.approx((0.01 + 0.09) * math.log(2), rel=1e-5)


def test_distributions_by_hand():
    """KL of (3/4, 1/4) from (1/2, 1/2), on one side of four, weighed with an anchor that fits."""
    even = torch.full((1, 2, 4, 2), 0.5).log()
    expected = even.clone()
    expected[0, 0, 2] = torch.tensor([0.75, 0.25]).log()
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = distribution_loss(even, expected, torch.tensor([[0.9, 0.6]]))
    assert found.item() == pytest.approx(divergence / 4 * 0.9 / 1.5, rel=1e-5)
    assert distribution_loss(even, even, torch.ones(1, 2)).item() == pytest.approx(0, abs=1e-6)


def test_the_quality_branch_by_hand():
    """KL of 3/4 from 1/2, weighed with an anchor that fits; weights of no more than 1 in all."""
    expected = torch.tensor([[math.log(3), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = branch_loss(torch.zeros(1, 2), expected, torch.tensor([[0.9, 0.6]]))
    assert found.item() == pytest.approx(divergence * 0.9 / 1.5, rel=1e-5)
    few = branch_loss(torch.zeros(1, 2), expected, torch.tensor([[0.2, 0.1]]))
    assert few.item() == pytest.approx(divergence * 0.2, rel=1e-5)


def test_the_best_student_says_what_the_teacher_says():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, generator=generator)
    own = logits.clone().requires_grad_()
    score_loss(own, logits.sigmoid()).backward()
    assert own.grad.abs().max() < 1e-6
    bins = torch.randn(2, 5, 4, 9, generator=generator)
    expected, weights = bins.log_softmax(-1), torch.rand(2, 5, generator=generator)
    changed = bins.clone().requires_grad_()
    distribution_loss(changed.log_softmax(-1), expected, weights).backward()
    assert changed.grad.abs().max() < 1e-6
    own = logits[..., 0].clone().requires_grad_()
    branch_loss(own, logits[..., 0], weights).backward()
    assert own.grad.abs().max() < 1e-6
    assert branch_loss(logits[..., 1], logits[..., 0], weights) > 0.01
    other = (bins + 0.5 * torch.randn(bins.shape, generator=generator)).log_softmax(-1)
    assert distribution_loss(other, expected, weights) > 0.01


# The step ------------------------------------------------------------------------------------


def test_its_own_copy_has_nothing_to_teach(tmp_path):
    settings = tiny_settings(*BINS, "model.norm=frozen")
    torch.manual_seed(0)
    path = tmp_path / "same.safetensors"
    model_file.save(path, build_model(settings, 2), settings, ModelCard(CLASSES))
    train_step = make(path, "model.norm=frozen")
    assert isinstance(train_step.distillation, PredictionDistillation)
    assert not list(train_step.distillation.parameters())
    assert train_step.step([make_fake_batch(1)], 0.01).distillation < 1e-4


def test_classes_go_by_their_names(teacher, tmp_path):
    images = make_fake_batch(1).images
    scores, distributions = make(teacher).distillation.targets(images, torch.float32)
    raw = read_teacher(teacher).network(images)
    logits = torch.cat(raw.logits, dim=1)
    torch.testing.assert_close(scores, logits[..., [2, 1]].sigmoid(), atol=1e-5, rtol=1e-4)
    assert distributions.shape == (*logits.shape[:2], 4, 9)
    torch.testing.assert_close(distributions.exp().sum(-1), torch.ones(*logits.shape[:2], 4))


def test_only_the_student_learns(teacher):
    train_step = make(teacher)
    network = train_step.distillation._teacher[0].model
    before = copy.deepcopy(network.state_dict())
    batch = make_fake_batch(2)
    results = [train_step.step([batch], 0.05, number=number) for number in range(8)]
    assert all(result.applied for result in results)
    assert results[-1].distillation < 0.95 * results[0].distillation
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    assert not train_step.distillation.state_dict()


def test_images_without_objects_teach_too(teacher):
    empty = make_fake_batch(1, images=1)
    assert empty.counts.tolist() == [0]
    assert make(teacher).step([empty], 0.02).distillation > 0


def test_the_weight_is_a_factor(teacher):
    plain, double = (
        make(teacher, *more).step([make_fake_batch(1)], 0.01).distillation
        for more in ((), ("training.distillation_weight=2",))
    )
    assert double == pytest.approx(2 * plain)


def test_accumulated_parts_weigh_as_their_losses_do(teacher):
    parts = split_batch(make_fake_batch(5), 2)
    expected = distillation_of_parts(lambda: make(teacher), parts)
    assert make(teacher).step(parts, 0.01).distillation == pytest.approx(expected, rel=1e-4)


def test_in_bfloat16_it_is_nearly_the_same(teacher):
    exact, rough = (
        make(teacher, f"training.precision={precision}").step([make_fake_batch(3)], 0.01)
        for precision in ("float32", "bf16")
    )
    assert rough.distillation == pytest.approx(exact.distillation, rel=0.05)


def test_it_is_one_graph_to_compile(teacher):
    train_step, batch = make(teacher), make_fake_batch(3)
    own = train_step.distillation
    targets = own.targets(batch.images, torch.float32)

    def loss(images, targets):
        levels = train_step.model.pyramid(images)
        return own((levels, train_step.model.predict(levels)), targets)

    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch.images, targets), loss(batch.images, targets))


def test_a_quality_branch_is_imitated_too(tmp_path):
    path = write(tmp_path / "branch.safetensors", "model.quality=iou")
    network = read_teacher(path).network
    train_step, batch = make(path, "model.quality=iou"), make_fake_batch(2)
    own = train_step.distillation
    assert isinstance(own, PredictionDistillation)
    targets = own.targets(batch.images, torch.float32)
    expected = torch.cat(network(batch.images).quality, dim=1)
    torch.testing.assert_close(targets[2], expected, atol=1e-5, rtol=1e-4)

    levels = train_step.model.pyramid(batch.images)
    raw = train_step.model.predict(levels)
    more = branch_loss(torch.cat(raw.quality, dim=1), expected, targets[0].amax(dim=-1))
    whole, without = (own((levels, raw), each) for each in (targets, targets[:2]))
    assert more > 0
    torch.testing.assert_close(whole - without, more, rtol=1e-4, atol=1e-6)


# What is imitated ----------------------------------------------------------------------------


def test_a_run_says_what_is_imitated(tmp_path, fake_data, teacher, monkeypatch):
    monkeypatch.setattr(trainer, "make_batches", lambda *_, **__: FakeBatches(1))
    for choice, words in (
        ("auto", "imitates its scores and boxes of each anchor, with weight 1 "),
        ("pyramid", "imitates its pyramid at strides 8, 16, 32, 8 channels brought to 12, with"),
    ):
        names = tuple(fake_data.classes)
        path = write(tmp_path / "known.safetensors", classes=(*names, "another"))
        settings = settings_with(path, f"training.distillation={choice}")
        listener = Listener()
        trainer.train(build_model(settings, 2), settings, fake_data, out=None, reporter=listener)
        said = [line for line in listener.said if "teacher is" in line]
        assert len(said) == 1
        assert words in said[0]


@pytest.mark.parametrize(
    ("overrides", "classes", "reason"),
    [
        ((), ("a", "c"), "does not know b"),
        (("anchors.sizes=[32, 64, 128]",), CLASSES, "has other anchors"),
        (
            ("anchors.strides=[8, 16, 32, 64]", "anchors.sizes=[64, 128, 256, 512]"),
            CLASSES,
            "has other anchors",
        ),
        (("model.box_bins=17",), CLASSES, "predicts distances in 17 bins, where the network has 9"),
        (
            ("model.box_bins=0", "model.box_coding=deltas"),
            CLASSES,
            "predicts distances in 0 bins, where the network has 9",
        ),
        (("model.quality=iou",), CLASSES, "has model.quality=iou, where the network has none"),
    ],
)
def test_what_cannot_be_compared(tmp_path, overrides, classes, reason):
    path = write(tmp_path / "other.safetensors", *overrides, classes=classes)
    with pytest.raises(SettingsError, match=f"{reason}.*training.distillation=pyramid"):
        make(path, "training.distillation=predictions")
    fallback = make(path).distillation
    assert isinstance(fallback, PyramidDistillation)
    assert f"(its predictions can't be compared: it {reason})" in fallback.lines[-1]


def test_two_networks_without_bins_are_not_compared(tmp_path):
    path = write(tmp_path / "old.safetensors", "model.box_bins=0", "model.box_coding=deltas")
    settings = tiny_settings(*BINS, "model.box_bins=0", "model.box_coding=deltas")
    network = build_model(settings, 2)
    reason = why_not_comparable(read_teacher(path), network, classes=CLASSES, quality="none")
    assert reason == "predicts no distances in bins (model.box_bins)"
