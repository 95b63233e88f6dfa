"""Greedy non-maximum suppression for a whole batch at once, each image on its own.

Greedy NMS goes down the candidates by score and drops each that overlaps a kept one. Here the best
of the candidates that are left settle their own matters, those that stay are kept, and everything
that overlaps them goes. It ends when every image has all it may keep or no candidate is left, which
is usually after a few rounds. No image's result depends on the others in its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.geometry.boxes import iou

BLOCK = 192
"""Candidates of an image that settle their matters in one round."""


def suppress(boxes: Tensor, groups: Tensor, alive: Tensor, *, limit: float, most: int) -> Tensor:
    """Which candidates greedy NMS keeps.

    Args:
        boxes: [B, n, 4] xyxy, best first.
        groups: [B, n] only candidates of one group suppress each other (classes; all equal for
            NMS over all classes).
        alive: [B, n] bool, candidates to look at.
        limit: IoU above which a candidate goes.
        most: how many an image may keep.

    Returns:
        [B, most] int64 indices into n, best first, -1 where an image has fewer.
    """
    batch, count = alive.shape
    # One more place than may be kept: what comes too late is written there and cut off.
    kept = boxes.new_full((batch, most + 1), -1, dtype=torch.int64)
    filled = kept.new_zeros(batch, 1)
    index = torch.arange(count, device=boxes.device).expand_as(alive)
    corners = boxes.mT  # candidates last, so that what is computed of many lies side by side
    while True:
        corners, groups, index, alive = _in_front(alive & (filled < most), corners, groups, index)
        if not alive.shape[1]:
            return kept[:, :most]
        best, own = corners[..., :BLOCK], groups[:, :BLOCK]
        stays = _settle(best, own, alive[:, :BLOCK], limit=limit)
        place = torch.where(stays, filled + stays.cumsum(dim=1) - 1, most).clamp(max=most)
        kept.scatter_(1, place, index[:, :BLOCK])
        filled = filled + stays.sum(dim=1, keepdim=True)
        corners, groups, index, alive = (
            part[..., BLOCK:] for part in (corners, groups, index, alive)
        )
        if alive.shape[1]:
            best, own, stays = _in_front(stays, best, own)
            hit = _overlaps(best, own, corners, groups, limit=limit) & stays[..., None]
            alive = alive & ~hit.any(dim=1)


def _in_front(chosen: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """The chosen of each image before all others, cut off behind the image that has most.

    Args:
        chosen: [B, n] bool.
        parts: [B, n] or [B, D, n] to put in that order.

    Returns:
        The parts, then which of them are chosen: [B, ..., m] each.
    """
    most = int(chosen.sum(dim=1).max()) if chosen.numel() else 0
    order = torch.argsort(chosen.to(torch.uint8), dim=1, descending=True, stable=True)[:, :most]
    moved = []
    for part in (*parts, chosen):
        places = order if part.ndim == 2 else order[:, None].expand(-1, part.shape[1], -1)
        moved.append(part.gather(-1, places))
    return tuple(moved)


def _overlaps(
    corners: Tensor, groups: Tensor, others: Tensor, own: Tensor, *, limit: float
) -> Tensor:
    """Which of n boxes [B, 4, n] and m others of the same group overlap: [B, n, m] bool."""
    close = iou(corners.mT[:, :, None], others.mT[:, None]) > limit
    return close & (groups[:, :, None] == own[:, None])


def _settle(corners: Tensor, groups: Tensor, alive: Tensor, *, limit: float) -> Tensor:
    """Greedy NMS within one block: [B, m] bool.

    A candidate stays if no better one that stays overlaps it. Starting from all, repeating that
    rule settles at least one more candidate in each round, from the best down, so it ends in the
    greedy answer; in practice after a few rounds.
    """
    better = _overlaps(corners, groups, corners, groups, limit=limit).float().tril(-1)
    candidates = alive[..., None].float()
    stays = candidates
    while True:
        after = candidates * (torch.bmm(better, stays) == 0)
        if torch.equal(after, stays):
            return stays.squeeze(-1) > 0
        stays = after
