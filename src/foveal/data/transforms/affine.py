"""Random geometry as one movement of an image's pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foveal.data.transforms.resampling import mirror_into, paint, resize_into, warp_into

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Warp:
    """Where the pixels of an image go.

    The image is transposed or not, mirrored, and then, if `matrix` is None, its rectangle `source`
    is resized into the rectangle `place` of the output; both are (left, top, right, bottom) in
    whole pixels, so that the boxes are exact. With a `matrix` [2, 3], it maps the turned and
    mirrored image's continuous pixels to those of the output.
    """

    width: int
    height: int
    transpose: bool
    mirror_x: bool
    mirror_y: bool
    source: tuple[int, int, int, int]
    place: tuple[int, int, int, int]
    matrix: NDArray[np.float64] | None = None

    @property
    def to_output(self) -> NDArray[np.float64]:
        """[2, 3] from the original image's continuous pixels to those of the output."""
        turn = np.eye(3)
        if self.transpose:
            turn = turn[[1, 0, 2]]
        width, height = (self.height, self.width) if self.transpose else (self.width, self.height)
        if self.mirror_x:
            turn = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]]) @ turn
        if self.mirror_y:
            turn = np.array([[1, 0, 0], [0, -1, height], [0, 0, 1]]) @ turn
        rest = _resizing(self.source, self.place) if self.matrix is None else self.matrix
        return np.asarray(rest @ turn, np.float64)

    def move_image(
        self,
        image: NDArray[np.uint8],
        out: NDArray[np.uint8],
        fill: NDArray[np.uint8],
        *,
        filtered: bool = True,
    ) -> NDArray[np.uint8]:
        """Fill `out` [h, w, C] with the moved image; the part of it that shows the image.

        Args:
            image: [H, W, C].
            out: where it goes.
            fill: [C], the value of places that the image does not cover.
            filtered: how it is resized where it is not tilted, see `resize_into`.
        """
        if self.matrix is not None:
            warp_into(image, out, self.to_output, fill=fill)
            return out
        left, top, right, bottom = self.place
        view = out[top:bottom, left:right]
        for rest in (out[:top], out[bottom:], out[top:bottom, :left], out[top:bottom, right:]):
            paint(rest, fill)
        x0, y0, x1, y1 = self._unturned_source()
        part = image[y0:y1, x0:x1]
        if not (self.transpose or self.mirror_x or self.mirror_y):
            resize_into(part, view, filtered=filtered)
            return view
        shape = view.shape[1::-1] if self.transpose else view.shape[:2]
        small = np.empty((*shape, image.shape[2]), np.uint8)
        resize_into(part, small, filtered=filtered)
        mirror_into(
            small, view,
            transpose=self.transpose, mirror_x=self.mirror_x, mirror_y=self.mirror_y,
        )  # fmt: skip
        return view

    def _unturned_source(self) -> tuple[int, int, int, int]:
        """The rectangle `source` in the pixels of the image before turning and mirroring."""
        x0, y0, x1, y1 = self.source
        width, height = (self.height, self.width) if self.transpose else (self.width, self.height)
        if self.mirror_x:
            x0, x1 = width - x1, width - x0
        if self.mirror_y:
            y0, y1 = height - y1, height - y0
        return (y0, x0, y1, x1) if self.transpose else (x0, y0, x1, y1)


def draw_warp(
    width: int,
    height: int,
    *,
    resized: tuple[int, int],
    room: tuple[int, int],
    generator: Generator,
    zoom: float,
    turns: int,
    mirror_x: bool,
    mirror_y: bool,
    rotation: float,
    shear: tuple[float, float],
    shift: bool,
) -> Warp:
    """Put a turned, mirrored, zoomed and tilted image at a random place of a room.

    Args:
        width, height: of the image, pixels.
        resized: width and height after turning and resizing, before the zoom.
        room: height and width of the output.
        generator: draws the place.
        zoom: factor on `resized`; what does not fit is cut off.
        turns: quarter turns, clockwise.
        mirror_x, mirror_y: whether to mirror left-right and top-bottom after that.
        rotation: further turn about the image's middle, clockwise, radians.
        shear: of the x and of the y axis, radians.
        shift: whether an image smaller than its room goes to a random place of it, not to the
            upper left corner.
    """
    turns %= 4
    transpose = turns in (1, 3)
    mirror_x ^= turns in (1, 2)
    mirror_y ^= turns in (2, 3)
    oriented = (height, width) if transpose else (width, height)
    zoomed = tuple(max(1, round(side * zoom)) for side in resized)
    places = generator.random(2)
    spans = [
        _fit(oriented[axis], zoomed[axis], room[1 - axis], float(places[axis]), shift)
        for axis in (0, 1)
    ]
    source = (spans[0][0], spans[1][0], spans[0][1], spans[1][1])
    place = (spans[0][2], spans[1][2], spans[0][3], spans[1][3])
    matrix = None
    if rotation or any(shear):
        middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        matrix = _tilt(rotation, shear, middle) @ np.vstack([_resizing(source, place), (0, 0, 1)])
    return Warp(width, height, transpose, mirror_x, mirror_y, source, place, matrix)


def _fit(side: int, zoomed: int, room: int, place: float, shift: bool) -> tuple[int, int, int, int]:
    """Along one axis: from, to in the image, and from, to in the room."""
    if zoomed <= room:
        start = int(place * (room - zoomed + 1)) if shift else 0
        return 0, side, start, start + zoomed
    seen = max(1, round(side * room / zoomed))
    start = int(place * (side - seen + 1))
    return start, start + seen, 0, room


def _resizing(
    source: tuple[int, int, int, int], place: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """[2, 3] that maps one rectangle to the other."""
    matrix = np.zeros((2, 3))
    for axis in (0, 1):
        scale = (place[axis + 2] - place[axis]) / (source[axis + 2] - source[axis])
        matrix[axis, axis], matrix[axis, 2] = scale, place[axis] - scale * source[axis]
    return matrix


def _tilt(
    rotation: float, shear: tuple[float, float], middle: tuple[float, float]
) -> NDArray[np.float64]:
    """[2, 3]: shear, then rotate, about a point."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array(
        [[1, math.tan(shear[0])], [math.tan(shear[1]), 1]]
    )
    return np.hstack([linear, (np.array(middle) - linear @ middle)[:, None]])
