"""What is left of covered boxes: by hand, and against pixels."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.geometry.covering import uncovered_parts


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("covers", "share", "left"),
    [
        ([], 1.0, (0, 0, 10, 10)),
        ([(20, 20, 30, 30)], 1.0, (0, 0, 10, 10)),
        ([(0, 0, 4, 10)], 0.6, (4, 0, 10, 10)),
        ([(2, 2, 8, 8)], 0.64, (0, 0, 10, 10)),
        ([(-5, -5, 6, 20), (4, -5, 9, 20)], 0.1, (9, 0, 10, 10)),
        ([(-1, -1, 6, 11), (6, -1, 11, 11)], 0.0, (0, 0, 0, 0)),
    ],
)
def test_by_hand(covers, share, left):
    shares, bounds = uncovered_parts(boxes((0, 0, 10, 10)), boxes(*covers))
    assert shares.tolist() == pytest.approx([share])
    assert bounds.tolist() == [list(left)]


def test_it_agrees_with_pixels():
    generator = np.random.default_rng(1)
    for _ in range(20):
        corners = np.sort(generator.integers(0, 24, (12, 2, 2)), axis=1)
        drawn = corners.reshape(-1, 4).astype(np.float32)
        under, covers = drawn[:8], drawn[8 : 8 + int(generator.integers(0, 4))]
        shares, bounds = uncovered_parts(under, covers)
        for (x0, y0, x1, y1), share, bound in zip(under.astype(int), shares, bounds, strict=True):
            seen = np.zeros((24, 24), np.bool_)
            seen[y0:y1, x0:x1] = True
            for left, top, right, bottom in covers.astype(int):
                seen[top:bottom, left:right] = False
            area = (x1 - x0) * (y1 - y0)
            assert share == pytest.approx(seen.sum() / area if area else 0.0)
            if seen.any():
                rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
                assert bound.tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            else:
                assert not bound.any()


def test_no_boxes():
    shares, bounds = uncovered_parts(boxes(), boxes((0, 0, 1, 1)))
    assert shares.shape == (0,)
    assert bounds.shape == (0, 4)
