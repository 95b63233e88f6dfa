"""Many pictures as one."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.visualization.contact_sheets import KeyRow, Tile, draw_contact_sheet

RED, BLUE = (200, 10, 10), (10, 10, 200)


def tile(color: tuple[int, int, int], *, height: int = 50) -> Tile:
    name = "a name that is much longer than its picture is wide.jpg" * 3
    return Tile(np.full((height, 80, 3), color, np.uint8), name, "3 cells")


def test_all_pictures_are_there_row_by_row() -> None:
    tiles = [tile(RED), tile(BLUE, height=30), tile(RED)]
    sheet = draw_contact_sheet(tiles, title="t", columns=2)
    red, blue = ((sheet == color).all(axis=2) for color in (RED, BLUE))
    assert (int(red.sum()), int(blue.sum())) == (2 * 80 * 50, 80 * 30)
    rows = np.flatnonzero(red.any(axis=1))
    assert len(rows) == 100
    assert np.flatnonzero(blue.any(axis=1))[0] == rows[0]


@pytest.mark.parametrize("count", [0, 1, 24])
def test_any_number_of_pictures(count: int) -> None:
    sheet = draw_contact_sheet([tile(RED)] * count, title="t " * 500, lines=["word " * 60])
    assert int((sheet == RED).all(axis=2).sum()) == count * 80 * 50
    assert sheet.shape[1] >= 640


def test_a_long_key_has_several_lines() -> None:
    key = [KeyRow(BLUE, f"class number {number}", "dashed") for number in range(12)]
    tall = draw_contact_sheet([], title="t", key=key)
    assert tall.shape[0] > draw_contact_sheet([], title="t", key=key[:2]).shape[0]
    assert (tall == BLUE).all(axis=2).any()
