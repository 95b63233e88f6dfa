"""The forms that training calls are the losses of one-hot targets, summed."""

import pytest
import torch
from tests.detection.test_losses import GAMMAS

from foveal.detection.losses import focal_loss, quality_focal_loss
from foveal.detection.losses_of_labels import (
    focal_loss_of_labels,
    quality_focal_loss_of_labels,
)


@pytest.mark.parametrize("values", [1, 40, 100_000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_equals_the_equation_and_its_gradient(gamma, alpha, dtype, values, monkeypatch):
    """A block for each row, several rows a block with a rest, all at once."""
    monkeypatch.setattr("foveal.detection.losses_of_labels.VALUES_AT_ONCE", values)
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(2, 9, 14, dtype=torch.float64, generator=generator).to(dtype)
    weights = torch.randn(2, 9, dtype=torch.float64, generator=generator)
    labels = torch.randint(-1, 7, (2, 9), generator=generator)
    for logits in (whole, whole[:, 2:8, ::2], whole[:, :0]):
        anchors, classes = logits.shape[1:]
        ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        one_hot = (labels[:, :anchors, None] == torch.arange(classes)).to(dtype)
        found = focal_loss_of_labels(ours, labels[:, :anchors], gamma=gamma, alpha=alpha)
        expected = focal_loss(plain, one_hot, gamma=gamma, alpha=alpha).sum(dim=-1)
        torch.testing.assert_close(found, expected)
        (found * weights[:, :anchors]).sum().backward()
        (expected * weights[:, :anchors]).sum().backward()
        # In bf16 the three terms of an anchor's own class are rounded before they are added.
        rounding = {"atol": 0.02, "rtol": 0.02} if dtype is torch.bfloat16 else {}
        torch.testing.assert_close(ours.grad, plain.grad, **rounding)


@pytest.mark.parametrize("values", [7, 65_536])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_class_weights_equal_those_on_the_equation(gamma, alpha, values, monkeypatch):
    monkeypatch.setattr("foveal.detection.losses_of_labels.VALUES_AT_ONCE", values)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 9, 5, dtype=torch.float64, generator=generator)
    labels = torch.randint(-1, 5, (2, 9), generator=generator)
    weights = torch.tensor([1.0, 2.5, 0.1, 1.0, 7.0])
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = focal_loss_of_labels(ours, labels, gamma=gamma, alpha=alpha, weights=weights)
    one_hot = (labels[..., None] == torch.arange(5)).double()
    expected = (focal_loss(plain, one_hot, gamma=gamma, alpha=alpha) * weights).sum(dim=-1)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)
    ones = focal_loss_of_labels(logits, labels, gamma=gamma, alpha=alpha, weights=torch.ones(5))
    assert torch.equal(ones, focal_loss_of_labels(logits, labels, gamma=gamma, alpha=alpha))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_finite_at_extreme_logits(gamma, dtype):
    extreme = torch.tensor([[-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4]])
    logits = extreme.to(dtype).requires_grad_()
    for label in (-1, 0, 6):
        loss = focal_loss_of_labels(logits, torch.tensor([label]), gamma=gamma, alpha=0.25)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss).all()
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert gradient.dtype == dtype
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [1, 80])
@pytest.mark.parametrize("gamma", [1.5, 2.0])
def test_the_quality_focal_loss_equals_the_equation(gamma, classes, weighted):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 9, classes, dtype=torch.float64, generator=generator)
    labels = torch.randint(-2, classes, (2, 9), generator=generator)
    qualities = torch.rand(2, 9, dtype=torch.float64, generator=generator)
    labels[0, :2], qualities[0, :2] = 0, torch.tensor([0.0, 1.0])
    weights = torch.rand(classes, generator=generator) + 0.5 if weighted else None
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    targets = (labels[..., None] == torch.arange(classes)) * qualities[..., None]
    found = quality_focal_loss_of_labels(ours, labels, qualities, gamma=gamma, weights=weights)
    expected = quality_focal_loss(plain, targets, gamma=gamma)
    expected = (expected if weights is None else expected * weights).sum(dim=-1)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)
    none = quality_focal_loss_of_labels(logits[:, :0], labels[:, :0], qualities[:, :0], gamma=gamma)
    assert none.shape == (2, 0)
