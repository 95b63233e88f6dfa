"""What the README tells people to type exists: verbs, options, names of the Python API."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

import foveal
from foveal.cli import app

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """Every command of foveal's in shell blocks and in `words`, without `foveal` itself."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        lines = [
            line
            for block in blocks(page, "bash")
            for line in block.replace("\\\n", " ").splitlines()
        ]
        for line in lines + re.findall(r"`(foveal [^`]+)`", text):
            words = shlex.split(line, comments=True)
            if words and Path(words[0]).name == "foveal":
                found.append([word for word in words[1:] if word != "&&"])
    return found


def find(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and the words after it."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"foveal {' '.join(words)}: no verb {rest[0]}"
        command = command.commands[rest.pop(0)]
    return command, rest


def test_the_pages_name_commands():
    verbs = {words[0] for words in commands()}
    assert {"demo", "data", "anchors", "train", "evaluate", "predict"} <= verbs


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_that_a_page_shows_exists(words):
    command, rest = find(words)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"foveal {' '.join(words)}: no {word}"


def test_a_wrong_verb_or_option_is_found():
    with pytest.raises(AssertionError, match="no verb"):
        find(["trian", "DATA"])
    assert "--outt" not in {name for p in find(["train"])[0].params for name in p.opts}


def test_the_python_shown_uses_names_that_exist():
    """Attributes of `foveal`, of a Detector and of what its methods are said to give."""
    (source,) = blocks("README.md", "python")
    owners = {
        "foveal": set(foveal.__all__),
        "detector": set(dir(foveal.Detector)),
        "found": set(dir(foveal.Detections)),
    }
    seen = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            seen.add(node.value.id)
            assert node.attr in owners[node.value.id], ast.unparse(node)
    assert seen == set(owners)


def test_links_lead_to_files():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), f"{page}: {target}"
