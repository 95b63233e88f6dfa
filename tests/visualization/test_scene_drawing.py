"""A scene drawn window by window: the windows side by side are the whole picture."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.errors import MissingExtraError
from foveal.structures import Detections
from foveal.visualization import colors
from foveal.visualization.scene_drawing import plan_drawing

pytest.importorskip("shapely")
WIDTH, HEIGHT, GROUND = 400, 300, 110


def found(count: int, *, seed: int = 0, largest: float = 90) -> Detections:
    generator = np.random.default_rng(seed)
    starts = generator.uniform((0, 0), (WIDTH - 5, HEIGHT - 5), (count, 2))
    ends = np.minimum(starts + generator.uniform(4, largest, (count, 2)), (WIDTH, HEIGHT))
    return Detections(
        np.concatenate([starts, ends], axis=1),
        np.linspace(0.99, 0.3, count),
        generator.integers(0, 2, count),
        ("ship", "größer"),
        WIDTH,
        HEIGHT,
    )


def one(*box: float) -> Detections:
    return Detections(np.asarray([box]), np.ones(1), np.zeros(1), ("ship",), WIDTH, HEIGHT)


def scene() -> NDArray[np.uint8]:
    return np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)


def in_windows(detections: Detections, side: int) -> NDArray[np.uint8]:
    drawing, picture = plan_drawing(detections), scene()
    for top in range(0, HEIGHT, side):
        for left in range(0, WIDTH, side):
            window = picture[top : top + side, left : left + side]
            window[:] = drawing.draw(window, left, top)
    return picture


@pytest.mark.parametrize("side", [37, 64, 150])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_windows_side_by_side_are_the_whole(count: int, side: int) -> None:
    detections = found(count)
    whole = plan_drawing(detections).draw(scene(), 0, 0)
    np.testing.assert_array_equal(in_windows(detections, side), whole)
    assert (whole != GROUND).any() == (count > 0)


def test_the_line_lies_outside_of_the_box_and_inside_of_the_scene() -> None:
    drawing = plan_drawing(one(100, 120, 140, 160), labels=False)
    picture = drawing.draw(scene(), 0, 0)
    color = colors.class_color(0)
    assert (picture[120:160, 100:140] == GROUND).all()
    for row, column in ((118, 98), (119, 120), (161, 141), (140, 98), (140, 141)):
        assert (picture[row, column] == color).all()
    assert ((picture != GROUND).any(axis=2)).sum() == 44 * 44 - 40 * 40
    rim = plan_drawing(one(0, 0, WIDTH, HEIGHT), labels=False).draw(scene(), 0, 0)
    assert (rim[[0, 1, -1, -2]] == color).all()
    assert (rim[:, [0, 1, -1, -2]] == color).all()
    assert (rim[2:-2, 2:-2] == GROUND).all()


def test_labels_hide_no_box_and_no_better_label() -> None:
    drawing = plan_drawing(found(60))
    written = np.flatnonzero([bool(word) for word in drawing.words])
    assert 0 < len(written) < 60
    for index in written:
        place = drawing.places[index]
        others = np.delete(drawing.frames, index, axis=0)
        beside = (others[:, :2] >= place[2:]) | (others[:, 2:] <= place[:2])
        assert beside.any(axis=1).all()
    places = drawing.places[written]
    apart = (places[:, None, :2] >= places[None, :, 2:]) | (
        places[:, None, 2:] <= places[None, :, :2]
    )
    assert (apart.any(axis=2) | np.eye(len(written), dtype=bool)).all()


def test_small_objects_have_no_label_and_lone_ones_do() -> None:
    assert plan_drawing(one(50, 50, 60, 60)).words == [""]
    assert plan_drawing(one(50, 50, 90, 60)).words == ["ship 1.00"]
    below = plan_drawing(one(50, 0, 90, 40))
    assert below.places[0, 1] == below.frames[0, 3]
    assert plan_drawing(one(370, 50, 400, 90)).places[0, 2] == WIDTH


def test_without_shapely_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foveal\[geo\]'"):
        plan_drawing(found(3))
