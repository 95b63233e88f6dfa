"""A tiny network whose random weights find things, and images to find them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import SMALL_MODEL

from foveal.checkpoints import model_file
from foveal.checkpoints.model_file import LoadedModel
from foveal.config import Settings, parse_settings
from foveal.inference.opening import open_network
from foveal.inference.predictor import Predictor
from foveal.models.build import build_model
from foveal.structures import ModelCard

CLASSES = ("normal", "infected", "platelet")


def tiny_settings(**model: object) -> Settings:
    return parse_settings(
        {
            "model": {**SMALL_MODEL, **model},
            "anchors": {"sizes": [8, 16, 32, 64, 128]},
            "preparation": {"shorter": 96, "longer": 160},
        },
        where="test",
    )


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    """A network whose scores differ from place to place, some of them high."""
    torch.manual_seed(3)
    settings = tiny_settings()
    model = build_model(settings, len(CLASSES)).eval()
    with torch.no_grad():
        for head, spread in ((model.classification, 2.0), (model.box, 0.3)):
            level = torch.randn(2, 3, 96, 160).mul_(60).add_(120).clamp_(0, 255)
            raw = model(level)
            values = raw.logits if head is model.classification else raw.deltas
            deviation = torch.cat([v.flatten() for v in values]).std()
            head.output.weight.mul_(spread / deviation)
            head.output.bias.fill_(-4.0 if head is model.classification else 0.0)
    return LoadedModel(model, settings, ModelCard(CLASSES))


@pytest.fixture(scope="session")
def model_path(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "cells.safetensors"
    model_file.save(path, loaded.model, loaded.settings, loaded.card)
    return path


@pytest.fixture
def predictor(loaded: LoadedModel) -> Predictor:
    return predictor_of(loaded)


def predictor_of(
    loaded: LoadedModel, *, device: str | None = "cpu", precision: str = "float32", **options: Any
) -> Predictor:
    """A predictor with low scores still in."""
    options = {"score_threshold": 0.05, **options}
    return open_network(loaded, device=device, precision=precision).predictor(**options)


def picture(seed: int, *, width: int = 130, height: int = 100) -> np.ndarray:
    """[H, W, 3] uint8: blobs on a bright ground."""
    generator = np.random.default_rng(seed)
    image = generator.integers(190, 230, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    for _ in range(8):
        center_x, center_y = generator.uniform(0, width), generator.uniform(0, height)
        inside = (x - center_x) ** 2 + (y - center_y) ** 2 < generator.uniform(4, 18) ** 2
        image[inside] = generator.integers(0, 180, 3)
    return image


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smears")
    sizes = [(130, 100), (100, 130), (64, 64), (200, 90), (130, 100), (131, 99), (320, 200)]
    for index, (width, height) in enumerate(sizes):
        Image.fromarray(picture(index, width=width, height=height)).save(
            folder / f"smear_{index}.png"
        )
    return folder
