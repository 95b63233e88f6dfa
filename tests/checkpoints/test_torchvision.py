"""Checkpoints of torchvision's RetinaNet, in every wrapping, there and back again."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.models.parity import MEAN, STD
from torch import Tensor
from torchvision.models import resnet18
from torchvision.models.detection import (
    RetinaNet,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
)
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from foveal.checkpoints.importing import import_model
from foveal.config import PreparationSettings
from foveal.errors import SettingsError, WeightsError
from foveal.exporting.torchvision import BACKGROUND_LOGIT, export_torchvision
from foveal.inference.opening import open_network

CLASS_LAYER = "head.classification_head.cls_logits"
BUILDERS = {"v1": retinanet_resnet50_fpn, "v2": retinanet_resnet50_fpn_v2}


def foreign(version: str = "v1", channels: int = 5) -> Any:
    """The network of that name with any values: nothing is computed with it."""
    with torch.device("meta"):
        model = BUILDERS[version](weights=None, weights_backbone=None, num_classes=channels)
    model = model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.random_(0, 1000)
    return model


def small_foreign(channels: int = 5) -> Any:
    """A RetinaNet on ResNet-18, which torchvision has no name for."""
    torch.manual_seed(0)
    body = resnet18(weights=None)
    fpn = _resnet_fpn_extractor(body, 5, [2, 3, 4], LastLevelP6P7(512, 256))
    return RetinaNet(fpn, channels).eval()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return small_foreign().state_dict()


def frozen(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if "num_batches" not in key}


def raw_logits(model: Any, images: Tensor) -> Tensor:
    mean, std = (torch.tensor(part)[:, None, None] for part in (MEAN, STD))
    features = model.backbone((images / 255 - mean) / std)
    return model.head(list(features.values()))["cls_logits"]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_there_and_back_is_bit_identical(version: str, tmp_path: Path) -> None:
    model = foreign(version)
    before = model.state_dict()
    torch.save(before, tmp_path / "c.pth")
    imported = import_model(tmp_path / "c.pth", classes=list("abcd"))
    assert not any("group norm" in note for note in imported.notes), "it is padded alike"
    assert any("max_size were others: --set prep" in note for note in imported.notes)
    loaded = imported.loaded
    exported = export_torchvision(loaded.model, loaded.settings)
    assert exported.state.keys() == before.keys()
    for key, value in before.items():
        found = exported.state[key]
        if key.startswith(CLASS_LAYER):
            found, value = (part.unflatten(0, (9, 5)) for part in (found, value))
            expected = BACKGROUND_LOGIT if key.endswith("bias") else 0.0
            assert (found[:, 0] == expected).all()
            found, value = found[:, 1:], value[:, 1:]
        assert torch.equal(found, value), key
    model.load_state_dict(exported.state, strict=True)
    name = re.escape(BUILDERS[version].__name__ + "(weights=None, weights_backbone=None, num_cla")
    assert re.match(name, exported.constructor)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "optimizer": {}, "epoch": 25, "args": Namespace(lr=0.1)},
        lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {"model_state_dict": {f"net._orig_mod.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()} | {"iou.x": v0}},
    ],
)
def test_wrappings(wrap: Any, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(wrap(state), tmp_path / "c.ckpt")
    loaded = import_model(tmp_path / "c.ckpt").loaded
    own = loaded.model.state_dict()
    assert torch.equal(own["backbone.body.conv1.weight"], state["backbone.body.conv1.weight"])
    assert loaded.card.classes == ("class 1", "class 2", "class 3", "class 4")
    assert loaded.settings.model.backbone == "resnet18"
    assert loaded.settings.model.norm == "live"


v0 = torch.zeros(1)


def test_the_names_of_2020(state: dict[str, Tensor], tmp_path: Path) -> None:
    """The published v1 weights still have them."""
    old = {}
    for key, value in frozen(state).items():
        key = re.sub(r"(inner|layer)_blocks\.(\d)\.0\.", r"\1_blocks.\2.", key)
        key = re.sub(r"head\.conv\.(\d)\.0\.", lambda found: f"head.conv.{2 * int(found[1])}.", key)
        old[key] = value
    assert "head.classification_head.conv.6.weight" in old
    assert "backbone.fpn.inner_blocks.0.weight" in old
    torch.save(old, tmp_path / "old.pth")
    torch.save(frozen(state), tmp_path / "new.pth")
    first, second = (import_model(tmp_path / f"{name}.pth").loaded for name in ("old", "new"))
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key])
    assert first.settings.model.norm == "frozen"
    assert first.settings.model.norm_eps == 0.0


def test_overrides(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "c.pth")
    loaded = import_model(
        tmp_path / "c.pth", overrides=["model.norm=frozen", "model.norm_eps=1e-5"]
    ).loaded
    assert (loaded.settings.model.norm, loaded.settings.model.norm_eps) == ("frozen", 1e-5)
    with pytest.raises(SettingsError, match="nothing is unknown"):
        import_model(tmp_path / "c.pth", overrides=["model.nothing=1"])


def test_boxes_of_an_image_are_torchvisions_own(tmp_path: Path) -> None:
    """From the file of a larger image: what is left is pixels rounded to whole numbers."""
    model = small_foreign(3)
    model.transform.min_size, model.transform.max_size = (96,), 160
    with torch.no_grad():
        model.head.classification_head.cls_logits.weight.mul_(8)
        model.head.classification_head.cls_logits.bias.fill_(-2)
    torch.save(model.state_dict(), tmp_path / "c.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    image = Image.fromarray(pixels).resize((331, 247))
    with torch.no_grad():
        theirs = model([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255])[0]

    sides = ["preparation.shorter=96", "preparation.longer=160"]
    imported = import_model(tmp_path / "c.pth", overrides=sides)
    assert not any("max_size" in note for note in imported.notes)

    def differences(preparation: PreparationSettings) -> Tensor:
        settings = imported.loaded.settings.model_copy(update={"preparation": preparation})
        opened = open_network(replace(imported.loaded, settings=settings), precision="float32")
        found = opened.predictor(score_threshold=0.05).detect(image)
        boxes = torch.from_numpy(found.boxes)
        same = torch.from_numpy(found.labels) + 1 == theirs["labels"][:, None]
        gaps = (boxes - theirs["boxes"][:, None]).abs().amax(2)
        return torch.where(same, gaps, torch.inf).amin(1)

    assert len(theirs["boxes"]) > 50
    compat = imported.loaded.settings.preparation
    other = compat.model_copy(update={"compat": "none"})
    # Scores of random weights are near ties, which NMS decides: not all can be found again.
    assert (differences(compat) < 0.1).float().mean() > 0.6
    assert (differences(other) < 0.1).float().mean() < 0.1


def test_coco_names_for_91_channels(tmp_path: Path) -> None:
    torch.save(small_foreign(91).state_dict(), tmp_path / "c.pth")
    loaded = import_model(tmp_path / "c.pth").loaded
    assert len(loaded.card.classes) == loaded.model.num_classes == 90
    assert loaded.card.classes[0] == "person"
    assert loaded.card.classes[17] == "dog"  # COCO's id 18
    assert loaded.card.classes[89] == "toothbrush"


@pytest.mark.parametrize(
    ("names", "expected", "first"),
    [
        (list("abcd"), tuple("abcd"), 1),
        (["__background__", *"abcd"], tuple("abcd"), 1),
        (list("abcde"), tuple("abcde"), 0),
    ],
)
def test_names_decide_about_the_background(
    names: list[str],
    expected: tuple[str, ...],
    first: int,
    state: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    torch.save(state, tmp_path / "c.pth")
    loaded = import_model(tmp_path / "c.pth", classes=names).loaded
    assert loaded.card.classes == expected
    apart = state[f"{CLASS_LAYER}.weight"].unflatten(0, (3, 3, 5)).transpose(0, 1)
    weight = apart[:, :, first:].flatten(0, 2)
    assert torch.equal(loaded.model.classification.output.weight, weight)


def test_one_channel_is_a_class(tmp_path: Path) -> None:
    """Some programs train torchvision's network with one class and no background."""
    torch.save(small_foreign(1).state_dict(), tmp_path / "c.pth")
    assert import_model(tmp_path / "c.pth", classes=["tree"]).loaded.card.classes == ("tree",)
    assert import_model(tmp_path / "c.pth").loaded.card.classes == ("class 0",)


@pytest.mark.parametrize("count", [0, 3, 6])
def test_the_wrong_number_of_names(count: int, state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=f"5 class channels and there are {count} names"):
        import_model(tmp_path / "c.pth", classes=[str(n) for n in range(count)])


def without(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if part not in key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "body.conv1"), r"looks like a part of torchvision's RetinaNet"),
        (lambda s: without(s, "fpn.layer"), r"6 missing: backbone\.fpn\.layer_blocks\.0\.0\.we"),
        (lambda s: without(s, "layer3.1"), r"its backbone has \(2, 2, 1, 2\) blocks"),
        (lambda s: without(s, "cls_logits"), "it is incomplete"),
        (lambda s: s | {"backbone.fpn.x": v0}, r"1 unknown: backbone\.fpn\.x"),
        (
            lambda s: s | {"backbone.body.bn1.weight": torch.ones(3)},
            r"1 of another shape: backbone\.body\.bn1\.weight \[3\] instead of \[64\]",
        ),
        (
            lambda s: s | {"head.regression_head.bbox_reg.bias": torch.ones(60)},
            "15 anchors at each location, expected 9.*--set anchors",
        ),
    ],
)
def test_what_does_not_fit(
    change: Any, message: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(change(state), tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=message):
        import_model(tmp_path / "c.pth")


def test_other_anchors(tmp_path: Path) -> None:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    sizes = tuple((side,) for side in (16, 32, 64, 128, 256))
    body = _resnet_fpn_extractor(resnet18(weights=None), 5, [2, 3, 4], LastLevelP6P7(256, 256))
    model = RetinaNet(body, 3, anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0),) * 5))
    torch.save(model.state_dict(), tmp_path / "c.pth")
    chosen = [
        "anchors.scales=[1.0]",
        "anchors.ratios=[0.5, 1.0]",
        "anchors.sizes=[16,32,64,128,256]",
    ]
    loaded = import_model(tmp_path / "c.pth", overrides=chosen).loaded
    assert loaded.settings.model.p6_from == "P5"
    images = torch.zeros(1, 3, 64, 64)
    image_list = torch.zeros(1, 3, 64, 64)
    features = list(model.backbone(image_list).values())
    from torchvision.models.detection.image_list import ImageList

    expected = model.anchor_generator(ImageList(image_list, [(64, 64)]), features)[0]
    assert torch.equal(loaded.model.anchors(*images.shape[-2:]), expected)
    constructor = export_torchvision(loaded.model, loaded.settings).constructor
    assert (
        "AnchorGenerator(((16,), (32,), (64,), (128,), (256,)), ((0.5, 1.0),) * 5)" in constructor
    )
