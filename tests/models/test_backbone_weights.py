"""Local weight files: complete, partial, foreign, adapted, broken."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import adapt_input_conv

from foveal.errors import WeightsError
from foveal.models.backbone_weights import adapt_bands
from foveal.models.backbones import make_backbone

SMALL = ["resnet18", "mobilenetv3_small_100", "convnextv2_atto", "pvt_v2_b0", "hgnetv2_b0"]


def write(name: str, path: Path, *, prefix: str = "") -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    state = timm.create_model(name, num_classes=7).state_dict()
    for key, value in state.items():
        if key.endswith("running_mean"):
            torch.nn.init.normal_(value)
    state = {prefix + key: value for key, value in state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return state


@pytest.mark.parametrize("name", [*SMALL, "swinv2_cr_tiny_224"])
def test_a_complete_file_gives_timms_feature_maps(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = write(name, path)
    backbone = make_backbone(name, weights=str(path), norm="live").eval()
    assert backbone.initialized == ()
    foreign = timm.create_model(
        name, features_only=True, pretrained=True, pretrained_cfg_overlay={"state_dict": state}
    ).eval()
    size = 224 if name.endswith("224") else 64
    images = torch.randn(1, 3, size, size).double()  # in float32 we have ways of our own to round
    backbone.double(), foreign.double()
    with torch.inference_mode():
        expected = [map_ for map_ in foreign(images) if map_.shape[-1] <= size // 8]
        for ours, theirs in zip(backbone(images), expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("prefix", ["module.", "backbone.body.", "model._orig_mod."])
def test_prefixes_and_nesting(prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    state = write("resnet18", path, prefix=prefix)
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": state}, path)
    backbone = make_backbone("resnet18", weights=str(path))
    assert backbone.initialized == ()
    assert torch.equal(backbone.body.conv1.weight, state[prefix + "conv1.weight"])


def test_a_file_without_some_layers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "part.safetensors"
    state = write("resnet18", path)
    save_file({k: v for k, v in state.items() if not k.startswith("layer4.1.")}, path)
    with caplog.at_level(logging.WARNING):
        backbone = make_backbone("resnet18", weights=str(path))
    assert set(backbone.initialized) == {
        key for key in state if key.startswith("layer4.1.") and "tracked" not in key
    }
    assert "part.safetensors lacks 10 of 100 tensors of resnet18" in caplog.text
    assert "layer4.1" in caplog.text


def test_most_keys_unknown(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write("mobilenetv3_small_100", path)
    with pytest.raises(WeightsError, match=r"of the 100 tensors of resnet18.*another network"):
        make_backbone("resnet18", weights=str(path))


def test_another_size_of_the_family(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write("mobilenetv3_small_075", path)
    with pytest.raises(WeightsError, match="another shape than in mobilenetv3_small_100"):
        make_backbone("mobilenetv3_small_100", weights=str(path))


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    state = write("resnet18", path)
    state["conv1.weight"][0] = torch.nan
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"conv1\.weight.*not finite"):
        make_backbone("resnet18", weights=str(path))


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8])
def test_bands_as_timm_adapts_them(bands: int) -> None:
    weight = torch.randn(8, 3, 3, 3)
    torch.testing.assert_close(adapt_bands(weight, bands), adapt_input_conv(bands, weight))


def test_an_image_with_equal_bands_gives_the_same() -> None:
    weight = torch.randn(8, 3, 5, 5, dtype=torch.float64)
    image = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    expected = torch.conv2d(image.expand(-1, 3, -1, -1), weight)
    for bands in (1, 6, 9):
        found = torch.conv2d(image.expand(-1, bands, -1, -1), adapt_bands(weight, bands))
        torch.testing.assert_close(found, expected)


def test_real_weights_without_layer4(shared: Path) -> None:
    path = shared / "weights" / "resnet18_imagenet_stem_to_layer3.safetensors"
    backbone = make_backbone("resnet18", weights=str(path), norm="frozen")
    assert {key.split(".")[0] for key in backbone.initialized} == {"layer4"}
    stored = load_file(path)
    assert torch.equal(backbone.body.layer3[1].bn2.weight, stored["layer3.1.bn2.weight"])
    one_band = make_backbone("resnet18", weights=str(path), bands=1)
    torch.testing.assert_close(
        one_band.body.conv1.weight, stored["conv1.weight"].sum(1, keepdim=True)
    )


def test_real_complete_weights(shared: Path) -> None:
    path = shared / "weights" / "mobilenetv2_100_imagenet.safetensors"
    assert make_backbone("mobilenetv2_100", weights=str(path)).initialized == ()
