"""Boxes that follow a movement of the pixels exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from foveal.structures import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

BoxRule = Literal["corners", "ellipse"]
CutRule = Literal["drop", "ignore"]

_LEAST_SIDE = 0.01
"""Input pixels; what is left of a box that is thinner than this is dropped."""


def move_target(
    target: Target,
    matrix: NDArray[np.float64],
    *,
    room: tuple[int, int],
    min_visibility: float,
    rule: BoxRule,
    cut: CutRule = "drop",
) -> Target:
    """Move boxes by a matrix [2, 3], cut them at the output's edges, drop what is mostly cut away.

    A moved rectangle is enclosed by a box anew. With rule "corners" that is the box around what is
    seen of the moved rectangle, exactly. With "ellipse" it is the box around the moved ellipse that
    touched the old box's sides, then cut: tighter for round things, whose corners were empty. Both
    are the same where nothing is rotated or sheared.

    Args:
        target: boxes in the original frame.
        matrix: from there to the output's continuous pixels, invertible.
        room: height and width of the output.
        min_visibility: an object of whose whole moved box a smaller share is left is dropped or
            ignored; a region to ignore stays as long as anything of it is inside.
        rule: "corners" or "ellipse".
        cut: what becomes of objects of which too little is left: "drop", or "ignore" makes what
            is left a region to ignore.

    Returns:
        The boxes in output pixels, all with a positive area; without `areas`. Boxes that had no
        area before are dropped.
    """
    boxes = target.boxes.astype(np.float64)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    real = (halves > 0).all(axis=1)
    if rule == "corners":
        halves = halves @ np.abs(matrix[:, :2]).T
    else:
        halves = np.sqrt(halves**2 @ (matrix[:, :2] ** 2).T)
    limits = np.array([room[1], room[0]] * 2, np.float64)
    bounds = np.clip(np.hstack([centers - halves, centers + halves]), 0, limits)
    tilted = np.count_nonzero(matrix[:, :2]) > 2
    if tilted and rule == "corners":
        bounds = _seen_bounds(boxes, matrix, room)
    seen = bounds.astype(np.float32)
    sides = seen[:, 2:] - seen[:, :2]
    enough = sides.prod(axis=1) >= min_visibility * 4 * halves.prod(axis=1) * (1 - 1e-6)
    keep = (sides >= _LEAST_SIDE).all(axis=1) & real
    if cut == "ignore":
        target = replace(target, ignored=target.ignored | ~enough)
    keep &= target.ignored | enough
    return target.transformed(seen).select(keep)


def _seen_bounds(
    boxes: NDArray[np.float64], matrix: NDArray[np.float64], room: tuple[int, int]
) -> NDArray[np.float64]:
    """[N, 4] around the part of each moved rectangle that is inside the room; zeros where none is.

    That part's corners are among the rectangle's corners inside the room, the room's corners inside
    the rectangle, and the crossings of their sides.
    """
    limits = np.array([room[1], room[0]], np.float64)
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    room_corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * limits
    unmoved = (room_corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    covered = ((unmoved >= low) & (unmoved <= high)).all(axis=2)
    points = [corners, np.broadcast_to(room_corners, (len(boxes), 4, 2))]
    valid = [((corners >= 0) & (corners <= limits)).all(axis=2), covered]
    along = np.roll(corners, -1, axis=1) - corners
    for axis in (0, 1):
        for line in (0.0, limits[axis]):
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                share = (line - corners[:, :, axis]) / along[:, :, axis]
                crossing = corners + share[:, :, None] * along
            crossing[:, :, axis] = line
            other = crossing[:, :, 1 - axis]
            points.append(crossing)
            valid.append((share >= 0) & (share <= 1) & (other >= 0) & (other <= limits[1 - axis]))
    inside = np.concatenate(valid, axis=1)
    places = np.concatenate(points, axis=1)
    lowest = np.where(inside[:, :, None], places, np.inf).min(axis=1)
    highest = np.where(inside[:, :, None], places, -np.inf).max(axis=1)
    bounds = np.hstack([lowest, highest])
    bounds[~inside.any(axis=1)] = 0
    return bounds
