"""Model files: the same outputs bit for bit, and clear errors for everything else."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.models.conftest import make_small
from torch.utils._pytree import tree_leaves

from foveal.config import Settings
from foveal.errors import ModelFileError
from foveal.models import model_file
from foveal.models.retinanet import RetinaNet

CLASSES = ("red cell", "white cell", "Plättchen")
IMAGES = torch.arange(2 * 3 * 64 * 64).remainder(251).to(torch.uint8).view(2, 3, 64, 64)


@pytest.fixture
def path(small: tuple[RetinaNet, Settings], tmp_path: Path) -> Path:
    model, settings = small
    path = tmp_path / "cells.safetensors"
    model_file.save(path, model, settings, CLASSES, {"threshold": 0.35, "best": {"ap": [1, None]}})
    return path


def description(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["foveal"])


def rewrite(path: Path, **changes: Any) -> None:
    text = json.dumps(description(path) | changes)
    save_file(load_file(path), path, {"foveal": text})


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model.norm=frozen", "model.norm_eps=0.0", "model.frozen_stages=2"),
        ("model.norm=group", "model.head_norm=group", "model.head_channels=32"),
        ("model.head_depthwise=true", "model.backbone=test_convnext"),
        ("model.backbone=test_efficientnet", "model.norm=frozen"),
    ],
)
def test_the_same_outputs_bit_for_bit(overrides: tuple[str, ...], tmp_path: Path) -> None:
    model, settings = make_small(*overrides)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) * 0.1)
    path = tmp_path / "model.safetensors"
    model_file.save(path, model, settings, list(CLASSES))
    loaded = model_file.load(str(path))
    assert not loaded.model.training
    with torch.inference_mode():
        for ours, theirs in zip(
            tree_leaves(loaded.model(IMAGES)), tree_leaves(model(IMAGES)), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert torch.equal(loaded.model.anchors(64, 64), model.anchors(64, 64))


def test_everything_else_comes_back(path: Path, small: tuple[RetinaNet, Settings]) -> None:
    loaded = model_file.load(path)
    assert loaded.classes == CLASSES
    assert loaded.settings == small[1]
    assert loaded.notes == {"threshold": 0.35, "best": {"ap": [1, None]}}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_loading_looks_for_no_weights(tmp_path: Path) -> None:
    model, settings = make_small()
    pretrained = settings.model_copy(
        update={"model": settings.model.model_copy(update={"weights": "/nowhere/w.safetensors"})}
    )
    model_file.save(tmp_path / "m.safetensors", model, pretrained, CLASSES)
    assert model_file.load(tmp_path / "m.safetensors").settings == pretrained


def test_loading_leaves_the_random_numbers_alone(path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model_file.load(path)
    assert torch.equal(torch.rand(3), expected)


def test_a_failed_write_keeps_the_old_file(
    path: Path, small: tuple[RetinaNet, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def fail(_state: object, file: Path, _metadata: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_file, "save_file", fail)
    with pytest.raises(ModelFileError, match=r"can't be written.*No space left"):
        model_file.save(path, *small, CLASSES)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_keeps_the_old_file(path: Path, small: tuple[RetinaNet, Settings]) -> None:
    resource = pytest.importorskip("resource")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(ModelFileError, match=r"can't be written.*is still there\. Make room"):
            model_file.save(path, *small, CLASSES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_wrong_number_of_names(small: tuple[RetinaNet, Settings], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="2 class names for a model with 3 classes"):
        model_file.save(tmp_path / "m.safetensors", *small, ["a", "b"])


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        model_file.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_cut_short(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelFileError, match="no complete safetensors file"):
        model_file.load(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a zip", b"\xff" * 100, b"{}" * 50])
def test_something_else(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"cells\.safetensors: is no complete safetensors"):
        model_file.load(path)


def test_a_safetensors_file_of_someone_else(path: Path) -> None:
    save_file(load_file(path), path)
    with pytest.raises(ModelFileError, match=r"no model of foveal's.*model\.weights=FILE"):
        model_file.load(path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version(path: Path, version: object) -> None:
    rewrite(path, version=version)
    with pytest.raises(ModelFileError, match=f"format version {version}, expected 1"):
        model_file.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": "abc"}, "description is incomplete"),
        ({"classes": ["a", "b"]}, r"classification\.output\.weight is \[27, 16"),
        ({"settings": {"model": {"backbonne": "resnet18"}}}, "backbonne is unknown"),
        ({"settings": {"model": {"backbone": "nothing"}}}, "no such network"),
    ],
)
def test_a_description_that_is_wrong(path: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(path, **changes)
    with pytest.raises(ModelFileError, match=message):
        model_file.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"x"'])
def test_a_description_that_is_broken(path: Path, text: str) -> None:
    save_file(load_file(path), path, {"foveal": text})
    with pytest.raises(ModelFileError, match="description can't be read"):
        model_file.load(path)


def test_another_network_under_the_same_settings(path: Path) -> None:
    text = json.dumps(description(path))
    state = load_file(path)
    state["stranger"] = state.pop("fpn.output.0.bias")
    save_file(state, path, {"foveal": text})
    with pytest.raises(
        ModelFileError, match=r"fpn\.output\.0\.bias is missing; stranger is unknow"
    ):
        model_file.load(path)


@pytest.mark.parametrize("names", [("a", "b", "c", "d", "e"), ("Plättchen", "x", "y")])
def test_other_classes_keep_everything_but_the_class_layer(
    path: Path, names: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = make_small(classes=len(names))
    for value in model.parameters():
        torch.nn.init.constant_(value, 7)
    with caplog.at_level(logging.WARNING):
        left = model_file.load_weights_into(model, path, names)
    assert left == ("classification.output.weight", "classification.output.bias")
    stored = load_file(path)
    for key, value in model.state_dict().items():
        assert (value == 7).all() if key in left else torch.equal(value, stored[key]), key
    assert "all but the class layer" in caplog.text


def test_the_same_classes_keep_the_class_layer_too(path: Path) -> None:
    model, _ = make_small()
    torch.nn.init.zeros_(model.classification.output.weight)
    assert model_file.load_weights_into(model, path, CLASSES) == ()
    assert model.classification.output.weight.any()


def test_weights_of_another_network(path: Path) -> None:
    model, _ = make_small("model.fpn_channels=8")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ModelFileError, match=r"is of another network: fpn\.lateral\.0\.weight is"):
        model_file.load_weights_into(model, path, CLASSES)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_settings_that_are_no_default_survive(tmp_path: Path) -> None:
    model, settings = make_small(
        "model.norm_eps=0.0", "anchors.order=ratio-major", "loss.alpha=null"
    )
    model_file.save(tmp_path / "m.safetensors", model, settings, CLASSES)
    assert settings.loss.alpha is None
    assert model_file.load(tmp_path / "m.safetensors").settings == settings
