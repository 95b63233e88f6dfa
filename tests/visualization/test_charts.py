"""Charts: complete SVG, the same each time, names as they are, no outside reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from xml.etree import ElementTree

import numpy as np
import pytest

from foveal.visualization import charts
from foveal.visualization.charts import Line

X = np.linspace(0, 1, 21)
NAMES = ("<script>alert(1)</script>", "pl$at$elet", "größer & mehr")
LINES = [Line(name, X, 1 - X**power, power) for power, name in enumerate(NAMES, start=1)]
NAN = float("nan")

CHARTS: dict[str, Callable[[], str]] = {
    "precision": lambda: charts.draw_precision_recall([*LINES, Line("mean", X, X * NAN)]),
    "f1": lambda: charts.draw_f1(LINES, score_threshold=0.42),
    "calibration": lambda: charts.draw_calibration(
        np.array([0.1, NAN, 0.9]), np.array([0.2, NAN, 0.8]), np.array([5, 0, 90])
    ),
    "counts": lambda: charts.draw_counts(np.array([1, 2, 2]), np.array([1, 3, 3])),
    "confusion": lambda: charts.draw_confusion(
        [*NAMES, "background"], np.diag([3, 0, 7, 0]).astype(np.int64)
    ),
    "many classes": lambda: charts.draw_confusion(
        [f"class {i}" for i in range(60)], np.eye(60, dtype=np.int64)
    ),
    "errors": lambda: charts.draw_error_costs({"missed": 0.12, "<i>": NAN}),
    "sizes": lambda: charts.draw_by_size(["under 16 px", "more"], [0.4, NAN], [12, 0]),
    "history": lambda: charts.draw_history(LINES, x="epoch", y="loss", logarithmic=True, best=0.5),
    "histogram": lambda: charts.draw_histogram(X, x="score", low=0, high=1),
    "wide histogram": lambda: charts.draw_histogram(np.geomspace(2, 900, 50), x="size, m"),
    "rates": lambda: charts.draw_learning_rates(X, np.where(X > 0.9, NAN, X), chosen=0.1),
}
NOTHING: dict[str, Callable[[], str]] = {
    "precision": lambda: charts.draw_precision_recall([]),
    "f1": lambda: charts.draw_f1([Line("none", [], [], 0)], score_threshold=0.5),
    "calibration": lambda: charts.draw_calibration(
        np.full(3, NAN), np.full(3, NAN), np.zeros(3, np.int64)
    ),
    "counts": lambda: charts.draw_counts(np.zeros(0, np.int64), np.zeros(0, np.int64)),
    "confusion": lambda: charts.draw_confusion(["background"], np.zeros((1, 1), np.int64)),
    "errors": lambda: charts.draw_error_costs({}),
    "sizes": lambda: charts.draw_by_size([], [], []),
    "history": lambda: charts.draw_history([], x="epoch", y="loss"),
    "histogram": lambda: charts.draw_histogram(np.zeros(0), x="score"),
    "histogram of one value": lambda: charts.draw_histogram(np.ones(1), x="score"),
    "rates": lambda: charts.draw_learning_rates(np.zeros(0), np.zeros(0), chosen=None),
}


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter() if "text" in node.tag]


@cache
def drawn(name: str) -> str:
    """A chart, which takes as long as all that is asked of it."""
    return CHARTS[name]()


@pytest.mark.parametrize("draw", [*(partial(drawn, name) for name in CHARTS), *NOTHING.values()])
def test_every_chart_is_one_svg_without_outside_references(draw: Callable[[], str]) -> None:
    svg = draw()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "<image" not in svg
    for reference in re.findall(r'(?:href="|url\()([^")]*)', svg):
        assert reference.startswith("#")
        assert f'id="{reference[1:]}"' in svg


@pytest.mark.parametrize("name", list(CHARTS))
def test_the_same_chart_is_the_same_text(name: str) -> None:
    assert CHARTS[name]() == drawn(name)


@pytest.mark.parametrize(("name", "ground"), [("rates", True), ("precision", False)])
def test_only_a_chart_that_stands_alone_has_ground(name: str, ground: bool) -> None:
    """On a dark page its letters would not be seen; a report has ground of its own."""
    assert ("fill: #ffffff" in drawn(name)) is ground


def test_ids_of_different_charts_differ() -> None:
    ids = [re.findall(r'\bid="([^"]*)"', drawn(name)) for name in ("precision", "f1", "errors")]
    flat = [one for chart in ids for one in chart]
    assert len(set(flat)) == len(flat)


def test_names_are_shown_letter_for_letter() -> None:
    shown = words(drawn("precision"))
    assert "pl$at$elet" in shown
    assert "größer & mehr" in shown
    assert any(word.startswith("<script>") for word in shown)


def test_letters_of_any_script_and_control_characters() -> None:
    svg = charts.draw_f1([Line("细胞\x01\n核", X, X, 0)], score_threshold=0.5)
    assert "细胞 核" in words(svg)


def test_confusion_writes_its_numbers() -> None:
    shown = words(charts.draw_confusion(["cell", "background"], np.array([[1234, 5], [0, 0]])))
    assert "1,234" in shown
    assert "5" in shown


def test_bars_write_their_values_and_a_dash_for_what_is_undefined() -> None:
    assert {"0.120", "–"} <= set(words(drawn("errors")))


def test_the_chosen_threshold_is_marked() -> None:
    assert "chosen: 0.42" in words(drawn("f1"))


def test_a_histogram_of_values_far_apart_has_a_logarithmic_axis() -> None:
    assert {"10", "100", "500"} <= set(words(drawn("wide histogram")))
