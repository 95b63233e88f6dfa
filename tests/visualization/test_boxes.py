"""Pictures with boxes: what must be visible, what must not be touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.structures import Detections, Target
from foveal.visualization import colors
from foveal.visualization.boxes import draw_comparison, draw_detections, to_rgb

CLASSES = ("normal", "größer", "platelet")


def detections(*boxes: tuple[float, float, float, float], label: int = 0) -> Detections:
    count = len(boxes)
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.full(count, label, np.int64),
        classes=CLASSES,
    )


def target(*boxes: tuple[float, float, float, float], ignored: bool = False) -> Target:
    count = len(boxes)
    return Target(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.zeros(count, np.int64),
        np.full(count, ignored),
    )


def gray(height: int, width: int, bands: int = 3) -> np.ndarray:
    return np.full((height, width, bands), 100, np.uint8)


def test_the_line_lies_just_outside_the_box() -> None:
    picture = draw_detections(
        gray(64, 64), detections((20, 24, 40, 44)), labels=False, legend=False
    )
    assert (picture[24:44, 20:40] == 100).all()
    color = np.asarray(colors.class_color(0))
    for row, column in ((23, 30), (44, 30), (30, 19), (30, 40), (23, 19), (44, 40)):
        assert (picture[row, column] == color).all()
    assert (picture[22] == 100).all()
    assert (picture[:, 41] == 100).all()


def test_a_box_as_large_as_the_picture_shows_its_line_at_the_rim() -> None:
    picture = draw_detections(gray(48, 64), detections((0, 0, 64, 48)), labels=False, legend=False)
    color = np.asarray(colors.class_color(0))
    assert (picture[0] == color).all()
    assert (picture[-1] == color).all()
    assert (picture[:, 0] == color).all()
    assert (picture[:, -1] == color).all()


@pytest.mark.parametrize("image", [np.zeros((20, 30), np.uint8), gray(20, 30, 1), gray(20, 30, 4)])
def test_nothing_found_in_gray_and_four_band_images(image: np.ndarray) -> None:
    before = image.copy()
    picture = draw_detections(image, detections(), legend=False)
    assert picture.shape == (20, 30, 3)
    assert (picture == to_rgb(image)).all()
    assert (image == before).all()


def test_the_image_is_never_changed() -> None:
    image = gray(100, 100)
    draw_detections(image, detections((10, 10, 50, 50)))
    assert (image == 100).all()


@pytest.mark.parametrize("image", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_image_is_named(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected uint8"):
        draw_detections(image, detections())


def test_labels_do_not_hide_small_objects() -> None:
    grid = [(x, y, x + 6, y + 6) for x in range(5, 395, 14) for y in range(5, 395, 14)]
    boxes = [tuple(float(v) for v in box) for box in grid]
    picture = draw_detections(gray(400, 400), detections(*boxes), legend=False)
    for x0, y0, x1, y1 in grid:
        assert (picture[y0:y1, x0:x1] == 100).all()


def test_a_label_is_written_where_there_is_room() -> None:
    one = detections((100, 100, 150, 150))
    bare = draw_detections(gray(300, 300), one, labels=False, legend=False)
    assert (draw_detections(gray(300, 300), one, legend=False) != bare).sum() > 500


def test_the_legend_says_where_a_limit_was_reached() -> None:
    found = detections((100, 100, 140, 140))
    both = (found, replace(found, left_out_score=0.5))
    whole, capped = (draw_detections(gray(300, 300), each, labels=False) for each in both)
    assert (whole != capped).sum() > 500
    assert np.array_equal(*(draw_detections(gray(300, 300), each, legend=False) for each in both))


def test_the_legend_takes_the_emptiest_corner() -> None:
    boxes = [(5.0 + 30 * i, 5.0, 25.0 + 30 * i, 25.0) for i in range(9)]
    boxes += [(5.0, 100.0 + 30 * i, 25.0, 120.0 + 30 * i) for i in range(6)]
    picture = draw_detections(gray(300, 300), detections(*boxes), labels=False)
    assert (picture[-60:, -60:] < 60).any()


def test_small_pictures_can_be_enlarged() -> None:
    picture = draw_detections(gray(48, 64), detections((8, 8, 24, 24)), min_side=400)
    assert picture.shape == (9 * 48, 9 * 64, 3)


def test_a_long_name_leaves_the_score_readable() -> None:
    names = ("a very long class name that never ends and goes on",)
    found = replace(detections((10, 60, 380, 200)), classes=names)
    better = replace(found, scores=found.scores + np.float32(0.05))
    one, other = (
        draw_detections(gray(300, 400), each, legend=False).astype(int) for each in (found, better)
    )
    assert (one != other).any()


def test_comparison_shows_found_missed_and_false() -> None:
    found, missed, false = (10, 10, 40, 40), (60, 10, 90, 40), (110, 10, 140, 40)
    picture = draw_comparison(
        gray(60, 160),
        true_positives=detections(found),
        false_positives=detections(false),
        false_negatives=target(missed),
        labels=False,
        legend=False,
    )
    assert tuple(picture[9, 25]) == colors.TRUE_POSITIVE
    assert tuple(picture[9, 125]) == colors.FALSE_POSITIVE
    top = picture[9, 59:91]
    dashes = (top == np.asarray(colors.FALSE_NEGATIVE)).all(axis=1)
    assert dashes[0]
    assert dashes[-1]
    assert 0.2 < dashes.mean() < 0.8


def test_comparison_of_nothing_with_nothing() -> None:
    picture = draw_comparison(
        gray(60, 60),
        true_positives=detections(),
        false_positives=detections(),
        false_negatives=Target.empty(),
        legend=False,
    )
    assert (picture == 100).all()


def test_regions_to_ignore_are_gray() -> None:
    picture = draw_comparison(
        gray(200, 200),
        true_positives=detections(),
        false_positives=detections(),
        false_negatives=target((60, 60, 120, 120), ignored=True),
        labels=False,
        legend=False,
    )
    assert (picture == colors.IGNORED[0]).all(axis=2).any()
    assert not (picture == np.asarray(colors.class_color(0))).all(axis=2).any()


def test_class_colors_differ() -> None:
    assert len({colors.class_color(label) for label in range(60)}) == 60


def test_labels_without_class_names_are_drawn() -> None:
    found = Detections([[50, 50, 90, 90]], [0.5], [5])
    assert draw_detections(gray(200, 200), found).shape[2] == 3


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    boxes=st.lists(
        st.tuples(*[st.floats(-30, 150, width=32) for _ in range(4)]).map(
            lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3]))
        ),
        max_size=6,
    ),
)
def test_any_boxes_on_any_picture(height: int, width: int, boxes: list[tuple[float, ...]]) -> None:
    picture = draw_detections(gray(height, width), detections(*boxes))  # type: ignore[arg-type]
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8
