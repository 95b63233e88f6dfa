import pytest
import torch

from foveal.detection.centerness import centerness


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ((20.0, 15.0), 1.0),
        ((10.0, 15.0), (10 / 30) ** 0.5),
        ((10.0, 10.0), (10 / 30 * 10 / 20) ** 0.5),
        ((0.0, 15.0), 0.0),
        ((-3.0, -4.0), 0.0),
        ((20.0, 50.0), 0.0),
    ],
)
@pytest.mark.parametrize("side", [8.0, 64.0])
def test_by_hand(center, expected, side):
    """In a box of 40 x 30; the size of the anchor has no part in it."""
    box = torch.tensor([0.0, 0.0, 40.0, 30.0])
    x, y = center
    anchor = torch.tensor([x - side / 2, y - side / 4, x + side / 2, y + side / 4])
    assert centerness(box, anchor).item() == pytest.approx(expected)


def test_of_no_anchors():
    assert centerness(torch.zeros(2, 0, 4), torch.zeros(0, 4)).shape == (2, 0)
