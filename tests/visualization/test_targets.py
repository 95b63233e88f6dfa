"""Pictures of the ground truth."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.structures import Target
from foveal.visualization import colors
from foveal.visualization.targets import MatchedAnchors, draw_target

GROUND = np.full((40, 60, 3), 90, np.uint8)
TWO = Target(
    np.float32([[5, 5, 20, 20], [30, 5, 50, 30]]),
    np.array([0, 1]),
    np.array([False, False]),
)


def has(picture: np.ndarray, color: colors.Color) -> bool:
    return bool((picture == color).all(axis=2).any())


def test_each_class_has_its_color() -> None:
    picture = draw_target(GROUND, TWO, ("a", "b"), side=240)
    assert picture.shape == (160, 240, 3)  # a whole factor
    assert has(picture, colors.class_color(0))
    assert has(picture, colors.class_color(1))
    assert not has(picture, colors.IGNORED)


def test_regions_to_ignore_are_gray() -> None:
    regions = Target(TWO.boxes, TWO.labels, np.array([True, True]))
    picture = draw_target(GROUND, regions, ("a", "b"), side=60)
    assert has(picture, colors.IGNORED)
    assert not has(picture, colors.class_color(0))


def test_an_object_without_anchors_is_told_from_the_others() -> None:
    anchors = MatchedAnchors(np.float32([[8, 8, 16, 16]]), np.array([0]), framed=True)
    picture = draw_target(GROUND, TWO, ("a", "b"), side=240, anchors=anchors)
    assert has(picture, colors.FALSE_NEGATIVE)
    assert not has(picture, colors.class_color(1))
    y, x = 12 * 4, 12 * 4
    assert tuple(picture[y, x]) == colors.class_color(0)
    none = MatchedAnchors(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), framed=False)
    assert not has(draw_target(GROUND, TWO, ("a", "b"), side=60, anchors=none), (86, 180, 233))


@pytest.mark.parametrize(("size", "side", "shape"), [((90, 30), 30, (10, 30)), ((1, 9), 4, (4, 1))])
def test_large_images_are_shrunk(size, side, shape) -> None:
    picture = draw_target(np.zeros(size[::-1], np.uint8), Target.empty(), (), side=side)
    assert picture.shape == (*shape, 3)


def test_of_five_bands_three_are_shown() -> None:
    image = np.dstack([GROUND, np.zeros((40, 60, 2), np.uint8)])
    np.testing.assert_array_equal(draw_target(image, Target.empty(), (), side=60), GROUND)
