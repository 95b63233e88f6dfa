"""Pyramids that begin at stride 4 or 2, for small objects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.conftest import make_small

from foveal.checkpoints.model_file import load, save
from foveal.errors import SettingsError
from foveal.structures import ModelCard

LAYOUTS = ([4, 8, 16, 32, 64], [4, 8, 16, 32, 64, 128], [2, 4, 8, 16, 32], [8, 16, 32])


def overrides(strides: list[int]) -> tuple[str, str]:
    return f"anchors.strides={strides}", f"anchors.sizes={[4 * stride for stride in strides]}"


@pytest.mark.parametrize("norm", ["live", "frozen"])
@pytest.mark.parametrize("strides", LAYOUTS)
def test_levels_anchors_and_gradient(strides: list[int], norm: str) -> None:
    model, _ = make_small(*overrides(strides), f"model.norm={norm}", "model.backbone=resnet18")
    raw = model(torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8))
    counts = [9 * -(-64 // stride) * -(-96 // stride) for stride in strides]
    assert [level.shape[1] for level in raw.logits] == counts
    assert len(model.anchors(64, 96)) == sum(counts)
    raw.logits[0].sum().backward()
    assert model.backbone.body.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("strides", LAYOUTS)
def test_the_model_file_gives_the_same_outputs(strides: list[int], tmp_path: Path) -> None:
    model, settings = make_small(*overrides(strides))
    save(tmp_path / "m.safetensors", model, settings, ModelCard(("a", "b", "c")))
    again = load(tmp_path / "m.safetensors").model.eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        for own, loaded in zip(model(image).logits, again(image).logits, strict=True):
            assert torch.equal(own, loaded)


def test_a_network_without_such_a_map_says_what_it_gives() -> None:
    strides = [2, 4, 8, 16, 32]
    with pytest.raises(SettingsError, match=r"strides 4, 8, 16 and 32\. .*begin .* at 4 or 8"):
        make_small(*overrides(strides), "model.backbone=swin_tiny_patch4_window7_224")
