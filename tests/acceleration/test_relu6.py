"""ReLU6 that forgets its input: PyTorch's numbers with less memory."""

from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F

from foveal.acceleration.relu6 import relu6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_values_and_gradients_are_those_of_pytorch(dtype: torch.dtype) -> None:
    results = []
    for function in (relu6, F.relu6):
        features = torch.linspace(-2, 8, 41, dtype=dtype).requires_grad_()
        output = function(features * 1)
        output.backward(torch.arange(41, dtype=dtype))
        assert features.grad is not None
        results.append((output.detach(), features.grad))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_the_input_is_not_kept_for_the_gradient() -> None:
    leaf = torch.randn(3, 4, requires_grad=True)
    features = leaf * 1
    gone = weakref.ref(features)
    output = relu6(features)
    del features
    assert gone() is None
    output.sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, ((leaf > 0) & (leaf < 6)).float())


def test_the_output_is_not_kept_by_itself() -> None:
    output = relu6(torch.randn(3, 4, requires_grad=True) * 1)
    gone = weakref.ref(output)
    del output
    assert gone() is None, "without the garbage collector, which comes too late for large tensors"


@pytest.mark.parametrize("inference", [True, False])
def test_in_place_where_no_gradient_is_wanted(inference: bool) -> None:
    with torch.inference_mode(inference), torch.no_grad():
        features = torch.tensor([-1.0, 3.0, 9.0])
        output = relu6(features)
    assert output.tolist() == [0, 3, 6]
    assert output.data_ptr() == features.data_ptr()


def test_an_output_that_was_changed_is_noticed() -> None:
    """The next layer keeps the output too, which PyTorch watches."""
    weight = torch.ones(4, requires_grad=True)
    output = relu6(torch.randn(4, requires_grad=True) * 1)
    loss = (output * weight).sum()
    with torch.no_grad():
        output.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
