"""Weights and config for detectron2: there and back, and what it can't hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from tests.checkpoints.imports import convert, foreign_file, image_of, is_equal, own_output
from tests.checkpoints.make_shapes import KINDS
from tests.checkpoints.make_shapes import detectron2 as make_shapes
from tests.checkpoints.plain_networks import detectron2 as plain_detectron2
from tests.checkpoints.plain_networks import random_state

from foveal.checkpoints import detectron2
from foveal.checkpoints.imported_model import ImportedModel
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import Settings, make_settings
from foveal.errors import WeightsError
from foveal.exporting.detectron2 import export_detectron2, to_yaml
from foveal.exporting.export import export_model
from foveal.models.build import build_model
from foveal.models.retinanet import RetinaNet
from foveal.structures import ModelCard

SMALL = (
    "model.backbone=resnet18",
    "model.weights=none",
    "model.fpn_channels=32",
    "model.head_channels=32",
)


def small(*overrides: str) -> tuple[RetinaNet, Settings]:
    settings = make_settings(preset="retinanet", overrides=[*SMALL, *overrides])
    torch.manual_seed(0)
    return build_model(settings, 3).eval(), settings


def back(model: RetinaNet, settings: Settings, folder: Path) -> tuple[ImportedModel, LoadedModel]:
    """Exported and imported again."""
    exported = export_detectron2(model, settings)
    text = to_yaml(exported.config, weights="m.pth", classes=("a", "b: c", "d"))
    (folder / "m.yaml").write_text(text)
    return convert(detectron2, foreign_file(exported.state, path=folder / "m.pth"))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_checkpoint_there_and_back_is_bit_identical(grouped: bool) -> None:
    state = random_state(make_shapes(KINDS["r18"], width=32, classes=3, group_norm=grouped))
    # That its input is BGR stands in the file.
    bgr = {"pixel_mean": torch.tensor((1.0, 2.0, 3.0)), "pixel_std": torch.ones(3)}
    _, loaded = convert(detectron2, foreign_file(state | bgr))
    exported = export_detectron2(loaded.model, loaded.settings)
    assert exported.state.keys() == state.keys()
    for name, value in exported.state.items():
        assert torch.equal(value, state[name]), name
    assert exported.config["MODEL"]["PIXEL_MEAN"] == [1.0, 2.0, 3.0]
    assert exported.config["MODEL"]["PIXEL_STD"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.norm=live", "model.head_norm=group"),
        ("model.norm=group", "model.head_depth=1", "preparation.shorter=320"),
        (
            "anchors.scales=[1, 1.5]",
            "anchors.sizes=[8, 20, 40, 80, 200]",
            "anchors.ratios=[0.7]",
            "decoding.nms_iou=0.4",
            "decoding.max_detections=7",
        ),
    ],
)
def test_our_own_models_come_back_as_they_were(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    model, settings = small(*overrides)
    imported, loaded = back(model, settings, tmp_path)
    image = image_of(64, 96)
    assert is_equal(own_output(loaded, image), own_output(as_loaded(model, settings), image))
    for name in ("preparation", "decoding"):
        assert getattr(imported.settings, name) == getattr(settings, name)
    own = loaded.model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())


def as_loaded(model: RetinaNet, settings: Settings) -> LoadedModel:
    return LoadedModel(model, settings, ModelCard(("a", "b", "c")))


def test_detectron2_makes_the_same_of_it() -> None:
    _, loaded = convert(
        detectron2, foreign_file(random_state(make_shapes(KINDS["r18"], width=32, classes=3)))
    )
    exported = export_detectron2(loaded.model, loaded.settings)
    config = exported.config["MODEL"]
    image = image_of(64, 96)
    expected = plain_detectron2(
        exported.state,
        image,
        KINDS["r18"],
        stride_in_1x1=config["RESNETS"]["STRIDE_IN_1X1"],
        mean=config["PIXEL_MEAN"],
        std=config["PIXEL_STD"],
        bgr=exported.config["INPUT"]["FORMAT"] == "BGR",
    )
    assert is_equal(own_output(loaded, image), expected)


def test_another_eps_goes_into_the_variances(tmp_path: Path) -> None:
    model, settings = small("model.norm_eps=0.001")
    exported = export_detectron2(model, settings)
    assert "eps is 1e-05 there and 0.001 here" in exported.hints[0]
    _, loaded = back(model, settings, tmp_path)
    image = image_of(64, 96)
    assert is_equal(own_output(loaded, image), own_output(as_loaded(model, settings), image))


@pytest.fixture(scope="module")
def model_and_settings() -> tuple[RetinaNet, Settings]:
    return small()


def test_the_text_names_weights_and_classes(
    model_and_settings: tuple[RetinaNet, Settings],
) -> None:
    exported = export_detectron2(*model_and_settings)
    text = to_yaml(exported.config, weights="m.pth", classes=("a", "b: c", "d\n"))
    assert "#   1: 'b: c'" in text
    read = yaml.safe_load(text)
    assert read["MODEL"]["WEIGHTS"] == "m.pth"
    assert read["MODEL"]["RETINANET"]["NUM_CLASSES"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.backbone=mobilenetv2_100", "instead of resnet18 or"),
        ("model.p6_from=P5", "model.p6_from is 'P5' instead of 'C5'"),
        ("model.head_channels=16", "model.head_channels is 16 instead of 32"),
        ("model.relu_before_p7=false", "model.relu_before_p7 is False"),
        ("model.quality=iou", "model.quality is 'iou'"),
    ],
)
def test_what_it_can_not_hold(
    override: str, message: str, model_and_settings: tuple[RetinaNet, Settings]
) -> None:
    settings = make_settings(preset="retinanet", overrides=[*SMALL, override])
    with pytest.raises(WeightsError, match=message):
        export_detectron2(model_and_settings[0], settings)


def test_anchors_in_whole_pixels_can_not_be_held() -> None:
    with pytest.raises(WeightsError, match="rounded to whole pixels"):
        export_detectron2(*small("anchors.compat=torchvision"))


def test_weights_and_config_lie_beside_each_other(
    tmp_path: Path, model_and_settings: tuple[RetinaNet, Settings]
) -> None:
    (tmp_path / "m.yaml").write_text("earlier")
    report = export_model(as_loaded(*model_and_settings), "detectron2", tmp_path / "m.pth")
    assert report.is_written
    assert "m.yaml is its config, in place of an earlier one" in report.notes[0]
    assert yaml.safe_load((tmp_path / "m.yaml").read_text())["MODEL"]["WEIGHTS"] == "m.pth"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pth", "m.yaml"]
    state = torch.load(tmp_path / "m.pth", weights_only=True)
    assert state.keys() == export_detectron2(*model_and_settings).state.keys()
