"""What the tests of commands share: how one is run, and a model that is small."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import Any

import pytest
from tests.conftest import SMALL_MODEL

from foveal import cli
from foveal.cli.schema_files import schema_path
from foveal.config import Settings, parse_settings


def foveal(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command line; gives its exit code."""
    monkeypatch.setattr(sys, "argv", ["foveal", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code or 0


def answer_in_json(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: object,
    code: int = 0,
) -> dict[str, Any]:
    """What a command writes with --json: one document of its schema, and nothing else."""
    capsys.readouterr()
    assert foveal(monkeypatch, *arguments, "--json") == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    _validator(document["verb"]).validate(document)
    return document


@cache
def _validator(verb: str) -> Any:
    import jsonschema

    schema = json.loads(schema_path(verb).read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def small_settings(*, bands: int = 3) -> Settings:
    """Of a network for images of 64 to 96 pixels and so many bands."""
    sides: dict[str, object] = {"shorter": 64, "longer": 96}
    if bands != 3:
        sides |= {"mean": [0.45] * bands, "std": [0.22] * bands}
    model = SMALL_MODEL | {"bands": bands}
    return parse_settings({"model": model, "preparation": sides}, where="test")
