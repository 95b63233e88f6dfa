import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.models.parity import in_our_order
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from foveal.detection.anchors import AnchorGrid
from foveal.geometry.arrays import areas

TORCHVISION = AnchorGrid(compat="torchvision")


def test_shapes_have_the_papers_areas_and_ratios():
    shapes = AnchorGrid().at_origin(0)
    sides = shapes[:, 2:] - shapes[:, :2]
    expected = [32.0**2 * factor for factor in (1, 4 ** (1 / 3), 16 ** (1 / 3)) for _ in range(3)]
    assert shapes.dtype == np.float32
    np.testing.assert_allclose(areas(shapes), expected, rtol=1e-5)
    np.testing.assert_allclose(sides[:, 1] / sides[:, 0], [0.5, 1.0, 2.0] * 3, rtol=1e-5)
    # The paper's range: 32 to 813 pixels.
    assert math.sqrt(areas(AnchorGrid().at_origin(4)).max()) == pytest.approx(813, abs=0.5)


def test_locations_by_hand():
    grid = AnchorGrid(sizes=(4.0,), strides=(8,), scales=(1.0,), ratios=(1.0,))
    expected = [[2, 2, 6, 6], [10, 2, 14, 6], [2, 10, 6, 14], [10, 10, 14, 14]]
    assert grid.boxes(16, 16).tolist() == expected
    assert grid.boxes(9, 17).shape == (2 * 3, 4)
    assert grid.boxes(16, 16).dtype == np.float32


@pytest.mark.parametrize("size", [(320, 320), (800, 1344), (224, 96)])
def test_equals_torchvisions_generator(size):
    level_sizes = AnchorGrid().level_sizes(*size)
    sizes = tuple(
        (x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64, 128, 256, 512)
    )
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5)
    images = ImageList(torch.zeros(1, 3, *size), [size])
    theirs = generator(images, [torch.zeros(1, 1, *level) for level in level_sizes])[0]
    expected = in_our_order(theirs[None])[0]
    assert torch.equal(TORCHVISION.tensor(*size, level_sizes=level_sizes), expected)


def test_number_of_anchors_of_the_paper():
    # "About 100,000 an image" at 600 pixels and above; exactly 9 a location here.
    assert len(AnchorGrid().boxes(640, 896)) == 9 * sum(
        math.ceil(640 / s) * math.ceil(896 / s) for s in (8, 16, 32, 64, 128)
    )


@pytest.mark.parametrize("grid", [AnchorGrid(), TORCHVISION, AnchorGrid(ratios=(0.37, 1.9))])
def test_the_tensor_holds_the_same_numbers(grid):
    boxes, tensor = grid.boxes(96, 160), grid.tensor(96, 160)
    assert tensor.dtype == torch.float32
    assert np.array_equal(tensor.numpy(), boxes)


def test_cached_and_read_only():
    grid = AnchorGrid(sizes=(16.0,), strides=(8,))
    boxes = grid.boxes(32, 32)
    assert grid.boxes(32, 32) is boxes
    with pytest.raises(ValueError, match="read-only"):
        boxes[0] = 0


def test_the_tensor_is_usable_in_training_after_inference():
    grid = AnchorGrid(sizes=(16.0,), strides=(8,))
    with torch.inference_mode():
        first = grid.tensor(32, 32)
    assert grid.tensor(32, 32, device=torch.device("cpu")) is first
    (first * torch.ones(1, requires_grad=True)).sum().backward()


def test_anchors_need_no_torch():
    code = """
import sys
from foveal.detection.anchors import AnchorGrid
assert AnchorGrid().boxes(64, 64).shape == (9 * (64 + 16 + 4 + 1 + 1), 4)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_shapes_given_one_by_one_stand_around_each_location():
    shapes = (((-4.0, -4.0, 5.0, 5.0), (-2.0, -8.0, 2.0, 8.0)),)
    grid = AnchorGrid(strides=(8,), shapes=shapes)
    assert grid.per_location == 2
    assert grid.boxes(8, 16).tolist() == [
        [0, 0, 9, 9],
        [2, -4, 6, 12],
        [8, 0, 17, 9],
        [10, -4, 14, 12],
    ]
    assert grid.sides().tolist() == [[[9, 9], [4, 16]]]


def test_shapes_that_follow_the_rule_are_the_same_anchors():
    rule = AnchorGrid(compat=(0.0, False, False))
    shapes = tuple(tuple(map(tuple, rule.at_origin(level).tolist())) for level in range(5))
    given = AnchorGrid(compat=(0.0, False, False), shapes=shapes)
    assert np.array_equal(given.boxes(96, 160), rule.boxes(96, 160))
