"""Counts and numbers in words."""

import math

import pytest

from foveal.text import (
    PLAIN_SIGNS,
    UNDEFINED,
    as_name,
    as_text,
    between,
    counted,
    decimal,
    duration,
    is_text,
    length_in_words,
    listed,
    natural_order,
    percent,
    plain_number,
    printable,
    sentence,
    shorten,
    suggestion,
    without_nan,
)


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


def test_none_and_all_are_exact():
    assert [percent(value, 1) for value in (0, 1, 0.9999)] == ["0%", "100%", "100.0%"]


def test_an_interval_is_undefined_with_either_end():
    assert between(0.87, 0.93) == "0.870 to 0.930"
    assert between(-0.5, 2, 1) == "−0.5 to 2.0"
    assert {between(math.nan, 1), between(0, math.nan)} == {"–"}


def test_long_lists_and_names_are_cut():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
    assert listed([], 2) == ""
    assert listed(["endless" * 7000], 2) == ("endless" * 6)[:39] + "…"


def test_a_name_is_one_line():
    assert shorten("cell\x01\n type  2", 20) == "cell type 2"
    assert shorten("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "✓ 細 é \\udcf6"),
        ("cp1252", r"+ \u7d30 é \udcf6"),
        ("cp932", r"+ 細 \xe9 \udcf6"),
        ("ascii", r"+ \u7d30 \xe9 \udcf6"),
    ],
)
def test_what_an_encoding_lacks_is_written_plainly(encoding: str, written: str):
    assert "✓ 細 é \udcf6".encode(encoding, PLAIN_SIGNS).decode(encoding) == written


def test_plain_signs_are_a_way_to_encode_alone():
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", PLAIN_SIGNS)


def test_a_name_that_is_no_text_is_spelled_out_and_back():
    name = "h\udcf6fe \ud83d ü.png"
    assert not is_text(name)
    assert as_text(name) == r"h\udcf6fe \ud83d ü.png"
    assert is_text(as_text(name))
    assert as_name(as_text("h\udcf6fe.png")) == "h\udcf6fe.png"
    assert as_name(r"C:\udder\a.png") == r"C:\udder\a.png"
    assert shorten(name, 40) == as_text(name)
    assert is_text("")


def test_control_characters_of_names_do_not_reach_the_terminal():
    assert printable("a\x1b[31m\tb\nc\x9b") == "a\\x1b[31m\tb\nc\\x9b"
    assert printable("a\r\nb\t\u2028c", lines=False) == r"a\r\nb\t\u2028c"
    assert printable("ö ✓ 細 [b]", lines=False) == "ö ✓ 細 [b]"


def test_names_with_numbers_in_the_order_of_people():
    names = ["x10", "x9b", "X2", "10", "9", "x", "x09", "x\u00b2"]
    assert sorted(names, key=natural_order) == [
        "9",
        "10",
        "x",
        "X2",
        "x09",
        "x9b",
        "x10",
        "x\u00b2",
    ]


def test_a_sentence_begins_with_a_capital():
    assert sentence("anchors: the default") == "Anchors: the default."


def test_json_holds_no_nan():
    value = {"a": (1.0, math.inf), "b": {"c": [math.nan, "x", 3]}}
    assert without_nan(value) == {"a": [1.0, None], "b": {"c": [None, "x", 3]}}


@pytest.mark.parametrize(
    ("meters", "words"),
    [
        (0.018, "1.8 cm"),
        (0.25, "25 cm"),
        (0.9999, "1 m"),
        (10, "10 m"),
        (999.9, "1 km"),
        (3214, "3.21 km"),
        (2.5e6, "2,500 km"),
        (float("nan"), UNDEFINED),
    ],
)
def test_lengths_have_the_unit_that_suits_them(meters: float, words: str) -> None:
    assert length_in_words(meters) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0 seconds"),
        (1.0, "1 second"),
        (2.34, "2.3 seconds"),
        (40.2, "40 seconds"),
        (252, "4 minutes"),
        (9000, "2.5 hours"),
        (200_000, "2.3 days"),
        (math.nan, "–"),
    ],
)
def test_lengths_of_time(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("name", "said"),
    [("cooc", " Did you mean 'coco'?"), ("COCO", " Did you mean 'coco'?"), ("x", ""), ("", "")],
)
def test_suggestion(name, said):
    assert suggestion(name, ["voc", "coco"]) == said
    assert suggestion(name, []) == ""
