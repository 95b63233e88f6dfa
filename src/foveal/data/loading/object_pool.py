"""The objects of a data set, from which some are drawn to be pasted into other images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.dataset import Record
    from foveal.data.loading.windows import Rectangle

_BORDER = 0.15
"""How much of its longer side is cut out around an object."""
_LEAST_BORDER = 2.0
"""Original pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPool:
    """Objects, class by class; see `pool_objects`.

    Attributes:
        images: [N] the position of each object's image.
        positions: [N] its position in the image's record.
        starts: [C + 1] where the objects of each class that has any begin.
    """

    images: NDArray[np.int64]
    positions: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, generator: Generator) -> tuple[int, int]:
        """An object's image and its position there: each class is as likely as any other."""
        group = int(generator.integers(len(self.starts) - 1))
        chosen = int(generator.integers(self.starts[group], self.starts[group + 1]))
        return int(self.images[chosen]), int(self.positions[chosen])


def pool_objects(records: Sequence[Record], usable: NDArray[np.int64]) -> ObjectPool:
    """The objects of some of the images; regions to ignore are none.

    Args:
        records: of all images.
        usable: [M] positions of those whose objects count.
    """
    rows = [np.zeros((0, 3), np.int64)]
    for image in usable.tolist():
        record = records[image]
        boxes = record.boxes
        real = ~record.ignored & (record.labels >= 0) & np.isfinite(boxes).all(axis=1)
        found = np.flatnonzero(real & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        rows.append(np.stack([record.labels[found], np.full(len(found), image), found], axis=1))
    table = np.concatenate(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
    return ObjectPool(table[:, 1], table[:, 2], np.append(starts, len(table)))


def around(box: NDArray[np.float32], width: int, height: int) -> Rectangle:
    """Left, top, right and bottom of an object's box [4] with a border, in its image, pixels."""
    sides = box[2:] - box[:2]
    border = max(_LEAST_BORDER, _BORDER * float(sides.max()))
    left, top = (max(0, math.floor(float(value) - border)) for value in box[:2])
    right = min(width, math.ceil(float(box[2]) + border))
    bottom = min(height, math.ceil(float(box[3]) + border))
    return left, top, right, bottom
