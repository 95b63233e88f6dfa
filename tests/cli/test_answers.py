"""What verbs have in common: --json, --dry-run, exit codes and examples."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import pytest
import typer
from tests.cli.conftest import foveal

from foveal import cli
from foveal.cli.answers import Answer, DryRun, Plan, add_verb, verb
from foveal.cli.console import say
from foveal.cli.outcomes import (
    PACKAGES,
    Outcome,
    describe_exit_codes,
    naming_missing_packages,
    outcome_of,
)
from foveal.errors import (
    DataError,
    MissingExtraError,
    TrainingDiverged,
    TrainingInterrupted,
)


@dataclass(frozen=True)
class Counted:
    folder: Path
    share: float
    names: tuple[str, ...]


ERRORS: dict[str, BaseException] = {
    "data": DataError("no images"),
    "extra": MissingExtraError("needs rasterio: pip install 'foveal[geo]'"),
    "diverged": TrainingDiverged("loss is not finite"),
    "stopped": TrainingInterrupted("stopped after epoch 3"),
    "ctrl-c": KeyboardInterrupt(),
    "bug": ZeroDivisionError("a bug"),
}
CODES = {"data": 2, "extra": 3, "diverged": 1, "stopped": 130, "ctrl-c": 130, "bug": 70}


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[None]:
    """A verb that prints as libraries do, from Python and from below it, and then answers."""
    before = list(cli.app.registered_commands)

    @verb("count", Counted, examples=("foveal count --json",))
    def count(
        fail: Annotated[str, typer.Option()] = "",
        outcome: Annotated[str, typer.Option()] = "DONE",
        dry_run: DryRun = False,
    ) -> Answer | Plan:
        """Count."""
        print("a library prints")  # noqa: T201
        os.write(1, b"C prints\n")
        if dry_run:
            (tmp_path / "there").touch()
            return Plan(["cells:train"], [tmp_path / "new", tmp_path / "there"], steps=["count"])
        if fail:
            raise ERRORS[fail]
        document = Counted(tmp_path, float("nan"), ("a", "ö"))
        return Answer(document, tell=lambda: say("2 names"), outcome=Outcome[outcome])

    add_verb(cli.app, count)
    yield
    cli.app.registered_commands[:] = before


def test_a_result_is_told(monkeypatch, capfd, counting) -> None:
    assert foveal(monkeypatch, "count") == 0
    assert "2 names\n" in capfd.readouterr().out


def test_json_is_all_that_standard_output_holds(monkeypatch, capfd, counting, tmp_path) -> None:
    assert foveal(monkeypatch, "count", "--json", "--outcome", "PARTLY_DONE") == 1
    printed = capfd.readouterr()
    assert json.loads(printed.out) == {
        "verb": "count",
        "schema_version": 1,
        "outcome": "partly_done",
        "folder": str(tmp_path),
        "share": None,
        "names": ["a", "ö"],
    }
    assert {"a library prints", "C prints"} <= set(printed.err.splitlines())


def test_output_goes_where_it_went_after_json(monkeypatch, capfd, counting) -> None:
    assert foveal(monkeypatch, "count", "--json") == 0
    capfd.readouterr()
    assert foveal(monkeypatch, "count") == 0
    assert capfd.readouterr().out.splitlines() == ["a library prints", "C prints", "2 names"]


@pytest.mark.parametrize("fail", ERRORS)
def test_an_error_has_its_exit_code_and_its_document(fail, monkeypatch, capfd, counting) -> None:
    assert foveal(monkeypatch, "count", "--json", "--fail", fail) == CODES[fail]
    printed = capfd.readouterr()
    document = json.loads(printed.out)
    assert document["outcome"] == outcome_of(ERRORS[fail]).word
    assert document["error"] == {"kind": type(ERRORS[fail]).__name__, "message": str(ERRORS[fail])}
    assert str(ERRORS[fail]) in printed.err
    assert ("Traceback" in printed.err) == (fail == "bug")


def test_a_plan_names_what_is_replaced(monkeypatch, capfd, counting, tmp_path) -> None:
    assert foveal(monkeypatch, "count", "--dry-run") == 0
    told = capfd.readouterr().out
    assert f"replace: {tmp_path / 'there'}\n" in told
    assert "read: cells:train\n" in told
    assert foveal(monkeypatch, "count", "--dry-run", "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["dry_run"] is True
    assert document["replaces"] == [str(tmp_path / "there")]
    assert document["steps"] == ["count"]


def test_a_process_writes_nothing_but_json(tmp_path: Path) -> None:
    """C's own buffer, which goes out late where the output is no terminal, too."""
    program = """
import ctypes, sys
from dataclasses import dataclass
from importlib.util import find_spec
from foveal import cli
from foveal.cli.answers import Answer, add_verb, verb

@dataclass
class Done:
    name: str

@verb("count", Done, examples=())
def count() -> Answer:
    ctypes.CDLL(None).printf(b"C prints\\n")
    return Answer(Done("\\u7d30"), tell=print)

add_verb(cli.app, count)
sys.argv = ["foveal", "count", "--json"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout)["name"] == "細"
    assert done.stderr == b"C prints\n"


def test_a_package_that_a_small_device_leaves_out_is_named() -> None:
    named = r"the package pyyaml, .* pip install pyyaml$"
    with pytest.raises(MissingExtraError, match=named), naming_missing_packages():
        raise ModuleNotFoundError("No module named 'yaml.nodes'", name="yaml.nodes")
    with pytest.raises(ModuleNotFoundError), naming_missing_packages():
        raise ModuleNotFoundError("No module named 'foveal.no'", name="foveal.no")


def test_packages_that_are_named_are_those_that_foveal_depends_on() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    needed = [re.match(r"[\w-]+", each)[0] for each in project["project"]["dependencies"]]
    assert sorted(PACKAGES.values()) == sorted(needed)
    assert all(find_spec(name) for name in PACKAGES)


def test_every_outcome_is_in_the_help(monkeypatch, capsys) -> None:
    assert foveal(monkeypatch, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for outcome in Outcome:
        assert outcome.meaning in shown
    assert len(describe_exit_codes().split("\n\n")) == len({each.code for each in Outcome})


def test_the_exit_codes_are_documented() -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "reference" / "commands.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.match(r"\| \d", line)]
    assert rows == [f"| {each.code} | `{each.word}` | {each.meaning} |" for each in Outcome]


def commands() -> dict[str, Callable[..., None]]:
    """All commands by what people type."""
    groups = {"": cli.app, "models ": cli.models_app, "data ": cli.data_app}
    return {
        f"{group}{each.name or each.callback.__name__}": each.callback
        for group, app in groups.items()
        for each in app.registered_commands
    }


@pytest.mark.parametrize("name", commands())
def test_every_command_is_a_verb_with_examples_that_can_be_typed(name: str) -> None:
    command = commands()[name]
    assert command.verb == name
    examples = command.examples
    assert examples
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "foveal"
        group = typer.main.get_command(cli.app)
        typed = []
        while hasattr(group, "commands"):
            typed.append(words.pop(0))
            group = group.commands[typed[-1]]
        assert " ".join(typed) == name
        group.make_context(typed[-1], words)  # raises where a word is not understood


def test_help_is_broken_at_the_terminals_width_alone(monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert foveal(monkeypatch, "import", "--help") == 0
    paragraphs = capsys.readouterr().out.partition("╭")[0]
    assert "torchvision: RetinaNets on" in " ".join(paragraphs.split())
    lines = [line.strip() for line in paragraphs.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("It says whose"))
    text = lines[start : lines.index("", start)]
    assert min(map(len, text[:-1])) > 60  # no line is a remnant
