import math

import pytest
import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from foveal.detection.losses import (
    cross_entropy,
    focal_loss,
    giou_loss,
    smooth_l1,
)

GAMMAS = [0.0, 0.5, 1.0, 2.0, 5.0]


def test_by_hand_at_one_half():
    # p = 0.5: cross entropy ln 2; focal a quarter of it at gamma 2; alpha 0.25 and 0.75.
    logit = torch.zeros(1)
    for target, alpha_t in ((torch.ones(1), 0.25), (torch.zeros(1), 0.75)):
        ln2 = math.log(2)
        assert cross_entropy(logit, target).item() == pytest.approx(ln2)
        assert cross_entropy(logit, target, alpha=0.25).item() == pytest.approx(alpha_t * ln2)
        assert focal_loss(logit, target, gamma=2).item() == pytest.approx(ln2 / 4)
        loss = focal_loss(logit, target, alpha=0.25, gamma=2)
        assert loss.item() == pytest.approx(alpha_t * ln2 / 4)


def test_background_counts_too():
    # A loss that multiplies by the target alone would be zero here.
    logit = torch.tensor([3.0])
    p = 1 / (1 + math.exp(-3))
    expected = 0.75 * p**2 * -math.log(1 - p)
    loss = focal_loss(logit, torch.zeros(1), alpha=0.25, gamma=2)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_gamma_zero_is_cross_entropy():
    logits = torch.linspace(-8, 8, 33)
    targets = (torch.arange(33) % 2).float()
    torch.testing.assert_close(
        focal_loss(logits, targets, alpha=0.3, gamma=0),
        cross_entropy(logits, targets, alpha=0.3),
    )
    torch.testing.assert_close(
        cross_entropy(logits, targets),
        functional.binary_cross_entropy_with_logits(logits, targets, reduction="none"),
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_agrees_with_torchvision_where_that_is_stable(gamma):
    logits = torch.randn(200, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4
    targets = (torch.arange(200) % 3 == 0).double()
    torch.testing.assert_close(
        focal_loss(logits, targets, alpha=0.25, gamma=gamma),
        sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=gamma),
        rtol=1e-6,
        atol=1e-9,
    )


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gradient_is_the_functions_own(gamma):
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    targets = (torch.arange(25) % 2).double()
    assert torch.autograd.gradcheck(
        lambda x: focal_loss(x, targets, alpha=0.25, gamma=gamma), logits
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_finite_at_extreme_logits(gamma, dtype):
    extreme = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    logits = extreme.to(dtype).requires_grad_()
    for target in (0.0, 1.0):
        loss = focal_loss(logits, torch.full((7,), target), alpha=0.25, gamma=gamma)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss).all()
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert gradient.dtype == dtype
        assert torch.isfinite(gradient).all()
    # Certain and wrong: the loss grows like the logit itself.
    certain = focal_loss(torch.tensor(1e4), torch.tensor(0.0), gamma=gamma)
    assert certain.item() == pytest.approx(1e4, rel=1e-4)


def test_box_losses_by_hand():
    predicted = torch.tensor([0.05, 1.0, 0.0, -2.0])
    expected = torch.zeros(4)
    assert smooth_l1(predicted, expected, beta=0.0).item() == pytest.approx(3.05)
    by_hand = 0.5 * 0.05**2 / 0.1 + (1 - 0.05) + (2 - 0.05)
    assert smooth_l1(predicted, expected, beta=0.1).item() == pytest.approx(by_hand)
    torch.testing.assert_close(
        smooth_l1(predicted, expected, beta=0.1),
        functional.smooth_l1_loss(predicted, expected, beta=0.1, reduction="sum"),
    )


def test_giou_loss_agrees_with_torchvision():
    boxes = torch.tensor([[0.0, 0, 4, 2], [0, 0, 1, 1], [5, 5, 9, 9]])
    others = torch.tensor([[2.0, 1, 6, 3], [2, 0, 3, 1], [5, 5, 9, 9]])
    torch.testing.assert_close(
        giou_loss(boxes, others), generalized_box_iou_loss(boxes, others), atol=1e-6, rtol=1e-6
    )
    assert giou_loss(boxes[2], others[2]) == 0


def test_no_elements():
    assert focal_loss(torch.zeros(0), torch.zeros(0), alpha=0.25, gamma=2).shape == (0,)
    assert smooth_l1(torch.zeros(0, 4), torch.zeros(0, 4), beta=0.1).shape == (0,)
