"""Anchors as other programs make them (`anchors.compat`), for networks that were trained on those.

The paper says which sizes and ratios the anchors have, and not how pixels are counted. `AnchorGrid`
computes with real numbers and puts centers into the middle of their cells. torchvision differs in
three points, which no change of the weights makes up for:

- a center is the corner of its cell at the top and left (offset 0);
- sizes times scales are cut to whole pixels, and the corners of the shapes are rounded;
- the distance between centers is the input's size // the level's size. That is the stride where
  the input's size is a multiple of it, and less elsewhere.

It differs in the order of the anchors at a location too. There the weights are permuted instead
(`foveal.checkpoints.anchor_order`), and the order is always ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Compat = Literal["none", "torchvision"] | tuple[float, bool, bool]
"""'none' is this project's own way; three values are those of `Convention`."""


class Convention(NamedTuple):
    """How pixels are counted.

    Attributes:
        offset: where in its cell an anchor's center lies, in strides.
        whole_pixels: cut sizes to whole pixels, and round the corners of the shapes.
        divided_stride: take the input's size // the level's size for the stride.
    """

    offset: float = 0.5
    whole_pixels: bool = False
    divided_stride: bool = False


OWN = Convention()
TORCHVISION = Convention(offset=0.0, whole_pixels=True, divided_stride=True)


def convention_of(compat: Compat) -> Convention:
    """The convention that a setting means."""
    if isinstance(compat, str):
        return TORCHVISION if compat == "torchvision" else OWN
    return Convention(*compat)


def whole_pixel_shapes(
    size: float, scales: Sequence[float], ratios: Sequence[float]
) -> NDArray[np.float32]:
    """The anchors of one location in whole pixels, in the order of `AnchorGrid.at_origin`.

    Args:
        size: base size of the level, input pixels.
        scales: factors on it.
        ratios: height / width.

    Returns:
        [A, 4] float32 xyxy, centered at the origin, input pixels.
    """
    # The tolerance keeps 2^(1/3) etc. read back from text on the same side of a whole number.
    sides = np.array([int(size * scale + 1e-6) for scale in scales], np.float32)[:, None]
    root = np.sqrt(np.array(ratios, np.float32))
    half = np.stack([(sides * (1 / root)).ravel(), (sides * root).ravel()], axis=-1) / 2
    return np.concatenate([-half, half], axis=-1, dtype=np.float32).round()


def centers(convention: Convention, *, stride: int, side: int, count: int) -> NDArray[np.float32]:
    """The coordinates of a level's centers along one axis.

    Args:
        convention: how pixels are counted.
        stride: of the level, input pixels.
        side: of the input along this axis, pixels.
        count: of the level's cells along this axis.

    Returns:
        [count] float32, input pixels.
    """
    step = side // count if convention.divided_stride else stride
    return (np.arange(count, dtype=np.float32) + np.float32(convention.offset)) * np.float32(step)
