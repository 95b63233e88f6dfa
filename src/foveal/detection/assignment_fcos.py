"""Assignment by place and size, without overlaps: FCOS.

Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection", arXiv 1904.01355, sections
3.1 and 3.2, with center sampling, which the authors added in arXiv 2006.09214.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from foveal.detection.assignment import BACKGROUND, IGNORED
from foveal.detection.assignment_claims import nearest_anchors, serve_objects_without_anchor
from foveal.detection.assignment_pairs import are_real, blocks, centers_of, cut_padding, emptied
from foveal.geometry.boxes import areas

RADIUS = 1.5
"""How far from an object's center a location may be along either axis, in strides of its level."""
STRIDES_A_SIDE = 8
"""A level has the objects whose farthest side is up to so many strides away: 64 px at stride 8."""
NEAR_LOCATIONS = 9
"""Locations of each level that an object without one looks at."""


def assign_fcos(
    anchors: Tensor,
    boxes: Tensor,
    counts: Tensor,
    *,
    level_lengths: tuple[int, ...],
    strides: tuple[int, ...],
    ignored: Tensor | None = None,
    allow_low_quality_matches: bool = True,
) -> Tensor:
    """Give each location an object, or background, or nothing; there is one anchor a location.

    1. A location, the center of its anchor, wants an object if it lies inside it, if it is within
       1.5 strides of its center along both axes, and if the farthest of the object's four sides is
       within its level's range: 0 to 8 strides on the finest level, 4 to 8 on the others, 4 and
       more on the coarsest (0-64, 64-128, ..., 512 and more pixels at the paper's strides). Of
       several objects it gets the smallest. All other locations are background.
    2. With `allow_low_quality_matches` an object that got no location, as a tiny one between them,
       gets the best free one near it (`serve_objects_without_anchor`). The paper does not have
       this rule. Such a location may lie outside its object.
    3. A background location inside a region to ignore is ignored; where there is none, as in a
       tiny one between them, the best free one near it is, with `allow_low_quality_matches`.

    Args:
        anchors: [A, 4] xyxy, input pixels, level by level.
        boxes: [B, N, 4] xyxy, input pixels, padded.
        counts: [B], how many of the N are real.
        level_lengths: locations of each level, A in all.
        strides: input pixels between the locations of each level.
        ignored: [B, N] bool, regions to ignore; None where there are none in the batch.
        allow_low_quality_matches: see above.

    Returns:
        [B, A] int64: index of the object in 0..N-1, BACKGROUND or IGNORED.
    """
    boxes, ignored = cut_padding(boxes, ignored, counts)
    batch, num_objects, _ = boxes.shape
    if num_objects == 0:
        return torch.full((batch, len(anchors)), BACKGROUND, device=boxes.device)
    real = are_real(boxes, counts)
    objects = real if ignored is None else real & ~ignored
    sought = emptied(boxes, ~objects)
    regions = None if ignored is None else emptied(boxes, ~(real & ignored))
    parts: list[Tensor] = []
    start = 0
    for level, (length, stride) in enumerate(zip(level_lengths, strides, strict=True)):
        locations = centers_of(anchors[start : start + length])
        start += length
        nearest_side = STRIDES_A_SIDE / 2 * stride if level else 0.0
        farthest_side = STRIDES_A_SIDE * stride if level < len(strides) - 1 else torch.inf
        parts += [
            _of_locations(
                locations[block],
                sought,
                regions,
                reach=RADIUS * stride,
                limits=(nearest_side, farthest_side),
            )
            for block in blocks(length, pairs_each=batch * num_objects, device=boxes.device)
        ]
    matched = torch.cat(parts, dim=1)
    if allow_low_quality_matches:
        nearest = functools.partial(
            nearest_anchors,
            anchors,
            boxes,
            level_lengths=level_lengths,
            per_location=1,
            count=NEAR_LOCATIONS,
        )
        matched = serve_objects_without_anchor(
            matched, anchors, boxes, objects=objects, nearest=nearest
        )
        if ignored is not None:
            both = serve_objects_without_anchor(
                matched, anchors, boxes, objects=real & ignored, nearest=nearest
            )
            matched = torch.where((matched < 0) & (both >= 0), IGNORED, matched)
    return matched


def _of_locations(
    locations: Tensor,
    objects: Tensor,
    regions: Tensor | None,
    *,
    reach: float,
    limits: tuple[float, float],
) -> Tensor:
    """What each location [P, 2] of a level gets of objects and regions [B, N, 4]: [B, P]."""
    least, greatest = _sides(objects, locations)
    across, down = (centers_of(objects)[..., None, axis] - locations[:, axis] for axis in (0, 1))
    near = (across.abs() <= reach) & (down.abs() <= reach)
    wanted = near & (least > 0) & (greatest >= limits[0]) & (greatest <= limits[1])
    sizes = torch.where(wanted, areas(objects)[:, :, None], torch.inf)
    smallest, number = sizes.min(dim=1)
    unmatched = torch.full_like(number, BACKGROUND)
    if regions is not None:
        inside = (_sides(regions, locations)[0] > 0).any(dim=1)
        unmatched = torch.where(inside, IGNORED, unmatched)
    return torch.where(smallest < torch.inf, number, unmatched)


def _sides(boxes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest distance of points [P, 2] from the four sides of boxes [B, N, 4].

    Returns:
        [B, N, P] each; a point outside its box has a least distance below 0.
    """
    x, y = points.unbind(-1)
    left, top, right, bottom = (side[..., None] for side in boxes.unbind(-1))
    sides = (x - left, right - x, y - top, bottom - y)
    return functools.reduce(torch.minimum, sides), functools.reduce(torch.maximum, sides)
