"""From objects that claim anchors to anchors with an object, and what objects without one get."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from foveal.detection.assignment import BACKGROUND, IGNORED
from foveal.detection.assignment_pairs import blocks, centers_of, emptied, lie_inside
from foveal.geometry.boxes import iou

ABOUT_EQUAL = 0.99
"""IoUs from this share of the highest count as equal: then the nearest anchor is the best."""
ROUNDS = 4
"""How often objects without an anchor claim one that is still free."""


def nearest_anchors(
    anchors: Tensor,
    boxes: Tensor,
    *,
    level_lengths: tuple[int, ...],
    per_location: int,
    count: int,
) -> Tensor:
    """The anchors of the locations of each level whose centers are nearest to each object's.

    Of locations that are equally near any may be among them.

    Args:
        anchors: [A, 4] xyxy, input pixels, location by location.
        boxes: [B, N, 4] xyxy, input pixels.
        level_lengths: anchors of each level, A in all.
        per_location: anchors of each location.
        count: how many locations of each level.

    Returns:
        [B, N, C] int64 indices of anchors, the levels' one after the other; a level with fewer
        locations has fewer.
    """
    centers = centers_of(boxes)
    shapes = torch.arange(per_location, device=boxes.device)
    found = []
    start = 0
    for length in level_lengths:
        locations = centers_of(anchors[start : start + length : per_location])
        wanted = min(count, len(locations))
        pairs_each = len(boxes) * len(locations)
        nearest = torch.cat(
            [
                _squared_distances(centers[:, block], locations)
                .topk(wanted, dim=2, largest=False, sorted=False)
                .indices
                for block in blocks(boxes.shape[1], pairs_each=pairs_each, device=boxes.device)
            ],
            dim=1,
        )
        found.append((start + nearest[..., None] * per_location + shapes).flatten(2))
        start += length
    return torch.cat(found, dim=2)


def settle_claims(index: Tensor, values: Tensor, claimed: Tensor, *, anchors: int) -> Tensor:
    """Give each anchor to the object whose claim is the highest, to the first of equal ones.

    Args:
        index: [B, N, C] the anchors that each object may claim.
        values: [B, N, C] float32, what each claim is worth.
        claimed: [B, N, C] bool, whether it is made.
        anchors: A.

    Returns:
        [B, A] int64: index of the object in 0..N-1, or BACKGROUND where nothing was claimed.
    """
    batch, objects, each = index.shape
    flat = index.flatten(1)
    claims = torch.where(claimed, values, -torch.inf).flatten(1)
    highest = claims.new_full((batch, anchors), -torch.inf)
    highest = highest.scatter_reduce(1, flat, claims, "amax")
    wins = claimed.flatten(1) & (claims == highest.gather(1, flat))
    numbers = torch.arange(objects, device=index.device)[:, None].expand(-1, each).flatten()
    numbers = torch.where(wins, numbers, objects)
    winner = index.new_full((batch, anchors), objects).scatter_reduce(1, flat, numbers, "amin")
    return torch.where(winner < objects, winner, BACKGROUND)


def count_assigned(matched: Tensor, objects: int) -> Tensor:
    """How many anchors each object has: matched [B, A] gives [B, N] int64."""
    counts = matched.new_zeros(len(matched), objects)
    return counts.scatter_add(1, matched.clamp(min=0), (matched >= 0).long())


def give_anchors(
    index: Tensor,
    values: Tensor,
    wanted: Tensor,
    anchors: Tensor,
    boxes: Tensor,
    *,
    objects: Tensor,
    regions: Tensor | None,
    nearest: Callable[[], Tensor] | None,
    overlap: float,
) -> Tensor:
    """Give anchors to the objects that want them, and ignore what regions to ignore would get.

    Args:
        index: [B, N, C] the anchors that each box may have.
        values: [B, N, C] float32, what each is worth to it.
        wanted: [B, N, C] bool, which of them it wants.
        anchors: [A, 4] xyxy, input pixels.
        boxes: [B, N, 4] xyxy, input pixels.
        objects: [B, N] bool, which of them are objects.
        regions: [B, N] bool, which are regions to ignore; None where there are none.
        nearest: gives [B, N, C] the anchors near each, of which what got none gets one, see
            `serve_objects_without_anchor`; None leaves that out.
        overlap: see `ignore_regions`.

    Returns:
        [B, A] int64: index of the object in 0..N-1, BACKGROUND or IGNORED.
    """
    claims = wanted & objects[..., None]
    matched = settle_claims(index, values, claims, anchors=len(anchors))
    if nearest is not None:
        matched = serve_objects_without_anchor(
            matched, anchors, boxes, objects=objects, nearest=nearest
        )
    if regions is None:
        return matched
    claims = wanted & regions[..., None]
    return ignore_regions(
        matched,
        settle_claims(index, values, claims, anchors=len(anchors)),
        anchors,
        boxes,
        regions=regions,
        nearest=nearest,
        overlap=overlap,
    )


def ignore_regions(
    matched: Tensor,
    claimed: Tensor,
    anchors: Tensor,
    boxes: Tensor,
    *,
    regions: Tensor,
    nearest: Callable[[], Tensor] | None,
    overlap: float,
) -> Tensor:
    """Ignore background anchors that regions to ignore would get if they were objects.

    So is a background anchor of whose area a fraction lies in one region.

    Args:
        matched: [B, A], what objects have.
        claimed: [B, A], what regions would have.
        anchors: [A, 4] xyxy, input pixels.
        boxes: [B, N, 4] xyxy, input pixels.
        regions: [B, N] bool, which of them are regions to ignore.
        nearest: gives [B, N, C] the anchors near each, where regions without an anchor get one,
            see `serve_objects_without_anchor`; else None.
        overlap: the fraction.
    """
    both = torch.where(matched >= 0, matched, claimed)
    if nearest is not None:
        both = serve_objects_without_anchor(both, anchors, boxes, objects=regions, nearest=nearest)
    empty = emptied(boxes, ~regions)
    parts = blocks(len(anchors), pairs_each=regions.numel(), device=anchors.device)
    inside = torch.cat([lie_inside(empty, anchors[block], overlap) for block in parts], dim=1)
    return torch.where((matched == BACKGROUND) & (inside | (both >= 0)), IGNORED, matched)


def serve_objects_without_anchor(
    matched: Tensor,
    anchors: Tensor,
    boxes: Tensor,
    *,
    objects: Tensor,
    nearest: Callable[[], Tensor],
) -> Tensor:
    """Give each object without an anchor the best that is free, one each.

    That is the one whose IoU with it is the highest; of IoUs that are about equal, as those of all
    anchors around a tiny object are, the nearest one. No object loses an anchor by it, so that an
    object keeps none where all near it are others', or where none touches it.

    Args:
        matched: [B, A].
        anchors: [A, 4] xyxy, input pixels.
        boxes: [B, N, 4] xyxy, input pixels.
        objects: [B, N] bool, which of them are objects.
        nearest: gives [B, N, C] the anchors near each, see `nearest_anchors`; it is asked only
            where an object may wait for one.

    Returns:
        [B, A], matched with these.
    """
    waiting = objects & (count_assigned(matched, boxes.shape[1]) == 0)
    if boxes.device.type == "cpu" and not torch.compiler.is_compiling() and not waiting.any():
        return matched
    index = nearest()
    near = anchors[index]
    ious = iou(boxes[:, :, None], near)
    gaps = (centers_of(near) - centers_of(boxes)[:, :, None]).square().sum(dim=-1)
    flat = index.flatten(1)
    for _ in range(ROUNDS):
        free = (matched.gather(1, flat) < 0).view_as(index) & waiting[..., None] & (ious > 0)
        best = torch.where(free, ious, 0.0).amax(dim=2, keepdim=True)
        good = free & (ious >= ABOUT_EQUAL * best)
        chosen = torch.where(good, gaps, torch.inf).argmin(dim=2, keepdim=True)
        given = settle_claims(
            index.gather(2, chosen),
            ious.gather(2, chosen),
            good.gather(2, chosen),
            anchors=len(anchors),
        )
        matched = torch.where(given >= 0, given, matched)
        waiting = waiting & (count_assigned(given, boxes.shape[1]) == 0)
    return matched


def _squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """Squared distances of points [B, N, 2] from others [P, 2]: [B, N, P]."""
    across = points[..., 0, None] - others[:, 0]
    down = points[..., 1, None] - others[:, 1]
    return across.square_().add_(down.square_())
