"""What messages advise can be done where they are read: options first, Python in parentheses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "foveal"

PYTHON = re.compile(
    r"""
    \b(?:Dataset|Detector|Predictor)[.(]
    | \bfoveal\.(?:read|write|load|draw)\b
    | \b(?:fit|read|write|load|rename|only|ignoring|predictor|evaluate|detect|save|merge|aligned)\(
    | (?<![-\w.])[a-z_]+=(?:['"(\[]|\.\.\.|True|False|None|[A-Z]{2,}|\d|\{)
    """,
    re.VERBOSE,
)
"""A call of Python's, or one of its arguments with a value; --set section.name=value is none."""

SECTIONS = "model|anchors|assignment|loss|preparation|augmentation|training|decoding"
SETTING = re.compile(
    rf"(?<!-)\b(?:[Ss]et|[Ll]ower|[Rr]aise|[Hh]alve|[Ss]tate|smaller|larger|with)\s(?:{SECTIONS})\.\w+"
)
"""Advice to change a setting without the option that does so."""

NOT_OF_COMMANDS = {
    "detector.py",  # Python's own way in
    "exporting/export.py",  # says how another library's call is written
    "exporting/torchvision.py",
    "inference/draw.py",  # no command draws Detections
    "models/norms.py",
    "outputs/qgis_style.py",  # writes XML
    "serving/watching.py",  # writes headers of HTTP
    "tables.py",  # writes HTML
    "visualization/svg.py",  # writes SVG
}


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module that are not docstrings, names in them as {}."""
    documented = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for child in body if isinstance(body, list) else []:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                documented.add(child.value)

    def visit(node: ast.AST) -> Iterator[tuple[int, str]]:
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node not in documented and " " in node.value:
                yield node.lineno, node.value
        else:
            for child in ast.iter_child_nodes(node):
                yield from visit(child)

    yield from visit(tree)


def is_for_python_alone(text: str) -> bool:
    """Whether a text gives an advice of Python's, and no option of a command before it."""
    if SETTING.search(text):
        return True
    first = PYTHON.search(text)
    if first is None:
        return False
    before = text[: first.start()]
    return not ("--" in before and re.search(r"\b[Ii]n\s+Python\b", before))


def test_messages_name_options_first() -> None:
    offences = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if name in NOT_OF_COMMANDS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        offences += [
            f"{name}, line {line}: {text}"
            for line, text in sentences(tree)
            if is_for_python_alone(text)
        ]
    assert offences == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Correct it, or pass bad_boxes={}.", True),
        ("rename them (Dataset.rename), or leave them out.", True),
        ("Name its folder with images=FOLDER.", True),
        ("Pass the model as fit(start=...).", True),
        ("Set model.bands={} if that is meant.", True),
        ("Set it (in Python bands=3): --set model.bands=3.", True),
        ("Name its folder: --images FOLDER (in Python images=FOLDER).", False),
        ("Give --set model.bands={}.", False),
        ("Move the image.", False),
        ("", False),
    ],
)
def test_the_rule_can_fail(text: str, expected: bool) -> None:
    assert is_for_python_alone(text) == expected


def test_docstrings_are_no_messages() -> None:
    tree = ast.parse('def f():\n    """Pass x=1 to it."""\n    raise E(f"Pass x={y} to it.")\n')
    assert list(sentences(tree)) == [(3, "Pass x={} to it.")]
