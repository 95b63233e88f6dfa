"""A training that begins from a foreign checkpoint: what of it is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.checkpoints.make_shapes import make
from tests.checkpoints.plain_networks import random_state
from tests.checkpoints.test_odtk import STATED

import foveal
from foveal.checkpoints import model_file
from foveal.checkpoints.importing import import_model
from foveal.checkpoints.starting import (
    START_SECTIONS,
    Start,
    describe_start,
    load_start,
    read_start,
)
from foveal.config import gather_settings
from foveal.data.dataset import Dataset, Record
from foveal.errors import SettingsError
from foveal.models.build import build_model

COCO = ("person", "car", "dog", "cat")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with anchors given one by one, a multiple of 128 and norms of eps 1e-5."""
    folder = tmp_path_factory.mktemp("imported")
    state = random_state(make("odtk", "r18", classes=4, width=16))
    torch.save({"state_dict": state, **STATED}, folder / "c.pth")
    loaded = import_model(folder / "c.pth", classes=COCO).loaded
    model_file.save(folder / "coco.safetensors", loaded.model, loaded.settings, loaded.card)
    return folder / "coco.safetensors"


@pytest.fixture(scope="module")
def start(imported: Path) -> Start:
    return read_start(imported)


def explicit(*overrides: str) -> dict[str, dict[str, Any]]:
    """What a training gives on top of what it begins from."""
    return gather_settings(overrides=overrides, without=START_SECTIONS)


@pytest.mark.parametrize("classes", [("dog", "cell"), ("cell", "bacterium")])
def test_all_but_the_class_layer_is_kept_and_rows_of_equal_names(
    classes: tuple[str, ...], start: Start
) -> None:
    settings = start.settings(explicit("training.epochs=3"))
    model = build_model(settings, 2, empty=True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_start(model, start, classes)
    state = model.state_dict()
    layer = {"classification.output.weight", "classification.output.bias"}
    for key, value in state.items():
        if key not in layer:
            assert torch.equal(value, start.tensors[key]), key
    for key in layer:
        own, old = state[key].unflatten(0, (9, 2)), start.tensors[key].unflatten(0, (9, 4))
        new = before[key].unflatten(0, (9, 2))
        assert torch.equal(own[:, 0], old[:, 2] if classes[0] == "dog" else new[:, 0])
        assert torch.equal(own[:, 1], new[:, 1])


def test_a_foreign_checkpoint_is_imported_on_the_way(imported: Path, start: Start) -> None:
    """Its classes have no names, and what was assumed is said."""
    read = read_start(imported.with_name("c.pth"))
    assert read.name == str(imported.with_name("c.pth"))
    assert read.tensors.keys() == start.tensors.keys()
    assert all(torch.equal(read.tensors[key], value) for key, value in start.tensors.items())
    assert read.settings({}).anchors == start.settings({}).anchors
    begun = describe_start(read, read.settings({}), ("dog", "cell"))
    assert begun[1].startswith(f"{read.name}: a torch file of odtk, since ")
    assert any("names of classes" in line for line in begun)
    assert any(line.startswith("For the options named here import it first") for line in begun)


def test_preparation_anchors_and_norms_are_the_imports(start: Start) -> None:
    given = explicit("preparation.shorter=400")
    settings = start.settings(given)
    assert (settings.preparation.shorter, settings.preparation.longer) == (400, 1333)
    assert settings.preparation.multiple == 128
    assert settings.anchors == start.description.anchors
    assert len(settings.anchors.shapes[0]) == 9
    assert (settings.model.norm, settings.model.norm_eps) == ("frozen", 1e-5)
    assert settings.preparation.mean == (0.485, 0.456, 0.406)
    begun, classes = describe_start(start, settings, ("dog", "cell"))
    assert "but for preparation.shorter = 400 (there 800)" in begun
    assert "dog keep their weights; cell new, from the prior; person, car, cat left out" in classes


def test_the_card_says_where_the_weights_come_from(start: Start) -> None:
    expected = "trained by foveal, begun from coco.safetensors (imported: odtk, c.pth)"
    assert start.origin == expected
    card = replace(start.description.card, origin=expected)
    description = replace(start.description, card=card)
    again = replace(start, name="cells.safetensors", description=description)
    assert again.origin == expected


def test_sizes_beside_shapes_are_refused_in_words(start: Start) -> None:
    with pytest.raises(SettingsError, match=r"anchors\.shapes=\[\]"):
        start.settings(explicit("anchors.sizes=[16, 32, 64, 128, 256]"))


def test_anchors_are_fitted_to_the_data_only_when_asked_for(imported: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (200, 200)).save(tmp_path / "a.png")
    boxes = np.array([[10, 10, 25, 25], [50, 60, 70, 80]], np.float32)
    labels, ignored = np.zeros(2, np.int64), np.zeros(2, np.bool_)
    record = Record(tmp_path / "a.png", 200, 200, boxes, labels, ignored)
    data = Dataset((record,), ("dog",), tmp_path)
    kept = foveal.Detector(data, start=imported)
    assert kept.anchors is None
    assert kept.settings.anchors.shapes
    assert "begun from coco.safetensors" in kept.card.origin
    refitted = foveal.Detector(data, start=imported, refit_anchors=True)
    assert refitted.settings.anchors.per_location == 9
    assert refitted.model.classification.values == 1
