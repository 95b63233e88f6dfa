"""Somebody trains with an augmentation of their own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.journeys.conftest import TINY, TINY_SETS

import foveal as library
from foveal.config import make_settings
from foveal.errors import SettingsError

pytestmark = pytest.mark.usefixtures("empty_charts")

OWN = """
import numpy as np
import foveal
from torchvision.transforms import v2

def darker(sample, generator):
    image = (sample.image * generator.uniform(0.5, 1)).astype(np.uint8)
    return foveal.Sample(image, sample.target, sample.name)

def as_shares(sample, generator):
    return foveal.Sample(sample.image / 255, sample.target, sample.name)

def upside_down(sample, generator):
    image = np.ascontiguousarray(sample.image[::-1, ::-1])
    return foveal.Sample(image, sample.target, sample.name)

flip = v2.RandomHorizontalFlip()
nothing = 7
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_changes.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield "own_changes"
    sys.modules.pop("own_changes", None)


@pytest.mark.parametrize("name", ["darker", "flip"])
def test_on_the_command_line(foveal, module, smears, tmp_path, name):
    out = tmp_path / "run"
    data = ("train", smears / "train.json", "--valid", smears / "valid.json", "--out", out)
    code, _, error = foveal(*data, "--augment", f"{module}:{name}", *TINY_SETS)
    assert code == 0, error
    assert f'custom = "{module}:{name}"' in (out / "config.toml").read_text()


def test_what_cant_be_trained_on_is_told_before_workers_start(foveal, module, smears, tmp_path):
    out = tmp_path / "run"
    data = ("train", smears / "train.json", "--valid", smears / "valid.json", "--out", out)
    code, _, error = foveal(*data, "--augment", f"{module}:as_shares", *TINY_SETS)
    assert code == 2
    said = " ".join(error.split())
    assert f"{module}:as_shares gave an image of float64" in said
    assert "Expected uint8 with values 0 to 255" in said
    assert not out.exists()


def test_boxes_that_were_forgotten_are_told(foveal, module, smears, tmp_path):
    data = ("train", smears / "train.json", "--valid", smears / "valid.json")
    sets = (*TINY_SETS, "--set", "training.epochs=1", "--out", tmp_path / "run")
    code, _, error = foveal(*data, "--augment", f"{module}:upside_down", *sets)
    assert code == 0
    assert "was turned upside down, and its boxes stayed" in " ".join(error.split())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_changes:absent", "can't be found"),
        ("no_such_module:flip", "can't be found"),
        ("own_changes:nothing", "is int"),
        ("flip", "names nothing"),
    ],
)
def test_a_name_of_nothing(foveal, module, smears, tmp_path, name, message):
    code, _, error = foveal(
        "train", smears / "train.json", "--out", tmp_path / "run", "--augment", name, *TINY_SETS
    )
    assert code == 2
    assert message in " ".join(error.split())
    assert "Expected" in error
    assert not (tmp_path / "run").exists()


def test_in_python_it_sees_every_training_image(smears, tmp_path):
    seen = []

    def watched(sample, generator):
        seen.append(sample.name)
        assert 0 <= generator.random() < 1
        return sample

    settings = make_settings(preset="retinanet", overrides=[*TINY, "training.epochs=1"])
    detector = library.Detector(smears / "train.json", settings=settings)
    detector.fit(valid=smears / "valid.json", out=tmp_path / "run", augment=watched, progress=False)
    assert len(set(seen)) == 8
    assert detector.settings.augmentation.custom is None
    assert "watched" in (tmp_path / "run" / "config.toml").read_text()


def test_what_gives_no_sample_is_named(smears):
    settings = make_settings(preset="retinanet", overrides=[*TINY, "training.epochs=1"])
    detector = library.Detector(smears / "train.json", settings=settings)
    with pytest.raises(SettingsError, match=r"gave ndarray\. Expected a foveal\.Sample"):
        detector.fit(
            valid=smears / "valid.json",
            augment=lambda sample, generator: np.zeros((8, 8, 3), np.uint8),
            progress=False,
        )
    with pytest.raises(SettingsError, match="is int"):
        detector.fit(valid=smears / "valid.json", augment=7, progress=False)
