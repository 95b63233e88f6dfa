import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from foveal.detection.losses import (
    cross_entropy,
    distribution_focal_loss,
    focal_loss,
    giou_loss,
    quality_focal_loss,
    quality_loss,
    smooth_l1,
)
from foveal.errors import FovealError

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


def test_what_is_no_tensor_is_named():
    with pytest.raises(
        FovealError, match=r"focal_loss: targets is list\. Expected a torch\.Tensor"
    ):
        focal_loss(torch.zeros(1), [1.0], gamma=2)
    with pytest.raises(FovealError, match="giou_loss: predicted is ndarray"):
        giou_loss(predicted=np.zeros((1, 4)), expected=torch.zeros(1, 4))


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


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0])
def test_quality_focal_loss_of_hard_targets_is_focal_loss_without_alpha(gamma):
    logits = torch.linspace(-6, 6, 25, dtype=torch.float64)
    targets = (torch.arange(25) % 2).double()
    torch.testing.assert_close(
        quality_focal_loss(logits, targets, gamma=gamma), focal_loss(logits, targets, gamma=gamma)
    )


def test_quality_losses_by_hand():
    # p = 0.5 and y = 0.8: the cross entropy is ln 2 whatever y is.
    logit, target, ln2 = torch.zeros(1), torch.tensor([0.8]), math.log(2)
    assert quality_focal_loss(logit, target, gamma=2).item() == pytest.approx(0.09 * ln2)
    assert quality_focal_loss(logit, target, gamma=0).item() == pytest.approx(ln2)
    assert quality_loss(logit, target).item() == pytest.approx(ln2)
    certain = quality_loss(torch.tensor([2.0]), target).item()
    p = 1 / (1 + math.exp(-2))
    assert certain == pytest.approx(-0.8 * math.log(p) - 0.2 * math.log(1 - p), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradients_of_quality_losses_are_those_of_the_formulas(gamma):
    logits = torch.linspace(-5, 5, 26, dtype=torch.float64, requires_grad=True)
    targets = torch.linspace(0, 1, 26, dtype=torch.float64).roll(9)
    p = torch.sigmoid(logits)
    entropy = -(targets * p.log() + (1 - targets) * (1 - p).log())
    expected = (targets - p).abs() ** gamma * entropy
    found = quality_focal_loss(logits, targets, gamma=gamma)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*gradients(found, expected, of=logits))


def gradients(*losses, of):
    return [torch.autograd.grad(loss.sum(), of, retain_graph=True)[0] for loss in losses]


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_quality_losses_are_finite_at_extreme_logits(gamma):
    logits = torch.tensor([-1e4, -20.0, 0.0, 20.0, 1e4], dtype=torch.bfloat16).requires_grad_()
    for target in (0.0, 0.5, 1.0):
        targets = torch.full((5,), target)
        for loss in (
            quality_focal_loss(logits, targets, gamma=gamma),
            quality_loss(logits, targets),
        ):
            assert loss.dtype == torch.float32
            assert torch.isfinite(loss).all()
            assert torch.isfinite(gradients(loss, of=logits)[0]).all()


def test_distribution_focal_loss_by_hand():
    # Four bins of equal probability: ln 4 wherever the target lies.
    targets = torch.tensor([0.0, 1.3, 3.0])
    even = distribution_focal_loss(torch.zeros(3, 4), targets)
    torch.testing.assert_close(even, torch.full((3,), math.log(4)))
    logits = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()
    found = distribution_focal_loss(logits, torch.tensor(1.25)).item()
    assert found == pytest.approx(-0.75 * math.log(0.4) - 0.25 * math.log(0.3))
    # What lies outside counts as the nearest bin's value.
    for target, probability in ((3.0, 0.2), (7.0, 0.2), (0.0, 0.1), (-1.0, 0.1)):
        loss = distribution_focal_loss(logits, torch.tensor(target))
        assert loss.item() == pytest.approx(-math.log(probability))
    best = torch.tensor([1e-9, 0.75, 0.25, 1e-9]).log()
    assert distribution_focal_loss(best, torch.tensor(1.25)) < found


def test_distribution_focal_loss_has_its_own_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 6, dtype=torch.float64, generator=generator).requires_grad_()
    targets = torch.tensor([0.0, 0.4, 2.0, 4.9, 5.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: distribution_focal_loss(x, targets), logits)


def pairs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes of all shapes, many of which overlap, and some of which are apart."""
    generator = torch.Generator().manual_seed(0)
    corner, sides = torch.rand(2, 2 * count, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([corner * 30, corner * 30 + sides * 40 + 0.5], dim=1)
    return boxes[:count], boxes[count:]


def test_giou_loss_and_its_gradient_agree_with_torchvision():
    predicted, expected = pairs(200)
    predicted.requires_grad_()
    ours, theirs = giou_loss(predicted, expected), generalized_box_iou_loss(predicted, expected)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*gradients(ours, theirs, of=predicted), rtol=1e-4, atol=1e-6)


def test_giou_loss_by_hand():
    # Areas 8 and 8, 2 of them shared; the hull 6 x 3 = 18, of which 14 are covered.
    box, other = torch.tensor([0.0, 0, 4, 2]), torch.tensor([2.0, 1, 6, 3])
    assert giou_loss(box, other).item() == pytest.approx(1 - 2 / 14 + 4 / 18)
    # One within the other: the hull has no gap.
    assert giou_loss(box, torch.tensor([0.0, -1, 4, 3])).item() == pytest.approx(0.5)


def test_giou_loss_has_bounds():
    predicted, expected = pairs(500)
    found = giou_loss(predicted, expected)
    assert found.min() > 0
    assert found.max() < 2
    assert giou_loss(expected, expected).abs().max() < 1e-12
    # Boxes apart cost more the farther they are.
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    near, far = (giou_loss(box + distance, box) for distance in (11.0, 50.0))
    assert 1 < near < far < 2
    # A box of no area has a loss and a gradient all the same.
    flat = torch.tensor([3.0, 3.0, 3.0, 3.0], requires_grad=True)
    assert torch.isfinite(gradients(giou_loss(flat, box), of=flat)[0]).all()


def test_no_elements():
    assert giou_loss(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
    assert quality_focal_loss(torch.zeros(0), torch.zeros(0), gamma=2).shape == (0,)
    assert distribution_focal_loss(torch.zeros(0, 4, 9), torch.zeros(0, 4)).shape == (0, 4)
    assert focal_loss(torch.zeros(0), torch.zeros(0), alpha=0.25, gamma=2).shape == (0,)
    assert smooth_l1(torch.zeros(0, 4), torch.zeros(0, 4), beta=0.1).shape == (0,)
