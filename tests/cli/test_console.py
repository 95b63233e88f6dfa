"""The screen: names of all kinds, in every encoding that a console may have."""

from __future__ import annotations

import ast
import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.conftest import foveal

from foveal import cli
from foveal.cli.console import make_console, prepare_streams, say, say_json

ENCODINGS = ("cp1252", "cp437", "cp932", "ascii", "utf-8")
CLASSES = ("[bold]red", "細胞 ✓", "Plättchen")


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A data set with classes and images of strange names."""
    names = ("[red].png", "h\udcf6fe.png", "細 ✓.png")
    document = {
        "images": [
            {"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(names)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "bbox": [4, 4, 30, 30]} for i in range(3)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
    }
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
    for name in names[:2]:  # the third is missing: there is something to say
        try:
            Image.new("RGB", (64, 48)).save(tmp_path / name)
        except OSError:
            pytest.skip("this file system takes no such names")
    return tmp_path / "a.json"


class Screen:
    """Standard output and error of an encoding, as Python opens them for a pipe.

    Made in the test itself: pytest sets its own streams between fixtures and tests.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self._bytes = [io.BytesIO(), io.BytesIO()]
        self.encoding = encoding
        for name, content in zip(("stdout", "stderr"), self._bytes, strict=True):
            stream = io.TextIOWrapper(content, encoding=encoding, write_through=True)
            monkeypatch.setattr(sys, name, stream)

    def read(self) -> str:
        return "".join(content.getvalue().decode(self.encoding) for content in self._bytes)


in_every_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


@in_every_encoding
def test_checking_names_what_is_wrong(
    encoding: str, strange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(monkeypatch, encoding)
    assert foveal(monkeypatch, "data", "check", strange, "--decode", "--valid", strange) == 1
    shown = screen.read()
    assert "[bold]red 1" in shown
    assert "[red].png" in shown
    assert r"h\udcf6fe.png" in shown
    assert ("✗" if encoding == "utf-8" else "x") + " 1 image missing" in shown
    assert ("細" if encoding in ("utf-8", "cp932") else r"\u7d30") in shown


@in_every_encoding
def test_json_is_json(encoding: str, strange: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, encoding)
    assert foveal(monkeypatch, "data", "check", strange, "--json") == 1
    found = json.loads(screen.read())
    assert [each["name"] for each in found["statistics"][0]["classes"]] == list(CLASSES)
    assert found["findings"][0]["places"][0].endswith("細 ✓.png")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_tables_and_bars_are_drawn(
    encoding: str, strange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(monkeypatch, encoding)
    out = tmp_path / "anchors.toml"
    assert foveal(monkeypatch, "anchors", strange, "--size", 64, "--out", out) == 0
    shown = screen.read()
    assert "[bold]red" in shown
    assert ("─" in shown) == (encoding == "utf-8")
    assert "Anchors" in out.with_suffix(".svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words", [("--help",), ("train", "--help"), ("trian",), ("data", "cheque")]
)
@in_every_encoding
def test_help_and_errors_are_shown(
    encoding: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(monkeypatch, encoding)
    assert foveal(monkeypatch, *words) == (0 if "--help" in words else 2)
    assert screen.read()


@in_every_encoding
def test_an_error_that_names_a_strange_file(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, encoding)
    assert foveal(monkeypatch, "data", "check", "[細]\udcf6") == 2
    assert r"\udcf6 does not exist" in screen.read()


@in_every_encoding
def test_lines_and_json_by_themselves(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, encoding)
    prepare_streams()
    say("α [b] –")
    say("α", stderr=True)
    make_console().print("[b]:smile: █")
    say_json({"ö": "\udcf6"})
    *_, last = [line for line in screen.read().splitlines() if "udcf6" in line]
    assert json.loads("{" + last + "}") == {"ö": "\udcf6"}
    assert "[b]:smile: " in screen.read()


def test_streams_that_are_no_files_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", text := io.StringIO())
    prepare_streams()
    say("ö \udcf6", stderr=True)
    assert text.getvalue() == "ö \udcf6\n"


def test_all_commands_write_through_one_console() -> None:
    offences = []
    for path in sorted(Path(cli.__file__).parent.glob("*.py")):
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in ("Console", "typer.echo", "typer.secho", "click.echo", "print"):
                    offences.append(f"{path.name}, line {node.lineno}: {name}")
    assert offences == []
