"""Pictures of what is known to be in an image, and of the anchors that learn it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from foveal.text import shorten
from foveal.visualization import colors
from foveal.visualization.boxes import Style, draw_boxes, to_rgb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from foveal.structures import Target

NO_ANCHOR = colors.FALSE_NEGATIVE
"""The color of an object that no anchor learns."""
_MAX_NAME = 23
_MAX_FRAMES = 60
"""Of more anchors in a picture only the centers are drawn."""
_RING = (16, 18, 22, 220)


@dataclass(frozen=True, slots=True, eq=False)
class MatchedAnchors:
    """The anchors of an image that learn an object.

    Attributes:
        boxes: [M, 4] float32 xyxy, the image's pixels.
        objects: [M] int64, the index of each one's object in the target.
        framed: whether their width and height say something, and not their center alone.
    """

    boxes: NDArray[np.float32]
    objects: NDArray[np.int64]
    framed: bool

    def __len__(self) -> int:
        return len(self.boxes)


def draw_target(
    image: NDArray[np.uint8],
    target: Target,
    classes: Sequence[str],
    *,
    side: int,
    anchors: MatchedAnchors | None = None,
) -> NDArray[np.uint8]:
    """Draw the objects of an image and their classes, in a size that suits a sheet of many.

    Args:
        image: [H, W] or [H, W, C] uint8; of more than three bands the first three are shown.
        target: boxes in the image's pixels; regions to ignore are gray and dashed.
        classes: the K names.
        side: of the picture's longer side, pixels. Smaller images are enlarged by a whole factor,
            as far as that fits.
        anchors: a dot at the center of each, in the color of its object's class; objects that have
            none are dashed. None draws none.

    Returns:
        [h, w, 3] uint8 RGB, a new array.

    Raises:
        ValueError: the image is not uint8 or has no pixels.
    """
    picture, scale = _resized(to_rgb(image), side)
    # Regions to ignore last, below the objects.
    order = np.argsort(target.ignored, kind="stable")
    alone = np.zeros(len(target), np.bool_)
    if anchors is not None:
        alone = ~target.ignored
        alone[anchors.objects] = False
        _draw_anchors(picture, anchors, target, scale)
    inks: list[colors.Color] = []
    styles: list[Style] = []
    words: list[str] = []
    for index in order.tolist():
        name = shorten(classes[int(target.labels[index])], _MAX_NAME)
        if target.ignored[index]:
            ink, style, word = colors.IGNORED, "dashed", ""
        elif alone[index]:
            ink, style, word = NO_ANCHOR, "dashed", f"{name}: no anchor"
        else:
            ink, style, word = colors.class_color(int(target.labels[index])), "solid", name
        inks.append(ink)
        styles.append("dashed" if style == "dashed" else "solid")
        words.append(word)
    return draw_boxes(picture, target.boxes[order] * scale, inks, styles, words, [])


def _resized(image: NDArray[np.uint8], side: int) -> tuple[Image.Image, NDArray[np.float32]]:
    """The picture, and [4] how many of its pixels one of the image has."""
    picture = Image.fromarray(image)
    width, height = picture.size
    factor = side / max(width, height)
    if factor >= 1:
        factor = int(factor)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    if size != picture.size:
        how = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS
        picture = picture.resize(size, how)
    scale = np.asarray([size[0] / width, size[1] / height] * 2, np.float32)
    return picture, scale


def _draw_anchors(
    picture: Image.Image, anchors: MatchedAnchors, target: Target, scale: NDArray[np.float32]
) -> None:
    draw = ImageDraw.Draw(picture, "RGBA")
    boxes = anchors.boxes * scale
    inks = [colors.class_color(label) for label in target.labels[anchors.objects].tolist()]
    if anchors.framed and len(anchors) <= _MAX_FRAMES:
        for box, ink in zip(boxes.tolist(), inks, strict=True):
            draw.rectangle(box, outline=(*ink, 130), width=1)
    radius = max(1.5, max(picture.size) / 260)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    for (x, y), ink in zip(centers.tolist(), inks, strict=True):
        for reach, fill in ((radius + 1, _RING), (radius, (*ink, 255))):
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)
