"""What the benchmarks' tests share: drawn data, a small model, and the way a program is run."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from foveal.config import make_settings

SMALL = (
    "model.backbone=test_resnet",
    "model.weights=none",
    "model.norm=live",
    "model.fpn_channels=16",
    "model.head_channels=16",
    "model.head_depth=1",
    "preparation.shorter=64",
    "preparation.longer=64",
)
CLASSES = ("normal", "infected", "platelet")


def run(module: ModuleType, arguments: Sequence[str], out: Path) -> dict[str, Any]:
    """Run a program's main function; the content of the one JSON file that it writes."""
    module.main([*arguments, "--out", str(out)])
    (file,) = out.glob("*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    assert content["rows"]
    assert {"processor", "features", "versions", "commit"} <= set(content["machine"])
    return content


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands here: it is run for itself, since it tests no part of the library."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.benchmarks)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.json, val.json and test.json of drawn smears; not to be changed."""
    from foveal.data.synthetic import draw_dataset

    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder, splits={"train": 4, "val": 2, "test": 2}, size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file for the smears, with random weights."""
    import torch

    from foveal.checkpoints import model_file
    from foveal.models.build import build_model
    from foveal.structures import ModelCard

    settings = make_settings(preset="retinanet", overrides=SMALL)
    file = tmp_path_factory.mktemp("models") / "model.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(settings, len(CLASSES))
    model_file.save(file, model, settings, ModelCard(CLASSES, score_threshold=0.01))
    return file


@pytest.fixture(autouse=True)
def networks_are_made_once(
    monkeypatch: pytest.MonkeyPatch, torchvision_networks: dict[Any, Any]
) -> None:
    """Every test gets a copy of the same network with random weights, for it takes seconds."""
    from benchmarks.lib import networks

    make = networks.torchvision_network

    def copy_of(task: networks.Task) -> Any:
        key = task.backbone, task.classes, task.height, task.width, task.seed
        if key not in torchvision_networks:
            torchvision_networks[key] = make(task)
        return copy.deepcopy(torchvision_networks[key])

    monkeypatch.setattr(networks, "torchvision_network", copy_of)


@pytest.fixture(scope="session")
def torchvision_networks() -> dict[Any, Any]:
    """What `networks_are_made_once` has made."""
    return {}
