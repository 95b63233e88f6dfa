"""A whole scene in one picture: everything found is seen, however small and many."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from foveal.structures import Detections
from foveal.visualization import colors
from foveal.visualization.overviews import draw_overview

CLASSES = ("car", "tree")
GROUND = 120


def found(centers: object, *, side: float, labels: object = 0, size: int = 3000) -> Detections:
    points = np.asarray(centers, np.float32).reshape(-1, 2)
    count = len(points)
    return Detections(
        np.concatenate([points - side / 2, points + side / 2], axis=1),
        np.linspace(0.9, 0.4, count),
        np.broadcast_to(np.asarray(labels), (count,)),
        CLASSES,
        size,
        size,
    )


def ground(side: int = 300) -> NDArray[np.uint8]:
    return np.full((side, side, 3), GROUND, np.uint8)


def drawn(detections: Detections, side: int = 300) -> NDArray[np.uint8]:
    return draw_overview(ground(side), detections, labels=False, legend=False)


def color(label: int) -> NDArray[np.int64]:
    return np.asarray(colors.class_color(label))


def test_nothing_found_changes_nothing_but_the_legend() -> None:
    nothing = found([], side=1)
    assert (drawn(nothing) == GROUND).all()
    assert (draw_overview(ground(), nothing) != GROUND).any()


def test_small_objects_are_dots_where_they_lie_and_large_ones_boxes() -> None:
    small = drawn(found([(1000, 2000)], side=20, labels=1))
    assert (small[200, 100] == color(1)).all()
    assert (np.abs(np.argwhere((small != GROUND).any(axis=2)) - (200, 100)) <= 8).all()
    large = drawn(found([(1000, 2000)], side=400, labels=1))
    assert (large[200, 100] == GROUND).all()
    assert (large[200, 79] == color(1)).all()
    assert (large[200, 120] == color(1)).all()


def test_the_better_of_two_dots_is_above() -> None:
    picture = drawn(found([(1000, 1000), (1010, 1000)], side=20, labels=[0, 1]))
    assert (picture[100, 100] == color(0)).all()


def test_many_dots_become_smaller_until_each_is_seen() -> None:
    across = np.arange(5, 3000, 60)
    grid = np.stack(np.meshgrid(across, across), axis=2).reshape(-1, 2)
    picture = drawn(found(grid, side=20))
    rows, columns = (grid[:, ::-1] // 10).T
    assert (picture[rows, columns] == color(0)).all()
    between = (grid[:-50, ::-1] // 10 + 3).T
    assert (picture[between[0], between[1]] != color(0)).any(axis=1).all()


def test_where_dots_would_be_a_blot_there_are_shades() -> None:
    generator = np.random.default_rng(0)
    dense = generator.uniform(0, 1500, (60_000, 2))
    thin = generator.uniform(1500, 3000, (1000, 2))
    labels = np.repeat([0, 1], [60_000, 1000])
    picture = drawn(found(np.concatenate([dense, thin]), side=10, labels=labels)).astype(int)
    blue = picture[:150, :150].mean(axis=(0, 1))
    orange = picture[150:, 150:].mean(axis=(0, 1))
    assert blue[2] > blue[0] + 80
    assert 5 < orange[0] - orange[2] < blue[2] - blue[0]
    empty = picture[160:, :144]
    assert (np.ptp(empty, axis=2) == 0).all()


def test_the_legend_stands_where_nothing_is_hidden() -> None:
    detections = found([(1500, 1500)], side=20)
    with_words = draw_overview(ground(), detections)
    same_size = draw_overview(ground(3000), detections)
    assert (with_words[:60] != GROUND).any()
    assert (same_size[1500, 1490:1510] == GROUND).any()


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_any_number_of_bands(bands: int) -> None:
    image = np.full((40, 50, bands), GROUND, np.uint8)
    assert draw_overview(image, found([(9, 9)], side=1)).shape == (40, 50, 3)


def test_objects_at_the_rim_are_drawn_as_far_as_there_is_a_picture() -> None:
    picture = drawn(found([(0, 0), (3000, 3000)], side=20))
    assert (picture[0, 0] == color(0)).all()
    assert (picture[-1, -1] == color(0)).all()
