"""A scene's detections in full resolution, drawn window by window.

Which frames and labels there are is decided once for the whole scene, from the boxes alone. So a
box, and a label, that lies across windows is the same in both, and the windows side by side are the
picture that one window would have been.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from foveal.errors import MissingExtraError
from foveal.visualization import colors
from foveal.visualization.boxes import scored_names, to_rgb
from foveal.visualization.fonts import font

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.structures import Detections

_LINE = 2
_LETTERS = 12
_MIN_LABELED = 24.0
"""Pixels that the longer side of a labeled box has: a smaller one would be outshone."""
_PAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class SceneDrawing:
    """What is to be drawn upon a scene, best first.

    Attributes:
        frames: [N, 4] int64 xyxy, the outer edges of the boxes' lines, scene pixels.
        lines: [N] int64, the lines' width.
        labels: [N], the detections' classes.
        words: [N], what is written; nothing where there is no room.
        places: [N, 4] int64 xyxy, where it is written, scene pixels; the frame where nothing is.
        tree: finds what lies in a window.
    """

    frames: NDArray[np.int64]
    lines: NDArray[np.int64]
    labels: NDArray[np.int64]
    words: Sequence[str]
    places: NDArray[np.int64]
    tree: Any

    def draw(self, pixels: NDArray[np.uint8], left: int, top: int) -> NDArray[np.uint8]:
        """Draw what lies in a window.

        Args:
            pixels: [h, w, C] uint8, of the scene; of more than three bands the first three are
                shown.
            left, top: where the window begins, scene pixels.

        Returns:
            [h, w, 3] uint8 RGB, a new array.
        """
        import shapely

        picture = Image.fromarray(to_rgb(pixels))
        draw = ImageDraw.Draw(picture, "RGBA")
        window = shapely.box(left, top, left + picture.width, top + picture.height)
        seen = np.sort(self.tree.query(window))[::-1]
        for index in seen.tolist():
            x0, y0, x1, y1 = (self.frames[index] - (left, top, left + 1, top + 1)).tolist()
            if x1 >= x0 and y1 >= y0:
                color = colors.class_color(int(self.labels[index]))
                draw.rectangle(
                    (x0, y0, x1, y1), outline=(*color, 255), width=int(self.lines[index])
                )
        for index in seen.tolist():
            if word := self.words[index]:
                color = colors.class_color(int(self.labels[index]))
                x0, y0, x1, y1 = (self.places[index] - (left, top, left + 1, top + 1)).tolist()
                draw.rectangle((x0, y0, x1, y1), fill=(*color, 225))
                draw.text(
                    (x0 + _PAD, y0 + (y1 - y0 + 1) // 2),
                    word,
                    font=font(_LETTERS, word),
                    fill=colors.ink_on(color),
                    anchor="lm",
                )
        return np.asarray(picture).copy()


def plan_drawing(detections: Detections, *, labels: bool = True) -> SceneDrawing:
    """Decide what is drawn where.

    A line lies outside of its box, but at the scene's rim. A label stands above its box, where it
    hides no other box and no better label.

    Args:
        detections: boxes in the scene's pixels, best first, with the scene's size.
        labels: write class and score beside the boxes, where there is room.

    Raises:
        MissingExtraError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError:
        raise MissingExtraError(
            "shapely is not installed, which finds what lies in a window. Install it: "
            "pip install 'foveal[geo]'"
        ) from None
    boxes = detections.boxes.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    lines = np.clip(np.rint(sides.min(axis=1, initial=np.inf) / 8), 1, _LINE).astype(np.int64)
    size = np.asarray((detections.width, detections.height))
    starts = np.maximum(np.floor(boxes[:, :2]) - lines[:, None], 0)
    ends = np.minimum(np.ceil(boxes[:, 2:]) + lines[:, None], size)
    frames = np.concatenate([starts, ends], axis=1).astype(np.int64)
    words, places = [""] * len(frames), frames.copy()
    if labels:
        large = np.flatnonzero(sides.max(axis=1, initial=0) >= _MIN_LABELED)
        names = scored_names(detections[large])
        wanted = _places(frames[large], names, size)
        for index in _readable(frames, wanted, large).tolist():
            words[large[index]] = names[index]
            places[large[index]] = wanted[index]
    drawn = np.concatenate(
        [np.minimum(frames[:, :2], places[:, :2]), np.maximum(frames[:, 2:], places[:, 2:])], axis=1
    )
    tree = shapely.STRtree(shapely.box(*drawn.T))
    return SceneDrawing(frames, lines, detections.labels, words, places, tree)


def _places(
    frames: NDArray[np.int64], names: Sequence[str], size: NDArray[np.int64]
) -> NDArray[np.int64]:
    """[N, 4] where each name would stand: above its frame, below it at the scene's upper rim."""
    lengths = {name: _length(name) for name in set(names)}
    width = np.asarray([lengths[name] for name in names], np.int64)
    height = _LETTERS + 2 * _PAD
    left = np.maximum(np.minimum(frames[:, 0], size[0] - width), 0)
    above = frames[:, 1] >= height
    top = np.where(above, frames[:, 1] - height, frames[:, 3])
    return np.stack([left, top, left + width, top + height], axis=1)


def _length(name: str) -> int:
    return round(font(_LETTERS, name).getlength(name)) + 2 * _PAD


def _readable(
    frames: NDArray[np.int64], places: NDArray[np.int64], own: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices of the places that hide no frame and no better label.

    Better labels count even where they hide a frame themselves and are left out, so that it takes
    no look at the whole scene to know.

    Args:
        frames: [N, 4] xyxy, all of them.
        places: [M, 4] xyxy.
        own: [M] which frame each place belongs to; better ones come first.
    """
    import shapely

    shapes = _inner(places)
    place, frame = shapely.STRtree(_inner(frames)).query(shapes)
    hiding = place[frame != own[place]]
    one, other = shapely.STRtree(shapes).query(shapes)
    hidden = np.concatenate([hiding, one[other < one]])
    return np.setdiff1d(np.arange(len(places)), hidden)


def _inner(boxes: NDArray[np.int64]) -> Any:
    """Boxes as shapes that don't touch where they lie side by side."""
    import shapely

    return shapely.box(*(boxes + np.asarray((0.25, 0.25, -0.25, -0.25))).T)
