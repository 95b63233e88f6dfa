"""Weights made ready for prediction give PyTorch's numbers, and never outlive their sources."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from foveal.models import onednn
from foveal.models.activations import InPlaceReLU6
from foveal.models.fast_convolutions import FastConv2d, use_fast_convolutions
from foveal.models.folding import NormedConv2d
from foveal.models.norms import FrozenBatchNorm

needs_onednn = pytest.mark.skipif(not onednn._precisions(), reason="oneDNN's operators are missing")


def fast(conv: nn.Conv2d) -> FastConv2d:
    parent = nn.Sequential(conv)
    use_fast_convolutions(parent)
    made = parent[0]
    assert isinstance(made, FastConv2d)
    return made


def normed(conv: nn.Conv2d, activation: nn.Module | None) -> NormedConv2d:
    norm = FrozenBatchNorm(conv.out_channels, activation=activation)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    made = NormedConv2d.__new__(NormedConv2d)
    made.__dict__.update(conv.__dict__)
    made.take(norm)
    return made


@needs_onednn
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(16, 96, 1),
        nn.Conv2d(96, 96, 3, padding=1, groups=96, bias=False),
        nn.Conv2d(96, 96, 3, padding=1, stride=2, groups=96),
        nn.Conv2d(3, 32, 7, padding=3, stride=2),
        nn.Conv2d(24, 40, 3, padding=2, dilation=2, groups=8),
    ],
    ids=str,
)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_packed_weights_give_the_same_numbers_at_every_size(conv, memory):
    made = fast(conv)
    sizes = ((2, 20, 31), (1, 9, 8), (3, 20, 31), (1, 9, 8))
    for batch, height, width in sizes:
        features = torch.randn(batch, conv.in_channels, height, width).to(memory_format=memory)
        expected = nn.functional.conv2d(
            features, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
        )
        with torch.inference_mode():
            found = made(features)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    known = made._ready.packed._known
    assert len(known) == 3
    assert len({id(weight) for weight, _ in known.values()}) <= 2


@needs_onednn
def test_each_size_gets_the_order_that_onednn_wants_for_it(monkeypatch):
    monkeypatch.setattr(onednn, "MOST_KNOWN", 3)
    made = fast(nn.Conv2d(1024, 256, 1))
    for side in (4, 40, 4, 20, 10, 40):  # at 4 another order than at 40, where they were seen
        features = torch.randn(1, 1024, side, side)
        expected = nn.functional.conv2d(features, made.weight, made.bias).detach()
        with torch.no_grad():
            torch.testing.assert_close(made(features), expected, rtol=1e-4, atol=1e-5)
        known = made._ready.packed._known
        weight, _ = known[features.shape, torch.float32, torch.get_num_threads()]
        wanted = torch.ops.mkldnn._reorder_convolution_weight(
            made.weight.detach(), [0, 0], [1, 1], [1, 1], 1, list(features.shape)
        )
        assert onednn.order_of(weight) == onednn.order_of(wanted)
        assert len(known) <= 3


@pytest.mark.parametrize("activation", [None, InPlaceReLU6(), nn.ReLU(inplace=True), nn.SiLU()])
@pytest.mark.parametrize("channels", [24, 96])  # 96: Winograd's way
def test_norm_and_activation_are_done_with_and_without_gradients(activation, channels):
    conv = normed(nn.Conv2d(channels, channels, 3, padding=1, bias=False), activation)
    norm = conv._norm[0]
    features = torch.randn(2, channels, 40, 40)
    with torch.no_grad():
        plain = nn.functional.conv2d(features, conv.weight, padding=1)
        scale, shift = norm.scale_and_shift()
        expected = plain * scale[:, None, None] + shift[:, None, None]
        if activation is not None:
            expected = activation(expected)
        found = conv(features)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(conv(features).detach(), expected, rtol=1e-4, atol=2e-5)
    assert norm(features) is features


@needs_onednn
def test_bfloat16_under_autocast():
    if torch.bfloat16 not in onednn._precisions():
        pytest.skip("no bfloat16 in oneDNN on this processor")
    made = fast(nn.Conv2d(32, 64, 1))
    features = torch.randn(1, 32, 24, 24)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = made(features)
        expected = nn.functional.conv2d(features, made.weight, made.bias)
    assert found.dtype is expected.dtype is torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_without_onednn_weights_are_folded_and_cast_once(monkeypatch):
    monkeypatch.setattr(onednn, "_precisions", lambda: ())
    conv = normed(nn.Conv2d(8, 8, 1), nn.ReLU())
    features = torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        expected = conv.float()(features)
        ready = conv._ready
        monkeypatch.setattr(NormedConv2d, "_weight_and_bias", None)  # is not called again
        assert torch.equal(conv(features), expected)
        with torch.autocast("cpu", torch.bfloat16):
            found = conv(features)
            assert torch.equal(conv(features), found)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.05)
    assert conv._ready is ready


@pytest.mark.parametrize("inference", [True, False])
def test_changed_weights_are_seen(inference):
    made = fast(nn.Conv2d(8, 8, 1))
    features = torch.ones(1, 8, 4, 4)

    def predict():
        with torch.inference_mode(inference), torch.no_grad():
            return made(features).clone()

    def check():
        expected = nn.functional.conv2d(features, made.weight, made.bias).detach()
        torch.testing.assert_close(predict(), expected)

    check()
    with torch.no_grad():
        made.weight.mul_(2)
    check()
    made.bias.data = torch.ones(8)
    check()
    for _ in range(3):  # new tensors may come to lie where the old ones lay
        made.weight = nn.Parameter(torch.randn(8, 8, 1, 1))
        check()
    made.bias = None
    check()
    made.bias = nn.Parameter(torch.randn(8))
    check()
    made.load_state_dict({"weight": torch.zeros(8, 8, 1, 1), "bias": torch.zeros(8)})
    assert not predict().any()


def test_gradients_flow_after_a_prediction():
    made = fast(nn.Conv2d(8, 8, 1))
    features = torch.randn(1, 8, 4, 4)
    with torch.no_grad():
        made(features)
    assert made._ready is not None
    made(features).sum().backward()
    assert made.weight.grad is not None
    assert made._ready is None  # nothing is held while training


def test_a_frozen_convolution_is_ready_in_training_too():
    made = fast(nn.Conv2d(8, 8, 1)).requires_grad_(False)
    assert not made(torch.randn(1, 8, 4, 4)).requires_grad
    assert made._ready is not None
    features = torch.randn(1, 8, 4, 4, requires_grad=True)
    made(features).sum().backward()
    assert features.grad is not None


def test_weights_made_in_inference_mode_go_the_usual_way():
    with torch.inference_mode():
        made = fast(nn.Conv2d(8, 8, 1))
        features = torch.ones(1, 8, 4, 4)
        first = made(features)
        made.weight.mul_(0)
        assert not torch.equal(made(features), first)


def test_copies_and_files_leave_ready_weights_behind():
    made = fast(nn.Conv2d(8, 8, 1))
    with torch.no_grad():
        expected = made(torch.ones(1, 8, 4, 4))
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other._ready is None
        with torch.no_grad():
            assert torch.equal(other(torch.ones(1, 8, 4, 4)), expected)
    assert list(made.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(8, 8, 3, padding="same"),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 8, 1).double(),
    ],
    ids=str,
)
def test_what_onednn_is_not_asked_for(conv):
    features = torch.randn(1, 8, 9, 9, dtype=conv.weight.dtype)
    expected = conv(features)
    with torch.inference_mode():
        assert torch.equal(fast(conv)(features), expected)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_who_counts_or_traces_sees_plain_operations():
    made = fast(nn.Conv2d(96, 96, 3, padding=1))
    features = torch.randn(1, 96, 40, 40)
    with torch.no_grad():
        made(features)
        with FlopCounterMode(display=False) as counter:
            made(features)
        assert counter.get_total_flops() == 2 * 96 * 96 * 9 * 40 * 40
        graph = torch.jit.trace(made, features, check_trace=False)
        file = io.BytesIO()
        torch.jit.save(graph, file)
        smaller = features[..., :9]
        torch.testing.assert_close(graph(smaller), made(smaller), rtol=1e-4, atol=1e-5)


def test_without_the_operators_and_without_images(monkeypatch):
    made = fast(nn.Conv2d(8, 8, 1))
    with torch.no_grad():
        assert made(torch.randn(0, 8, 4, 4)).shape == (0, 8, 4, 4)
        monkeypatch.setattr(onednn, "_precisions", lambda: ())
        made._ready = None
        features = torch.randn(1, 8, 4, 4)
        expected = nn.functional.conv2d(features, made.weight, made.bias)
        assert torch.equal(made(features), expected)
