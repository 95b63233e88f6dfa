import numpy as np
import pytest

from foveal.geometry.georeference import Georeference

ROTATED = Georeference("EPSG:32617", (0.8, -0.6, 500_000.0, -0.6, -0.8, 4_000_000.0))


def test_pixel_corners_are_whole_numbers_as_in_gdal():
    plain = Georeference("EPSG:32617", (10.0, 0.0, 300.0, 0.0, -10.0, 900.0))
    assert plain.to_map(np.array([[0, 0], [2, 1]])).tolist() == [[300, 900], [320, 890]]
    assert plain.pixel_size == (10, 10)


def test_there_and_back_of_a_rotated_transform():
    points = np.array([[0, 0], [1234.5, 17.25], [30_000, 29_999]], np.float64)
    assert ROTATED.to_pixels(ROTATED.to_map(points)) == pytest.approx(points, abs=1e-6)
    assert ROTATED.pixel_size == pytest.approx((1, 1))


def test_a_rotated_box_has_four_corners_of_its_own():
    corners = ROTATED.corners(np.array([[0, 0, 10, 5]], np.float32))
    assert corners.shape == (1, 4, 2)
    assert corners[0].tolist() == [
        pytest.approx([500_000, 4_000_000]),
        pytest.approx([500_008, 3_999_994]),
        pytest.approx([500_005, 3_999_990]),
        pytest.approx([499_997, 3_999_996]),
    ]
    assert ROTATED.corners(np.zeros((0, 4), np.float32)).shape == (0, 4, 2)


def test_a_part_begins_at_its_own_pixel():
    part = ROTATED.moved(100, 50)
    point = np.array([3.5, 2.0])
    assert part.to_map(point) == pytest.approx(ROTATED.to_map(point + np.array([100, 50])))


def test_a_bent_one_is_undone_and_moved_like_a_straight_one():
    bend = ((3.0, 1e-3, -2e-3, 4e-7, 1e-7, -3e-7), (-1.0, 2e-3, 1e-3, -2e-7, 5e-7, 1e-7))
    bent = Georeference(ROTATED.crs, ROTATED.transform, bend)
    points = np.array([[0, 0], [1234.5, 17.25], [9_000, 12_000]], np.float64)
    assert bent.to_pixels(bent.to_map(points)) == pytest.approx(points, abs=1e-6)
    assert not np.allclose(bent.to_map(points), ROTATED.to_map(points), atol=1)
    part = bent.moved(100, 50)
    assert part.to_map(points) == pytest.approx(bent.to_map(points + np.array([100, 50])))
    assert bent.straight() == ROTATED
    assert bent.corners(np.zeros((0, 4), np.float32)).shape == (0, 4, 2)
