"""What the journeys share: the command line as it is typed, and a small data set."""

from __future__ import annotations

import sys

import pytest

from foveal import cli
from foveal.data.synthetic import draw_dataset

TINY = (
    "model.backbone=test_resnet",
    "model.weights=none",
    "model.norm=live",
    "model.fpn_channels=16",
    "model.head_channels=16",
    "model.head_depth=1",
    "preparation.shorter=64",
    "preparation.longer=64",
    "training.batch=4",
    "training.epochs=2",
    "training.workers=0",
    "training.warmup_steps=0",
    "training.precision=float32",
    "training.export=false",
)
TINY_SETS = [part for setting in TINY for part in ("--set", setting)]


@pytest.fixture
def foveal(monkeypatch, capsys):
    """Run a command; gives (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["foveal", *map(str, arguments)])
        capsys.readouterr()
        code: int | str | None = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code
        printed = capsys.readouterr()
        return int(code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def smears(tmp_path_factory):
    """A folder with train.json, valid.json and test.json; not to be changed."""
    folder = tmp_path_factory.mktemp("smears")
    draw_dataset(folder, splits={"train": 8, "valid": 4, "test": 4}, size=64, seed=3)
    return folder
