"""Every public name has types and a docstring, and what takes or gives arrays names their shapes.

The sources are read and not imported, so that the test takes no time and loads nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import foveal

SOURCE = Path(__file__).resolve().parents[1] / "src" / "foveal"
ARRAYS = re.compile(r"\b(Tensor|NDArray|ndarray)\b")
STATE_DICT = re.compile(r"\w+\[str, Tensor\]")
"""Tensors by name, each of its own shape."""
SHAPE = re.compile(
    r"\[(?!model\]|anchors\]|training\])(\.\.\.|\w+)( ?[*+,] ?(\.\.\.|\w+))*\]"
    r"|\bscalar\b|\bof any shape\b"
)
"""[N, 4], [..., K], [count], [B, H * W, values]; but no section of the settings."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Public(NamedTuple):
    """A public function, method or class, and where it stands."""

    where: str
    node: Function | ast.ClassDef


def public_names(tree: ast.Module, where: str) -> Iterator[Public]:
    """The public names of a module; what stands inside a function is private."""
    yield from _members(tree.body, where)


def _members(body: list[ast.stmt], where: str) -> Iterator[Public]:
    for node in body:
        if isinstance(node, ast.If):  # TYPE_CHECKING and the like
            yield from _members([*node.body, *node.orelse], where)
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(ast.unparse(each).endswith("overload") for each in node.decorator_list):
            continue
        name = f"{where}.{node.name}"
        yield Public(name, node)
        if isinstance(node, ast.ClassDef):
            yield from _members(node.body, name)


def untyped(public: Public) -> list[str]:
    """The parameters without a type, and 'return' where the result has none."""
    if isinstance(public.node, ast.ClassDef):
        return []
    arguments = public.node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    named += [each for each in (arguments.vararg, arguments.kwarg) if each is not None]
    lacking = [
        each.arg for each in named if each.annotation is None and each.arg not in ("self", "cls")
    ]
    return lacking + (["return"] if public.node.returns is None else [])


def lacks_shapes(public: Public) -> bool:
    """Whether a function takes or gives arrays and its docstring names no shape."""
    if isinstance(public.node, ast.ClassDef):
        return False
    arguments = public.node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    types = [each.annotation for each in named] + [public.node.returns]
    texts = [STATE_DICT.sub("", ast.unparse(each)) for each in types if each is not None]
    has_arrays = any(ARRAYS.search(text) for text in texts)
    return has_arrays and not SHAPE.search(ast.get_docstring(public.node) or "")


@cache
def everything() -> list[Public]:
    """All public names of the package."""
    found: list[Public] = []
    for file in sorted(SOURCE.rglob("*.py")):
        where = ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts)
        found += public_names(ast.parse(file.read_text(encoding="utf-8")), where)
    return found


def test_there_is_something_to_look_at() -> None:
    names = {each.where for each in everything()}
    assert len(names) > 700
    assert {"foveal.detection.anchors.AnchorGrid.boxes", "foveal.detector.load"} <= names


def test_everything_public_is_typed() -> None:
    assert {each.where: names for each in everything() if (names := untyped(each))} == {}


def test_everything_public_is_documented() -> None:
    assert [each.where for each in everything() if not ast.get_docstring(each.node)] == []


def test_arrays_have_their_shapes_in_the_docstring() -> None:
    assert [each.where for each in everything() if lacks_shapes(each)] == []


def test_the_public_names_have_an_example() -> None:
    """tests/docs/test_docstrings.py runs it."""
    public = {name for name in foveal.__all__ if not name.startswith("__")}
    homes = {f"{foveal._HOMES[name]}.{name}" for name in public} - {"foveal.config.Settings"}
    homes.add("foveal.config.settings.Settings")
    found = {
        each.where.rpartition(".")[2]: ast.get_docstring(each.node) or ""
        for each in everything()
        if each.where.replace(".__init__", "") in homes
    }
    assert found.keys() == public
    assert [name for name in public if "\nExamples:\n    >>> " not in found[name]] == []


@pytest.mark.parametrize(
    ("text", "is_shape"),
    [
        ("boxes: [N, 4] xyxy.", True),
        ("Returns: [..., K].", True),
        ("counts: [B], how many", True),
        ("[B, H * W * anchors, values]", True),
        ("[count] float32", True),
        ("scalar float32.", True),
        ("the boxes of an image", False),
        ("Expected [model] and [anchors]", False),
    ],
)
def test_what_a_shape_is(text: str, *, is_shape: bool) -> None:
    assert bool(SHAPE.search(text)) == is_shape


def test_what_is_missing_is_found() -> None:
    code = '''
class A:
    def f(self, boxes: Tensor, n) -> None:
        """Boxes."""
    def _private(x): ...
    @property
    def g(self): ...
def h(x: NDArray[Any]) -> int:
    """Of [N, 4]."""
    def inner(y): ...
'''
    found = {each.where: each for each in public_names(ast.parse(code), "m")}
    assert list(found) == ["m.A", "m.A.f", "m.A.g", "m.h"]
    assert untyped(found["m.A.f"]) == ["n"]
    assert untyped(found["m.A.g"]) == ["return"]
    assert untyped(found["m.h"]) == []
    assert lacks_shapes(found["m.A.f"])
    assert not lacks_shapes(found["m.h"])
    assert not ast.get_docstring(found["m.A"].node)
