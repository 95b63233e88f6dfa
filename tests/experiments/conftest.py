"""What the tests of a bench share: a file of data sets, and a training that takes no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foveal.data.synthetic import draw_dataset
from foveal.experiments.bench_training import BenchData, Training, TrainingResult
from foveal.machine import Machine

MACHINE = Machine("a processor", 2, "", "3.11", {"torch": "2.11"})
TEXT = """
[recipes.plain]
preset = "retinanet"

[recipes.light]
preset = "light"
settings.training.epochs = 7

[sets.a]
data = "smears/train.json"
valid = "smears/valid.json"
test = "smears/test.json"
settings.training.batch = 2

[sets.b]
data = "smears/test.json"
valid = "smears/valid.json"
"""
APS = {"plain": 0.5, "light": 0.6}


@pytest.fixture(scope="session")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.json, valid.json and test.json of small images."""
    folder = tmp_path_factory.mktemp("bench") / "smears"
    draw_dataset(folder, splits={"train": 4, "valid": 2, "test": 7}, size=64)
    return folder


@pytest.fixture
def sets(smears: Path) -> Path:
    """A file of two recipes and two data sets."""
    file = smears.parent / "sets.toml"
    file.write_text(TEXT)
    return file


def result_of(training: Training, **values: Any) -> TrainingResult:
    """What a training of a good recipe gives: by its seed a little more or less."""
    generator = np.random.default_rng(training.seed)
    ap = APS[training.recipe.name] + 0.01 * training.seed
    draws = ap + 0.02 * generator.standard_normal(50)
    made: dict[str, Any] = {
        "recipe": training.recipe.name,
        "data": training.data.name,
        "seed": training.seed,
        "ap": ap,
        "ap50": ap,
        "ap_interval": (ap - 0.1, ap + 0.1),
        "ap50_interval": (ap - 0.1, ap + 0.1),
        "ap_draws": draws.round(5),
        "ap50_draws": draws.round(5),
        "images": {"training": 4, "validation": 2, "measured": 7, "shown": 7},
        "objects": 30,
        "epochs": 7,
        "best_epoch": 6,
        "minutes": 1.5,
        "parts": 1,
        "machine": MACHINE,
    }
    return TrainingResult(**{**made, **values})


def train_at_once(training: Training, opened: BenchData, reporter: Any) -> TrainingResult:
    """In place of a training."""
    return result_of(training)
