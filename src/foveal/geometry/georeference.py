"""Where an image's pixels lie on a map. Loads neither PyTorch nor a map library.

A pixel's corners are whole numbers and its center is at +0.5, as in every other frame here; (0, 0)
is the outer corner of the first pixel. GDAL's geotransform counts in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 30
"""Until a bend is undone to far less than a pixel; most need five."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """An image's coordinate reference system and the way from its pixels into it.

    A pixel point (column, row) lies at x = a * column + b * row + c, y = d * column + e * row + f.

    Attributes:
        crs: the coordinate reference system, "EPSG:32617" where it has a number, else as WKT.
        transform: (a, b, c, d, e, f); rotated and sheared ones too.
        bend: what is added where no such transform fits ground control points: for x and for y the
            factors of 1, column, row, column^2, column * row and row^2. Empty: nothing.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    bend: tuple[tuple[float, ...], ...] = ()

    def to_map(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points [..., 2], columns and rows, to x and y of the coordinate reference system."""
        matrix, shift = self._parts()
        places = np.asarray(points, np.float64) @ matrix.T + shift
        return places + self._bends(points) if self.bend else places

    def to_pixels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map x and y [..., 2] of the coordinate reference system to columns and rows."""
        matrix, shift = self._parts()
        inverse = np.linalg.inv(matrix).T
        pixels = (np.asarray(points, np.float64) - shift) @ inverse
        if self.bend:
            # The bend is small beside the transform: each step leaves a small part of the error.
            for _ in range(_STEPS):
                pixels += (np.asarray(points, np.float64) - self.to_map(pixels)) @ inverse
        return pixels

    def corners(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """The four corners of boxes on the map.

        A rotated or sheared transform makes other quadrangles of them than upright rectangles.

        Args:
            boxes: [N, 4] xyxy, pixels.

        Returns:
            [N, 4, 2] x and y, of the upper left, upper right, lower right and lower left corner of
            the image.
        """
        left, top, right, bottom = np.asarray(boxes, np.float64).reshape(-1, 4).T
        columns = np.stack([left, right, right, left], axis=1)
        rows = np.stack([top, top, bottom, bottom], axis=1)
        return self.to_map(np.stack([columns, rows], axis=2))

    def moved(self, left: float, top: float) -> Georeference:
        """That of the part of the image that begins at a column and a row."""
        a, b, _, d, e, _ = self.transform
        x, y = self.straight().to_map(np.array([left, top], np.float64)).tolist()
        place = Georeference(self.crs, (a, b, x, d, e, y))
        return replace(place, bend=tuple(_moved(bend, left, top) for bend in self.bend))

    def straight(self) -> Georeference:
        """The same without its bend: the transform that comes nearest to it."""
        return replace(self, bend=())

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Lengths of a pixel's width and height in the map's units."""
        a, b, _, d, e, _ = self.transform
        return float(np.hypot(a, d)), float(np.hypot(b, e))

    def _bends(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """What the bend adds at points [..., 2]."""
        column, row = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        ones = np.ones_like(column)
        terms = np.stack([ones, column, row, column**2, column * row, row**2], axis=-1)
        return np.asarray(terms @ np.array(self.bend).T)

    def _parts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        a, b, c, d, e, f = self.transform
        return np.array([[a, b], [d, e]], np.float64), np.array([c, f], np.float64)


def _moved(bend: tuple[float, ...], left: float, top: float) -> tuple[float, ...]:
    """The same polynomial of columns and rows that are counted from others."""
    c, x, y, xx, xy, yy = bend
    return (
        c + x * left + y * top + xx * left**2 + xy * left * top + yy * top**2,
        x + 2 * xx * left + xy * top,
        y + 2 * yy * top + xy * left,
        xx,
        xy,
        yy,
    )
