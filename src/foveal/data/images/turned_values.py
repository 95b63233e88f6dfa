"""Images whose file says that they are stored turned or mirrored (TIFF's tag Orientation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from foveal.data.images.stored_values import EVERYWHERE, StoredValues
from foveal.data.images.tiff import SWAPPED, orient
from foveal.geometry.georeference import Georeference

if TYPE_CHECKING:
    from foveal.data.images.stored_values import Source

_UPSIDE_DOWN, _MIRRORED = (3, 4, 7, 8), (2, 3, 6, 7)


class TurnedValues:
    """A `Source` that reads another, which is stored turned.

    Attributes:
        width, height, block, bits, deep, georeference, notes, boxes, smaller: see `Source`.

    Args:
        stored: the image as it is stored.
        orientation: 1..8, as TIFF and EXIF number them.
    """

    boxes = EVERYWHERE

    def __init__(self, stored: Source, orientation: int) -> None:
        self._stored, self._orientation = stored, orientation
        self._swapped = orientation in SWAPPED
        self.bits, self.deep, self.notes = stored.bits, stored.deep, stored.notes
        self.smaller = stored.smaller
        sides, (down, across) = (stored.width, stored.height), stored.block
        self.width, self.height = sides[::-1] if self._swapped else sides
        self.block = (across, down) if self._swapped else (down, across)
        self.georeference = self._turned_place()

    def read(
        self, left: int, top: int, right: int, bottom: int, shape: tuple[int, int] | None = None
    ) -> StoredValues:
        """See `Source.read`."""
        if self._orientation in _MIRRORED:
            left, right = self.width - right, self.width - left
        if self._orientation in _UPSIDE_DOWN:
            top, bottom = self.height - bottom, self.height - top
        if self._swapped:
            left, top, right, bottom = top, left, bottom, right
            shape = None if shape is None else (shape[1], shape[0])
        stored = self._stored.read(left, top, right, bottom, shape)
        turned = [None if part is None else orient(part, self._orientation) for part in stored]
        return StoredValues(orient(stored.values, self._orientation), *turned[1:])

    def close(self) -> None:
        """Let go of the file."""
        self._stored.close()

    def _turned_place(self) -> Georeference | None:
        """The place on the map: that of the file counts in pixels as they are stored."""
        place = self._stored.georeference
        if place is None:
            return None
        corners = np.array([(0, 0), (1, 0), (0, 1)], np.float64)
        if self._orientation in _MIRRORED:
            corners[:, 0] = self.width - corners[:, 0]
        if self._orientation in _UPSIDE_DOWN:
            corners[:, 1] = self.height - corners[:, 1]
        if self._swapped:
            corners = corners[:, ::-1]
        (c, f), (right_x, right_y), (down_x, down_y) = place.straight().to_map(corners).tolist()
        transform = (right_x - c, down_x - c, c, right_y - f, down_y - f, f)
        return Georeference(place.crs, transform)
