"""Model files: the same outputs bit for bit, and clear errors for everything else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.models.conftest import make_small
from torch.utils._pytree import tree_leaves

from foveal.checkpoints import model_file
from foveal.config import Settings
from foveal.errors import ModelFileError
from foveal.models.retinanet import RetinaNet
from foveal.structures import ModelCard

CLASSES = ("red cell", "white cell", "Plättchen")
CARD = ModelCard(CLASSES, score_threshold=0.35, threshold_is_chosen=True, epoch=3)
IMAGES = torch.arange(2 * 3 * 64 * 64).remainder(251).to(torch.uint8).view(2, 3, 64, 64)


def card_of(classes: list[str]) -> dict[str, Any]:
    """A card as it stands in a file."""
    return {
        "classes": classes,
        "score_threshold": 0.3,
        "threshold_is_chosen": False,
        "ignored_classes": [],
        "metrics": {},
        "epoch": None,
        "origin": "",
    }


@pytest.fixture
def path(small: tuple[RetinaNet, Settings], tmp_path: Path) -> Path:
    model, settings = small
    path = tmp_path / "cells.safetensors"
    model_file.save(path, model, settings, CARD)
    return path


def test_a_folder_whose_name_is_not_utf8(
    small: tuple[RetinaNet, Settings], path: Path, tmp_path: Path
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xf6n"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    model_file.save(folder / path.name, *small, CARD)
    assert model_file.load(folder / path.name).card == CARD
    assert (folder / path.name).read_bytes() == path.read_bytes()


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
    model_file.save(path, model, settings, CARD)
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
    settings = small[1]
    assert loaded.card == CARD
    for name in ("model", "anchors", "preparation", "decoding"):
        assert getattr(loaded.settings, name) == getattr(settings, name)
    assert loaded.record["training"]["epochs"] == settings.training.epochs
    assert set(loaded.record) == {"assignment", "loss", "augmentation", "training"}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_loading_looks_for_no_weights(tmp_path: Path) -> None:
    model, settings = make_small()
    pretrained = settings.model_copy(
        update={"model": settings.model.model_copy(update={"weights": "/nowhere/w.safetensors"})}
    )
    model_file.save(tmp_path / "m.safetensors", model, pretrained, CARD)
    assert model_file.load(tmp_path / "m.safetensors").settings.model == pretrained.model


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
        model_file.save(path, *small, CARD)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_keeps_the_old_file(path: Path, small: tuple[RetinaNet, Settings]) -> None:
    resource = pytest.importorskip("resource")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(ModelFileError, match=r"can't be written.*is still there\. .*make room"):
            model_file.save(path, *small, CARD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_wrong_number_of_names(small: tuple[RetinaNet, Settings], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="2 class names for a model with 3 classes"):
        model_file.save(tmp_path / "m.safetensors", *small, ModelCard(("a", "b")))


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


@pytest.mark.parametrize("version", [0, 3, "2", None])
def test_another_format_version(path: Path, version: object) -> None:
    rewrite(path, version=version)
    with pytest.raises(ModelFileError, match=f"format version {version}, expected 1 to 2"):
        model_file.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card": {"classes": "abc"}}, "description is incomplete"),
        ({"card": card_of(["a", "b"])}, r"classification\.output\.weight is \[27, 16"),
        ({"model": {"backbonne": "resnet18"}}, r"model\.backbonne: Extra inputs"),
        ({"model": {"backbone": "nothing"}}, "no such network"),
        ({"card": card_of(["a", "a"])}, "none of them twice"),
        ({"decoding": None}, r"\(decoding: "),
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


def test_settings_that_are_no_default_survive(tmp_path: Path) -> None:
    overrides = ("model.norm_eps=0.0", "anchors.compat=torchvision", "loss.alpha=null")
    model, settings = make_small(*overrides)
    model_file.save(tmp_path / "m.safetensors", model, settings, CARD)
    loaded = model_file.load(tmp_path / "m.safetensors")
    assert loaded.settings.model == settings.model
    assert loaded.settings.anchors == settings.anchors
    assert loaded.record["loss"]["alpha"] is None


def test_what_is_told_of_the_training_is_never_validated(path: Path) -> None:
    rewrite(path, record={"training": {"epochs": "many", "unheard_of": [1, {"x": None}]}})
    loaded = model_file.load(path)
    assert loaded.record == {"training": {"epochs": "many", "unheard_of": [1, {"x": None}]}}
    assert loaded.settings.training.epochs == Settings().training.epochs


def test_saving_what_was_loaded_keeps_all_of_it(path: Path, tmp_path: Path) -> None:
    rewrite(path, record={"mine": [1, 2]})
    loaded = model_file.load(path)
    again = tmp_path / "again.safetensors"
    model_file.save(again, loaded.model, loaded.settings, loaded.card, loaded.record)
    assert description(again) == description(path)
