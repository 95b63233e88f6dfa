"""Scores that say how well the box fits, too: class and quality in one logit.

A network may predict beside its classes how near a location is to its object's center (FCOS, Tian
et al. 2019, section 3.3) or how much its box overlaps it. The score of a detection is then

    s = sqrt(p * q)

with the class's probability p and the quality's q. The root keeps scores in the range that
thresholds are used to; without it they would have the same order. This is the only place that
knows of it: whatever decodes, on whatever device, is given the logit of s.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from foveal.structures import RawOutput


def rate(logits: Tensor, quality: Tensor) -> Tensor:
    """The logit of s = sqrt(p * q), from the logits of p and of q.

    With a = -log p, b = -log q and log s = -(a + b) / 2

        logit(s) = log s - log(1 - s) = log s + log(1 + s) - log(1 - p * q)

    and log(1 - p * q) = softplus(low - softplus(high)) - softplus(low), low and high being the
    lower and the higher of the two logits, so that nothing overflows and nothing is lost near 0
    and 1.

    Args:
        logits: [..., K] of the classes.
        quality: [...] of the box.

    Returns:
        [..., K], at least float32.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    of_class, of_box = logits.to(wide), quality.to(wide)[..., None]
    log_score = (softplus(-of_class) + softplus(-of_box)) / -2
    low, high = torch.minimum(of_class, of_box), torch.maximum(of_class, of_box)
    return log_score + softplus(log_score) + softplus(low) - softplus(low - softplus(high))


def rated(raw: RawOutput[Tensor]) -> RawOutput[Tensor]:
    """The same output with its quality [B, A_l] in its logits; as it is where it has none."""
    if not raw.quality:
        return raw
    return RawOutput(tuple(map(rate, raw.logits, raw.quality)), raw.deltas)
