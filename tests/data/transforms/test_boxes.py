"""Boxes follow a movement exactly: held against cutting the moved rectangle by half-planes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from foveal.data.transforms.boxes import move_target
from foveal.structures import Target

ROOM = (150, 220)


def target_of(*boxes: tuple[float, ...], ignored: bool = False) -> Target:
    return Target(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(len(boxes), dtype=np.int64),
        np.full(len(boxes), ignored),
    )


def turned(degrees: float, scale: float, shear: float, shift: tuple[float, float]) -> np.ndarray:
    angle, slant = np.radians([degrees, shear])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn @ [[1, np.tan(slant)], [0, 1]] * scale, shift])


def cut_off(polygon: list[np.ndarray], normal: np.ndarray, offset: float) -> list[np.ndarray]:
    """What of a convex polygon lies where normal . point >= offset."""
    left = []
    for start, end in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        before, after = normal @ start - offset, normal @ end - offset
        if before >= 0:
            left.append(start)
        if (before < 0) != (after < 0):
            left.append(start + (end - start) * before / (before - after))
    return left


def seen(box: tuple[float, ...], matrix: np.ndarray) -> list[np.ndarray]:
    x0, y0, x1, y1 = box
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)
    polygon = list(corners @ matrix[:, :2].T + matrix[:, 2])
    height, width = ROOM
    for normal, offset in [((1, 0), 0), ((0, 1), 0), ((-1, 0), -width), ((0, -1), -height)]:
        polygon = cut_off(polygon, np.array(normal, np.float64), offset)
    return polygon


boxes = st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(1, 300)] * 2).map(
    lambda sides: (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3])
)
matrices = st.builds(
    turned, st.floats(-180, 180), st.floats(0.1, 4), st.floats(-40, 40),
    st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(boxes, matrices)
def test_law_a_box_encloses_what_is_seen_of_the_moved_rectangle(box, matrix):
    found = move_target(target_of(box), matrix, room=ROOM, min_visibility=0.0, rule="corners")
    polygon = seen(box, matrix)
    if len(found) == 0:
        assert not polygon or np.ptp(polygon, axis=0).min() < 0.02
        return
    assert polygon, found.boxes
    expected = [*np.min(polygon, axis=0), *np.max(polygon, axis=0)]
    np.testing.assert_allclose(found.boxes[0], expected, atol=1e-3)


# Most matrices move most boxes out of the room: the health check counts that against the test.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(boxes, matrices)
def test_law_an_ellipse_is_enclosed_by_a_box_that_it_touches(box, matrix):
    angles = np.linspace(0, 2 * np.pi, 20_001)
    center, half = np.reshape(box, (2, 2)).mean(axis=0), np.ptp(np.reshape(box, (2, 2)), axis=0) / 2
    outline = center + half * np.column_stack([np.cos(angles), np.sin(angles)])
    outline = outline @ matrix[:, :2].T + matrix[:, 2]
    expected = np.hstack([outline.min(axis=0), outline.max(axis=0)])
    expected = np.clip(expected, 0, [ROOM[1], ROOM[0]] * 2)
    assume((expected[2:] - expected[:2]).min() > 0.02)
    found = move_target(target_of(box), matrix, room=ROOM, min_visibility=0.0, rule="ellipse")
    np.testing.assert_allclose(found.boxes[0], expected, atol=1e-2)


@pytest.mark.parametrize(("share", "left"), [(0.49, 1), (0.51, 0)])
def test_what_is_mostly_cut_away_goes_and_a_region_to_ignore_stays(share, left):
    half_out = np.array([[1.0, 0, -10], [0, 1, 0]])
    for ignored, expected in [(False, left), (True, 1)]:
        target = target_of((0, 0, 20, 20), ignored=ignored)
        found = move_target(target, half_out, room=ROOM, min_visibility=share, rule="corners")
        assert len(found) == expected


def test_boxes_without_area_and_boxes_outside_go():
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    target = target_of((5, 5, 5, 9), (500, 500, 600, 600), (1, 2, 3, 4))
    found = move_target(target, still, room=ROOM, min_visibility=0.0, rule="corners")
    assert found.boxes.tolist() == [[1, 2, 3, 4]]
    assert found.labels.tolist() == [2]
