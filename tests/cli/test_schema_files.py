"""The published schemas: up to date, valid, and as strict as they can be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import jsonschema
import pytest
import typer

from foveal import cli
from foveal.cli import schema_files
from foveal.cli.answers import SCHEMA, Answer, DryRun, Plan, verb
from foveal.cli.schema_files import FOLDER, find_verbs, make_schema, schema_path

VERBS = {command.verb: command for command in find_verbs(cli.app)}
FILES = sorted((FOLDER / "files").glob("*.json"))


@pytest.mark.parametrize("name", VERBS)
def test_the_schema_of_every_verb_is_published(name: str) -> None:
    """`python -m foveal.cli.schema_files` writes them."""
    published = json.loads(schema_path(name).read_text(encoding="utf-8"))
    assert published == make_schema(VERBS[name])
    jsonschema.Draft202012Validator.check_schema(published)


def test_nothing_else_is_published() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {schema_path(n).name for n in VERBS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_schemas_of_files_are_valid(path) -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


@dataclass
class Part:
    """Of a whole.

    Attributes:
        low, high: where it
            begins.
    """

    low: float
    high: float | None


@dataclass
class Whole:
    """All of it."""

    parts: tuple[Part, ...]
    numbers: dict[str, float] | None = field(metadata={SCHEMA: "numbers"})


def test_a_schema_says_what_its_dataclass_says(monkeypatch) -> None:
    numbers = {
        "$schema": "x",
        "additionalProperties": {"$ref": "#/$defs/number"},
        "$defs": {"number": {"type": "number"}},
    }
    monkeypatch.setattr(schema_files, "file_schema", lambda name: dict(numbers))

    @verb("measure", Whole, examples=(), version=3)
    def measure(dry_run: DryRun = False) -> Answer | Plan:
        raise NotImplementedError

    check = jsonschema.Draft202012Validator(make_schema(measure))
    head = {"verb": "measure", "schema_version": 3, "outcome": "done"}
    result = head | {"parts": [{"low": 1.0, "high": None}], "numbers": {"AP": 0.5}}
    texts = {name: [] for name in ("reads", "writes", "replaces", "removes", "steps")}
    failed = head | {"outcome": "bad_input", "error": {"kind": "DataError", "message": "no"}}
    for good in (result, result | {"numbers": None}, head | {"dry_run": True} | texts, failed):
        check.validate(good)
    for wrong in (
        result | {"more": 1},
        result | {"schema_version": 2},
        result | {"parts": [{"low": None, "high": 1.0}]},
        result | {"parts": [{"low": 1.0}]},
        result | {"numbers": {"AP": "high"}},
        head,
        failed | {"outcome": "done"},
    ):
        assert not check.is_valid(wrong), wrong
    low = make_schema(measure)["$defs"]["Part"]["properties"]["low"]
    assert low == {"description": "where it begins.", "type": "number"}


def test_groups_are_looked_through() -> None:
    app, group = typer.Typer(), typer.Typer()
    app.add_typer(group)
    group.command()(VERBS["data convert"])
    app.command()(lambda: None)
    assert list(find_verbs(app)) == [VERBS["data convert"]]
