"""How an evaluation shows itself."""

from __future__ import annotations

import math

import numpy as np
from tests.reports.results import evaluation, nothing

TWO = evaluation(np.array([[3, 0], [2, 0]]), np.array([[3, 1], [1, 0]]), ("<cell>", "worm"))


def test_words() -> None:
    assert repr(TWO) == (
        "<Evaluation AP 0.610 (0.570 to 0.660), AP50 0.620 (0.870 to 0.930) on 2 images with "
        "5 objects; F1 0.925 from the score 0.42 on>"
    )
    assert repr(nothing()).startswith("<Evaluation AP –, AP50 – on 0 images with 0 objects; F1 –")


def test_a_table_has_a_row_for_each_class() -> None:
    cell, worm = TWO.to_table()
    assert (cell["class"], cell["objects"], cell["images"], cell["predicted"]) == (
        "<cell>",
        5,
        2,
        4,
    )
    assert (cell["AP"], cell["AP_low"], cell["AP_high"]) == (0.6, 0.6 - 0.04, 0.6 + 0.05)
    assert math.isnan(worm["AP"])
    assert worm["predicted"] == 1


def test_a_notebook_shows_the_classes() -> None:
    html = TWO._repr_html_()
    assert ">&lt;cell&gt;<" in html
    assert "AP 0.610" in html
    assert "<cell>" not in html
    assert "0 images" in nothing()._repr_html_()
