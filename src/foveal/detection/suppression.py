"""Greedy non-maximum suppression for a whole batch at once, each image on its own.

Greedy NMS goes down the candidates by score and drops each that overlaps a kept one. Here a block
of candidates is taken at a time: those that overlap what is kept already go, then the block settles
its own matters, and the best that are left join the kept. It ends when every image has all it may
keep, which is usually in the first block. No image's result depends on the others in its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.geometry.boxes import iou

BLOCK = 128


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
    kept_boxes = boxes.new_zeros(batch, most + 1, 4)
    kept_groups = groups.new_full((batch, most + 1), -1)
    filled = kept.new_zeros(batch, 1)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        if not bool((alive[:, start:] & (filled < most)).any()):
            break
        candidates, own, left = boxes[:, block], groups[:, block], alive[:, block]
        hit = (iou(candidates[:, :, None], kept_boxes[:, None, :most]) > limit) & (
            own[:, :, None] == kept_groups[:, None, :most]
        )
        left = _settle(candidates, own, left & ~hit.any(dim=2), limit=limit)
        place = torch.where(left, filled + left.cumsum(dim=1) - 1, most).clamp(max=most)
        index = torch.arange(start, start + left.shape[1], device=boxes.device).expand_as(place)
        kept.scatter_(1, place, index)
        kept_boxes.scatter_(1, place[..., None].expand(-1, -1, 4), candidates)
        kept_groups.scatter_(1, place, own)
        filled = (filled + left.sum(dim=1, keepdim=True)).clamp(max=most)
    return kept[:, :most]


def _settle(boxes: Tensor, groups: Tensor, alive: Tensor, *, limit: float) -> Tensor:
    """Greedy NMS within one block: [B, m] bool.

    A candidate stays if no better one that stays overlaps it. Starting from all, repeating that
    rule settles at least one more candidate in each round, from the best down, so it ends in the
    greedy answer; in practice after a few rounds.
    """
    overlaps = iou(boxes[:, :, None], boxes[:, None]) > limit
    better = torch.ones(overlaps.shape[1:], dtype=torch.bool, device=boxes.device).tril(-1)
    blocks = (overlaps & (groups[:, :, None] == groups[:, None]) & better).to(torch.float32)
    stays = alive
    while True:
        blocked = torch.bmm(blocks, stays[..., None].to(torch.float32)).squeeze(-1) > 0
        after = alive & ~blocked
        if torch.equal(after, stays):
            return stays
        stays = after
