"""Objects counted in squares."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from foveal.structures import Detections
from foveal.visualization.density import Density, draw_density, measure_density


def found(*centers: tuple[float, float], size: tuple[int, int] = (4000, 2000)) -> Detections:
    points = np.asarray(centers, np.float32).reshape(-1, 2)
    boxes = np.concatenate([points - 5, points + 5], axis=1)
    return Detections(boxes, np.ones(len(boxes)), np.zeros(len(boxes)), ("a",), *size)


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter() if "text" in node.tag]


def test_each_object_is_counted_where_its_center_lies() -> None:
    density = measure_density(found((50, 50), (499, 499), (501, 50), (3999, 1999)))
    assert (density.side, density.unit, density.size) == (500, "px", (4000, 2000))
    assert density.counts.shape == (4, 8)
    assert density.counts[0, :2].tolist() == [2, 1]
    assert density.counts[-1, -1] == 1
    assert density.counts.sum() == 4


@pytest.mark.parametrize(
    ("meters", "side", "unit", "width"),
    [(None, 500, "px", 4000), (0.1, 50, "m", 400), (0.018, 10, "m", 72), (10, 5, "km", 40)],
)
def test_squares_have_a_round_length(
    meters: float | None, side: float, unit: str, width: float
) -> None:
    density = measure_density(found((3999, 1999)), meters=meters)
    assert density.side == pytest.approx(side)
    assert density.unit == unit
    assert density.size[0] == pytest.approx(width)
    assert density.counts.sum() == 1


def test_more_objects_are_counted_in_smaller_squares() -> None:
    many = found(*np.random.default_rng(0).uniform(0, 2000, (2000, 2)).tolist())
    assert measure_density(many).side == 100
    assert measure_density(many[:100]).side == 500


def test_slivers_at_the_border_count_as_squares_only_where_they_hold_an_object() -> None:
    centers = [(250 + 500 * x, 250 + 500 * y) for x in range(8) for y in range(4)]
    assert measure_density(found(*centers, size=(4003, 2003))).share == 1
    density = measure_density(found(*centers, (4002, 5), size=(4003, 2003)))
    assert density.counts.shape == (5, 9)
    assert density.share == 1
    assert measure_density(found((50, 50))).share == 1 / 32
    assert measure_density(found()).share == 0


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (0, 0)])
def test_tiny_scenes(size: tuple[int, int]) -> None:
    density = measure_density(found((0.5, 0.5), size=size))
    assert density.counts.sum() == 1
    assert density.side >= 1


def test_the_key_names_all_counts() -> None:
    counts = np.asarray([[0, 1, 2], [3, 300, 40]])
    svg = draw_density(Density(counts, 0.5, (1.5, 1.0), "km"))
    shown = words(svg)
    assert "0.5 x 0.5 km" in shown
    levels = [word for word in shown if " to " in word or word == "1"]
    assert any(word.startswith("1") for word in levels)
    assert any(word.endswith("to 300") for word in levels)
    assert "<image" not in svg


@pytest.mark.parametrize("most", [0, 1, 2, 6, 7, 24, 25, 100_000])
def test_any_number_is_drawn(most: int) -> None:
    svg = draw_density(Density(np.asarray([[0, most]]), 1.0, (2.0, 1.0), "m"), inches=3)
    ElementTree.fromstring(svg)
    assert svg == draw_density(Density(np.asarray([[0, most]]), 1.0, (2.0, 1.0), "m"), inches=3)
