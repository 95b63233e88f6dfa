"""Objects of other images, pasted with a soft border (copy-paste; Ghiasi et al. 2021).

The paper pastes masks. Here an object's whole box is pasted with all that it shows, and what
surrounds the box fades into the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from foveal.geometry.covering import uncovered_parts
from foveal.structures import Sample, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from foveal.data.transforms.boxes import CutRule

_PLACES_TRIED = 8
"""So many places are drawn for an object; it takes the one that covers least of others."""


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """An object with its surroundings, cut out of its image.

    Attributes:
        sample: the cut; its target holds all that it shows, in its pixels, the object first.
        scale: input pixels that one of its pixels becomes.
    """

    sample: Sample
    scale: float


def paste_objects(
    image: NDArray[np.uint8],
    target: Target,
    cutouts: Sequence[Sample],
    generator: Generator,
    *,
    min_visibility: float,
    cut: CutRule,
) -> Target:
    """Paste objects into an image, one upon the other, and give what it shows then.

    Args:
        image: [H, W, C], changed.
        target: what it shows, in its pixels.
        cutouts: in pixels of the image's size, the object first in the target of each; those that
            are larger than the image are left out.
        generator: draws the places.
        min_visibility: an object of which a smaller share is left uncovered is dropped or ignored.
        cut: what becomes of it, see `foveal.data.transforms.boxes.move_target`.

    Returns:
        The boxes in the image's pixels, those of the pasted objects last. A box that is covered in
        part is the box around the rest of it.
    """
    layers = [target]
    covers: list[NDArray[np.float32]] = []
    for cutout in cutouts:
        height, width = cutout.image.shape[:2]
        room = np.array([image.shape[1] - width, image.shape[0] - height])
        if (room < 0).any():
            continue
        box = cutout.target.boxes[0]
        corners = generator.integers(0, room + 1, (_PLACES_TRIED, 2))
        left, top = corners[_covered_areas(layers, box, corners).argmin()]
        view = image[top : top + height, left : left + width]
        alpha = _soft_border(box, width, height)
        mixed = alpha * cutout.image + (1 - alpha) * view
        view[...] = np.round(mixed).astype(np.uint8)
        shift = np.array([left, top, left, top], np.float32)
        layers.append(cutout.target.transformed(cutout.target.boxes + shift))
        covers.append(box + shift)
    return Target.concatenate(
        [
            _cover(layer, covers[number:], min_visibility=min_visibility, cut=cut)
            for number, layer in enumerate(layers)
        ]
    )


def _cover(
    target: Target, covers: Sequence[NDArray[np.float32]], *, min_visibility: float, cut: CutRule
) -> Target:
    """What is left of objects that boxes are pasted upon."""
    if not covers or not len(target):
        return target
    shares, bounds = uncovered_parts(target.boxes, np.stack(covers))
    enough = shares >= min_visibility * (1 - 1e-6)
    if cut == "ignore":
        target = replace(target, ignored=target.ignored | ~enough)
    keep = (shares > 0) & (target.ignored | enough)
    return target.transformed(bounds).select(keep)


def _covered_areas(
    layers: Sequence[Target], box: NDArray[np.float32], corners: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[P] which share of objects a box covers, in sum, for each corner [P, 2] of its cut."""
    boxes = np.concatenate([layer.boxes[~layer.ignored] for layer in layers]).astype(np.float64)
    low = np.maximum(boxes[None, :, :2], (box[:2] + corners)[:, None])
    high = np.minimum(boxes[None, :, 2:], (box[2:] + corners)[:, None])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray((shared / np.maximum(areas, 1e-9)).sum(axis=1), np.float64)


def _soft_border(box: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """[height, width, 1] 1 in the box, falling to 0 at the cut's border, in a straight line."""
    ramps = []
    for side, first, last in ((width, box[0], box[2]), (height, box[1], box[3])):
        centers = np.arange(side, dtype=np.float32) + 0.5
        before = np.ones(side, np.float32) if first <= 0 else centers / first
        after = np.ones(side, np.float32) if last >= side else (side - centers) / (side - last)
        ramps.append(np.minimum(1, np.minimum(before, after)))
    return np.asarray(ramps[1][:, None, None] * ramps[0][None, :, None], np.float32)
