"""What the tests of commands share: how one is run, and a model that is small."""

from __future__ import annotations

import sys

import pytest
from tests.conftest import SMALL_MODEL

from foveal import cli
from foveal.config import Settings, parse_settings


def foveal(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command line; gives its exit code."""
    monkeypatch.setattr(sys, "argv", ["foveal", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code or 0


def small_settings(*, bands: int = 3) -> Settings:
    """Of a network for images of 64 to 96 pixels and so many bands."""
    sides: dict[str, object] = {"shorter": 64, "longer": 96}
    if bands != 3:
        sides |= {"mean": [0.45] * bands, "std": [0.22] * bands}
    model = SMALL_MODEL | {"bands": bands}
    return parse_settings({"model": model, "preparation": sides}, where="test")
