"""The accelerated network is the network: numbers, gradients, state, copies, devices, exports."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.models.conftest import make_small
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from foveal.acceleration import accelerated
from foveal.acceleration.accelerated import Accelerated
from foveal.models.norms import FrozenBatchNorm
from foveal.models.retinanet import RetinaNet

NETWORKS = {
    "frozen": ("model.norm=frozen",),
    "frozen stages": ("model.norm=frozen", "model.frozen_stages=2"),
    "live": ("model.norm=live",),
    "group": ("model.norm=group", "model.head_norm=group", "model.head_channels=32"),
    "two bands": (
        "model.norm=frozen",
        "model.bands=2",
        "preparation.mean=[0.5, 0.5]",
        "preparation.std=[1.0, 1.0]",
    ),
    "depthwise": (
        "model.norm=frozen",
        "model.backbone=mobilenetv2_050",
        "model.fpn_depthwise=true",
        "model.head_depthwise=true",
    ),
    "finer": (
        "model.norm=frozen",
        "anchors.strides=[4, 8, 16, 32, 64]",
        "anchors.sizes=[16, 32, 64, 128, 256]",
    ),
    "no hidden layers": ("model.norm=frozen", "model.head_depth=0"),
    "convnext": ("model.backbone=test_convnext",),
    "channels come last": ("model.backbone=test_mambaout",),
    "one norm without a convolution": ("model.backbone=densenet121", "model.norm=frozen"),
}
OTHER_HEADS = ("frozen", "group", "depthwise", "finer", "no hidden layers")
"""Packing the levels concerns the heads alone, whatever the backbone."""
SIZE = (96, 128)
DEEP = ("depthwise", "one norm without a convolution")
"""Networks of many layers, which a few pixels show."""


def make(*overrides: str) -> RetinaNet:
    """A network in float64 whose norms do something and whose dropped paths are always there."""
    model, _ = make_small(*overrides)
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model.double().train()


def pictures(bands: int = 3, count: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, bands, *size), generator=generator, dtype=torch.uint8)


def gradients(network: nn.Module, model: RetinaNet, images: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    outputs = tree_leaves(network(images))
    sum(output.square().mean() for output in outputs).backward()
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def assert_same(found: object, expected: object, **tolerance: float) -> None:
    for ours, theirs in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize(
    ("name", "packed"),
    [*((name, False) for name in NETWORKS), *((name, True) for name in OTHER_HEADS)],
)
def test_numbers_and_gradients_are_the_networks_own(
    name: str, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = NETWORKS[name]
    monkeypatch.setattr(accelerated, "packing_pays", lambda levels: packed)
    model = make(*overrides)
    before = copy.deepcopy(model.state_dict())
    network = Accelerated(model)
    images = pictures(len(model.mean), size=(32, 64) if name in DEEP else SIZE)
    statistics = {n: v for n, v in model.state_dict().items() if "running" in n or "tracked" in n}
    kept = {name: value.clone() for name, value in statistics.items()}
    expected, wanted = model(images), gradients(model, model, images)
    model.load_state_dict({**model.state_dict(), **kept})
    assert_same(network(images), expected)
    found = gradients(network, model, images)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient)
    assert list(model.state_dict()) == list(before)
    if "model.norm=live" not in overrides:
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_frozen_norm_of_a_resnet_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("model.norm=frozen")
    expected = model(pictures())
    network = Accelerated(model)
    network(pictures())
    monkeypatch.setattr(torch, "batch_norm", None)  # is not called
    assert_same(network(pictures()), expected)


def test_packing_is_for_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[Tensor] = []

    def pack(levels: tuple[Tensor, ...]) -> object:
        packed.append(levels[0])
        return pack_before(levels)

    pack_before = accelerated.pack
    monkeypatch.setattr(accelerated, "pack", pack)
    model = make("model.norm=frozen").float()
    network = Accelerated(model)
    network(pictures())
    assert not packed
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = network(pictures()), model(pictures())
    assert [level.dtype for level in packed] == [torch.bfloat16]
    assert_same(found, expected, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_images(count: int) -> None:
    model = make("model.norm=frozen").eval()
    with torch.inference_mode():
        assert_same(Accelerated(model)(pictures(count=count)), model(pictures(count=count)))


def test_a_size_that_is_padded() -> None:
    model = make("model.norm=frozen")
    images = pictures(size=(70, 101))
    assert_same(Accelerated(model)(images), model(images))


def test_changed_weights_and_norms_are_seen() -> None:
    model = make("model.norm=frozen").eval()
    network = Accelerated(model)
    with torch.inference_mode():
        first = network(pictures())
    conv, norm = network._folded_pairs()[0]
    with torch.no_grad():
        conv.weight.mul_(2)
        norm.bias.add_(1)
    with torch.inference_mode():
        changed = network(pictures())
        assert_same(changed, model(pictures()))
    assert not torch.allclose(changed.logits[0], first.logits[0])
    conv.weight = nn.Parameter(torch.randn_like(conv.weight))  # another tensor
    with torch.inference_mode():
        assert_same(network(pictures()), model(pictures()))


def test_a_copy_is_a_network_of_its_own() -> None:
    model = make("model.norm=frozen").eval()
    network = Accelerated(model)
    expected = network(pictures())
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.zero_()
    assert_same(twin(pictures()), expected)
    assert not torch.equal(network(pictures()).logits[0], expected.logits[0])
    assert not {*twin.parameters()} & {*model.parameters()}


def test_dropping_and_modes_are_left_alone() -> None:
    model = make("model.norm=frozen", "model.frozen_stages=2")
    modes = [module.training for module in model.modules()]
    Accelerated(model)(pictures())
    assert [module.training for module in model.modules()] == modes


def test_another_device_gets_the_networks_own_forward() -> None:
    """The meta device stands for all others: it computes shapes only."""
    model = make("model.norm=frozen").float()
    network = Accelerated(model)
    network(pictures())
    network.to("meta")
    output = network(pictures().to("meta"))
    assert output.logits[0].device.type == "meta"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accelerated, "FasterFunctions", None)  # is not used
        network(pictures().to("meta"))


def test_compiled_it_is_the_networks_own_graph() -> None:
    torch.compiler.reset()
    model = make("model.norm=frozen").float()
    network = Accelerated(model)
    images = pictures()
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
    expected = gradients(model, model, images)
    found = gradients(compiled, model, images)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)
    assert network._pairs is None


def test_exported_it_is_the_networks_own_graph() -> None:
    model = make("model.norm=frozen").float().eval()
    program = torch.export.export(Accelerated(model), (pictures(),))
    names = {str(node.target) for node in program.graph.nodes}
    assert any("batch_norm" in name for name in names)
    assert_same(program.module()(pictures()), model(pictures()), rtol=1e-4, atol=1e-4)
