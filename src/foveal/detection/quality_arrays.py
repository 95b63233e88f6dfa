"""Class and quality in one logit, in numpy: the twin of `quality` where no torch is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from foveal.structures import RawOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLACK = 1e-3
"""Of a logit: more than rounding."""


def rate(logits: NDArray[np.float32], quality: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logit of the geometric mean of two probabilities; see `quality.rate`.

    Args:
        logits: [..., K] of the classes.
        quality: [..., 1] of the box, or of as many values as the logits.

    Returns:
        [..., K].
    """
    log_score = (_softplus(-logits) + _softplus(-quality)) * np.float32(-0.5)
    low, high = np.minimum(logits, quality), np.maximum(logits, quality)
    rated: NDArray[np.float32] = (
        log_score + _softplus(log_score) + _softplus(low) - _softplus(low - _softplus(high))
    )
    return rated


def rate_above(
    logits: NDArray[Any], quality: NDArray[Any], *, threshold_logit: float
) -> NDArray[np.float32]:
    """The same of those alone that may be above a threshold; -inf in the place of the others.

    Logits that are not finite are among the others. Of millions a few hundred count: since q <= 1,
    s = sqrt(p * q) is above t only where p is above t^2.

    Args:
        logits: [A, K] of the classes.
        quality: [A] of the boxes.
        threshold_logit: of t.
    """
    flat = np.asarray(logits, np.float32).reshape(-1)
    where = np.flatnonzero((flat > _least_logit(threshold_logit)) & (flat < np.inf))
    rated = np.full(flat.shape, -np.inf, np.float32)
    of_box = np.asarray(quality, np.float32)[where // logits.shape[1]]
    rated[where] = rate(flat[where], of_box)
    return rated.reshape(logits.shape)


def rated_arrays(raw: RawOutput[NDArray[Any]]) -> RawOutput[NDArray[Any]]:
    """The same output with its quality [B, A_l] in its logits; as it is where it has none."""
    if not raw.quality:
        return raw
    return RawOutput(
        tuple(
            rate(logits, quality[..., None])
            for logits, quality in zip(raw.logits, raw.quality, strict=True)
        ),
        raw.deltas,
    )


def _least_logit(threshold_logit: float) -> float:
    """The logit of t^2, a little lower."""
    if math.isinf(threshold_logit):
        return threshold_logit
    log_squared = -2 * float(np.logaddexp(0, -threshold_logit))
    return log_squared - math.log(-math.expm1(log_squared)) - _SLACK


def _softplus(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """log(1 + exp(values)), which never overflows."""
    result: NDArray[np.float32] = np.logaddexp(np.float32(0), values)
    return result
