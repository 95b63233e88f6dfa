"""What is seen of a network, who hands 8 bits on, and when a network computes in them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.models.conftest import make_small
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from foveal.errors import ModelFileError, SettingsError
from foveal.models import model_file
from foveal.models.fast_convolutions import FastConv2d, use_fast_convolutions
from foveal.models.int8 import InputRange, int8_is_fast
from foveal.models.observation import Observation, observe
from foveal.models.precision import autocast, computes_in_int8
from foveal.models.quantisation import from_json, prediction_precision, quantise, to_json
from foveal.models.retinanet import RetinaNet

CLASSES = ("red cell", "white cell", "Plättchen")
CPU = torch.device("cpu")

needs_int8 = pytest.mark.skipif(
    not int8_is_fast(), reason="needs a processor with VNNI and PyTorch's operators for it"
)


class Ways(nn.Module):
    """Every way in which a convolution's output may go on, inside one part of a network."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("relu", "plain", "twice", "summed", "given", "flat", "last"):
            setattr(self, name, nn.Conv2d(8, 8, 3, padding=1))
        use_fast_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(images).relu_()
        hidden = self.plain(hidden)
        hidden = self.twice(hidden).relu_()
        hidden = self.summed(hidden) + self.flat(hidden)
        hidden = self.given(hidden.relu_()).relu()
        return self.last(hidden)


def as_seen(network: nn.Module, *images: Tensor) -> Observation:
    def look() -> None:
        with torch.inference_mode():
            for image in images:
                network(image)

    return observe(network.eval(), look)


def seen_inside(part: nn.Module, *images: Tensor) -> Observation:
    """The same of a network's only part: what leaves a part may be moved."""
    seen = as_seen(nn.Sequential(part), *images).seen

    def inside(names: frozenset[str | None]) -> frozenset[str | None]:
        return frozenset(name and name.removeprefix("0.") for name in names)

    return Observation(
        {
            name.removeprefix("0."): replace(
                each, takers=inside(each.takers), givers=inside(each.givers)
            )
            for name, each in seen.items()
        }
    )


def photos(count: int = 2, seed: int = 0) -> Tensor:
    """Smooth images: noise alone looks like nothing that networks are used on."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 8, generator=generator)
    return nn.functional.interpolate(coarse, size=(96, 128), mode="bilinear").mul(255)


def run(network: RetinaNet, images: Tensor, precision: torch.dtype) -> Tensor:
    with torch.inference_mode(), autocast("cpu", precision):
        raw = network(images.contiguous(memory_format=torch.channels_last))
    return torch.cat([level.flatten() for level in (*raw.logits, *raw.deltas)])


@pytest.fixture
def small() -> RetinaNet:
    torch.manual_seed(0)
    network, _ = make_small("model.backbone=resnet18", "model.norm=frozen")
    for module in network.modules():  # norms as after training: none leaves its features' scale
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


def test_8_bits_go_on_where_only_convolutions_take_them_and_zero_is_zero():
    ranges = seen_inside(Ways(), torch.randn(2, 8, 9, 9)).ranges()
    assert set(ranges) == {"relu", "plain", "twice", "summed", "given", "flat", "last"}
    on = {name: seen.passed_on for name, seen in ranges.items()}
    assert on["relu"] == (0.0, ranges["plain"].high)
    assert on["plain"] == (ranges["twice"].low, ranges["twice"].high)
    assert ranges["twice"].low < 0  # no ReLU lies between
    # A sum, a ReLU of its own and the end need float32; two who take the same output agree only if
    # both saw the same.
    assert {name for name, span in on.items() if span} <= {"relu", "plain", "twice"}


def test_who_alone_takes_an_output_gets_channels_of_like_size():
    torch.manual_seed(0)
    network = Ways()
    with torch.no_grad():
        network.relu.weight[3] *= 20
        network.relu.bias[3] *= 20
    ranges = seen_inside(network, torch.randn(2, 8, 9, 9)).ranges()
    factors = ranges["plain"].factors
    assert ranges["relu"].gives == factors
    assert len(factors) == 8
    assert max(factors) == 1.0
    assert min(factors) == factors[3]
    for name in ("relu", "summed", "flat", "given", "last"):  # not made by one, or not for one
        assert ranges[name].factors == ()
    for name in ("twice", "summed", "flat", "given", "last"):
        assert ranges[name].gives == ()


def test_depthwise_channels_are_made_equal():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, groups=8))
    with torch.no_grad():
        network[0].weight *= 1.5 ** torch.arange(8.0)[:, None, None, None]
    use_fast_convolutions(network)
    seen = seen_inside(network, torch.randn(2, 8, 16, 16))
    ranges = seen.ranges()
    extents = seen.seen["2"].inputs.channel_extents() * torch.tensor(ranges["2"].factors)
    assert extents.max() < 1.001 * extents.min()
    assert ranges["0"].passed_on == (0.0, ranges["2"].high)


def test_what_leaves_a_part_of_the_network_is_float32():
    network = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))
    use_fast_convolutions(network)
    ranges = as_seen(network, torch.randn(2, 8, 9, 9)).ranges()
    assert ranges["0"].passed_on is None
    assert ranges["0"].gives == ranges["1"].factors == ()


def test_what_stays_in_float32_is_handed_float32():
    seen = seen_inside(Ways(), torch.randn(2, 8, 9, 9))
    ranges = seen.ranges(without="plain")
    assert "plain" not in ranges
    assert ranges["relu"].passed_on is None
    assert ranges["relu"].gives == ()
    assert ranges["twice"].factors == ()


def test_ranges_and_means_are_those_of_all_that_was_seen():
    network = Ways()
    first, second = torch.rand(1, 8, 9, 9), 3 * torch.rand(3, 8, 5, 5) - 1
    seen = as_seen(network, first, second).ranges()["relu"]
    assert second.min() <= seen.low < 0
    assert 0.5 * second.max() < seen.high <= second.max()
    everything = torch.cat([value.transpose(0, 1).flatten(1) for value in (first, second)], dim=1)
    torch.testing.assert_close(
        torch.tensor(seen.means), everything.mean(dim=1), rtol=1e-3, atol=1e-4
    )


def test_one_far_value_does_not_cost_all_others_their_steps():
    network = Ways()
    images = torch.rand(4, 8, 64, 64)
    images[0, 0, 0, 0] = 40.0
    assert as_seen(network, images).ranges()["relu"].high < 30


def test_the_same_images_give_the_same_ranges():
    torch.manual_seed(0)
    network, images = Ways(), torch.rand(2, 8, 64, 64)
    assert as_seen(network, images).ranges() == as_seen(network, images).ranges()


@needs_int8
def test_the_network_computes_in_8_bits_only_where_it_is_told_to(small):
    images = photos()
    exact = run(small, images, torch.float32)
    quantise(small, as_seen(small, images).ranges())
    assert torch.equal(run(small, images, torch.float32), exact)
    rough = run(small, images, torch.int8)
    assert not torch.equal(rough, exact)
    assert (rough - exact).square().mean() < 0.1 * (exact - exact.mean()).square().mean()
    assert torch.corrcoef(torch.stack([rough, exact]))[0, 1] > 0.97
    quantise(small, {})
    assert torch.equal(run(small, images, torch.int8), exact)


@needs_int8
def test_most_of_the_network_is_in_8_bits_and_hands_them_on(small, monkeypatch):
    images = photos()
    ranges = as_seen(small, images).ranges()
    quantise(small, ranges)
    kinds = []
    forward = FastConv2d.forward

    def spied(self, features):
        result = forward(self, features)
        kinds.append((features.dtype, result.dtype))
        return result

    monkeypatch.setattr(FastConv2d, "forward", spied)
    run(small, images, torch.int8)
    handed = sum(given is torch.uint8 for given, _ in kinds)
    assert handed == sum(got is torch.uint8 for _, got in kinds)
    towers = 2 * len(small.classification.tower)
    assert handed == 8 + towers  # the first convolution of each basic block, and the hidden layers
    assert len(ranges) == sum(isinstance(module, FastConv2d) for module in small.modules())


@needs_int8
def test_an_image_gives_the_same_alone_and_among_others(small):
    images = photos(3)
    quantise(small, as_seen(small, images).ranges())
    together = run(small, images, torch.int8)
    for at in range(3):
        alone = run(small, images[at : at + 1], torch.int8)
        levels = [value.numel() for value in run_levels(small, images[:1])]
        parts = [part.view(3, -1)[at] for part in together.split([3 * size for size in levels])]
        torch.testing.assert_close(alone, torch.cat(parts), rtol=1e-4, atol=1e-4)


def run_levels(network: RetinaNet, images: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        raw = network(images)
    return [*raw.logits, *raw.deltas]


@needs_int8
def test_who_counts_operations_sees_plain_ones(small):
    images = photos(1)
    quantise(small, as_seen(small, images).ranges())
    exact = run(small, images, torch.float32)
    with FlopCounterMode(display=False) as counter:
        counted = run(small, images, torch.int8)
    assert counter.get_total_flops() > 0
    torch.testing.assert_close(counted, exact, rtol=1e-3, atol=1e-3)


@needs_int8
def test_changed_weights_end_it(small):
    images = photos()
    quantise(small, as_seen(small, images).ranges())
    assert prediction_precision("auto", CPU, small.quantisation) is torch.int8
    assert prediction_precision("int8", CPU, small.quantisation) is torch.int8
    assert prediction_precision("float32", CPU, small.quantisation) is torch.float32
    assert prediction_precision("bf16", CPU, small.quantisation) is torch.bfloat16
    with torch.no_grad():
        small.fpn.lateral[0].weight.mul_(1.5)
    assert prediction_precision("auto", CPU, small.quantisation) is not torch.int8
    with pytest.raises(SettingsError, match="weights have changed"):
        prediction_precision("int8", CPU, small.quantisation)


@needs_int8
def test_a_copy_computes_in_float32(small):
    quantise(small, as_seen(small, photos()).ranges())
    copied = copy.deepcopy(small)
    assert copied.quantisation is not None
    assert not copied.quantisation.is_current()
    assert small.quantisation is not None
    assert small.quantisation.is_current()


def test_int8_that_can_t_be_had_is_explained(small, monkeypatch):
    if int8_is_fast():
        with pytest.raises(SettingsError, match="foveal quantise"):
            prediction_precision("int8", CPU, None)
    with pytest.raises(SettingsError, match="is for CPUs"):
        prediction_precision("int8", torch.device("cuda"), None)
    monkeypatch.setattr("foveal.models.quantisation.int8_is_fast", lambda: False)
    with pytest.raises(SettingsError, match="no instructions"):
        prediction_precision("int8", CPU, None)
    quantise(small, as_seen(small, photos(1)).ranges())
    assert prediction_precision("auto", CPU, small.quantisation) is not torch.int8


def test_the_context_ends_with_its_block():
    def fail() -> None:
        with autocast("cpu", torch.int8):
            assert computes_in_int8()
            with autocast("cpu", torch.float32):
                assert not computes_in_int8()
            assert computes_in_int8()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not computes_in_int8()


def test_ranges_of_another_network_are_refused(small):
    ranges = as_seen(small, photos(1)).ranges()
    with pytest.raises(ValueError, match="is no convolution"):
        quantise(Ways(), ranges)
    name = next(iter(ranges))
    with pytest.raises(ValueError, match="2 channels"):
        quantise(small, {name: InputRange(0.0, 1.0, (0.5, 0.5))})
    with pytest.raises(ValueError, match="gives 64 channels, not 2"):
        quantise(small, {name: replace(ranges[name], gives=(0.5, 0.5))})


def test_ranges_as_json():
    ranges = as_seen(Ways(), torch.randn(2, 8, 9, 9)).ranges()
    assert from_json(json.loads(json.dumps(to_json(ranges)))) == ranges


GOOD = {
    "low": 0.0,
    "high": 1.0,
    "means": [0.5],
    "factors": [],
    "passed_on": None,
    "gives": [],
}


@pytest.mark.parametrize(
    "entry",
    [
        {**GOOD, "high": 0.0},
        {**GOOD, "low": 0.5},
        {**GOOD, "high": float("nan")},
        {**GOOD, "means": ["a"]},
        {**GOOD, "means": 3},
        {**GOOD, "passed_on": [1.0, 2.0]},
        {**GOOD, "factors": [1.0, 1.0]},
        {**GOOD, "factors": [0.0]},
        {**GOOD, "gives": [-1.0]},
        {**GOOD, "passed_on": [0.0, 0.0]},
        {**GOOD, "more": 1},
        {"low": 0.0},
        [],
        None,
    ],
    ids=str,
)
def test_json_that_holds_no_ranges(entry):
    assert from_json({"conv": GOOD})
    with pytest.raises(ValueError):  # noqa: PT011
        from_json({"conv": entry})


@needs_int8
def test_a_model_file_keeps_them(tmp_path: Path):
    torch.manual_seed(0)
    network, settings = make_small("model.backbone=resnet18", "model.norm=frozen")
    network.eval()
    images = photos()
    quantise(network, as_seen(network, images).ranges())
    path = tmp_path / "model.safetensors"
    model_file.save(path, network, settings, CLASSES)
    loaded = model_file.load(path).model
    assert loaded.quantisation is not None
    assert loaded.quantisation.is_current()
    assert torch.equal(run(loaded, images, torch.int8), run(network, images, torch.int8))
    with torch.no_grad():
        network.fpn.lateral[0].weight.mul_(1.5)
    model_file.save(path, network, settings, CLASSES)
    assert model_file.load(path).model.quantisation is None


@pytest.mark.parametrize("broken", [{"conv": GOOD}, {"conv": 3}, [], "no"], ids=str)
def test_a_model_file_with_other_ranges_is_refused(broken, tmp_path):
    from tests.models.test_model_file import rewrite

    network, settings = make_small()
    path = tmp_path / "model.safetensors"
    model_file.save(path, network, settings, CLASSES)
    rewrite(path, int8=broken)
    with pytest.raises(ModelFileError, match="8 bits does not fit"):
        model_file.load(path)
