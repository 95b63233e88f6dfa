"""The examples in the docstrings of the public names do what they show."""

from __future__ import annotations

import doctest
import io

import numpy as np
import pytest
from tests.docs.reader import Reader

import foveal as library

NAMES = [name for name in library.__all__ if not name.startswith("__")]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def failures(text: str, name: str) -> tuple[int, str]:
    """How many lines of a docstring's examples fail, and how."""
    parser = doctest.DocTestParser()
    test = parser.get_doctest(text, {"foveal": library, "np": np}, name, name, 0)
    said = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    failed = runner.run(test, out=said.write, clear_globs=False).failed
    return failed if test.examples else 1, said.getvalue() or "there is no example"


@pytest.mark.parametrize("name", NAMES)
def test_an_example_does_what_it_shows(name, foveal, tmp_path, monkeypatch) -> None:
    if name == "to_supervision":
        pytest.importorskip("supervision")
    Reader(foveal, tmp_path, monkeypatch)
    failed, said = failures(getattr(library, name).__doc__, name)
    assert not failed, said


@pytest.mark.parametrize("text", ["Nothing.", ">>> 1 + 1\n3", ">>> foveal.no"])
def test_a_wrong_example_is_seen(text) -> None:
    assert failures(text, "wrong")[0]
