"""Counts and numbers in words."""

import math

import pytest

from foveal.text import counted, decimal, percent, plain_number, without_nan


@pytest.mark.parametrize(
    ("count", "noun", "expected"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (1234, "image", "1,234 images"),
        (3, "epoch", "3 epochs"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (3, "box", "3 boxes"),
        (4, "batch", "4 batches"),
    ],
)
def test_counts(count, noun, expected):
    assert counted(count, noun) == expected


def test_what_is_undefined_is_a_dash():
    assert {percent(math.nan), decimal(math.nan), plain_number(math.nan)} == {"–"}


def test_numbers():
    assert (percent(0.256), percent(0.2567, 1)) == ("26%", "25.7%")
    assert decimal(-0.5) == "−0.500"
    assert [plain_number(value) for value in (9.994, 12.34)] == ["9.99", "12.3"]
    assert plain_number(2.5, signed=True) == "+2.50"


def test_json_holds_no_nan():
    value = {"a": (1.0, math.inf), "b": {"c": [math.nan, "x", 3]}}
    assert without_nan(value) == {"a": [1.0, None], "b": {"c": [None, "x", 3]}}
