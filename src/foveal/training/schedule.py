"""The learning rate: what a batch of some size starts from, and how it changes over the run.

Every function is a plain formula of the step, so that a resumed run needs no scheduler's state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

REFERENCE_BATCH = 16
"""The batch that `training.learning_rate` is stated for (the paper's)."""

MAX_WARMUP_FRACTION = 0.2
"""A short run warms up for at most this fraction of its steps."""

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25

ScheduleName = Literal["steps", "cosine", "one_cycle", "constant"]


def peak_learning_rate(
    learning_rate: float | None, *, optimizer: Literal["sgd", "adamw"], batch: int
) -> float:
    """The learning rate after the warm-up, for the batch in use.

    SGD follows the batch linearly; AdamW, whose steps do not grow with the gradient, as its square
    root.

    Args:
        learning_rate: what a batch of 16 images would have; None takes 0.01 (sgd) or 1e-3 (adamw).
        optimizer: which rule.
        batch: images a step over all processes and accumulated steps.
    """
    ratio = batch / REFERENCE_BATCH
    if optimizer == "sgd":
        return (0.01 if learning_rate is None else learning_rate) * ratio
    return (1e-3 if learning_rate is None else learning_rate) * math.sqrt(ratio)


def setting_for(learning_rate: float, *, optimizer: Literal["sgd", "adamw"], batch: int) -> float:
    """The inverse: the value of training.learning_rate that gives this one with the batch."""
    return learning_rate / peak_learning_rate(1.0, optimizer=optimizer, batch=batch)


def learning_rate_factor(
    step: int,
    *,
    schedule: ScheduleName,
    steps: int,
    warmup_steps: int = 0,
    warmup_factor: float = 0.0,
    step_fractions: Sequence[float] = (),
) -> float:
    """What the peak learning rate is multiplied by at a step.

    Args:
        step: 0 .. steps - 1; further steps get the last factor.
        schedule: 'steps' divides by 10 at each of `step_fractions`; 'cosine' falls to 0 along half
            a cosine; 'one_cycle' rises and falls along cosines and has no other warm-up;
            'constant' stays at 1.
        steps: all steps of the run.
        warmup_steps: the factor rises linearly from `warmup_factor` to 1 over so many steps (no
            more than a fifth of the run).
        warmup_factor: the factor at step 0 of the warm-up.
        step_fractions: fractions of the run, 0..1.
    """
    step = min(step, steps - 1)
    if schedule == "one_cycle":
        return _one_cycle(step, steps)
    warmup = min(warmup_steps, int(MAX_WARMUP_FRACTION * steps))
    if step < warmup:
        return warmup_factor + (1 - warmup_factor) * step / warmup
    if schedule == "steps":
        return float(0.1 ** sum(step >= fraction * steps for fraction in step_fractions))
    if schedule == "cosine":
        return half_cosine((step - warmup) / max(1, steps - warmup))
    return 1.0


def frozen_stages_at(progress: float, *, shares: Sequence[float], stages: int, frozen: int) -> int:
    """How many of a backbone's first stages are frozen at a share of the run.

    Args:
        progress: the share, 0..1.
        shares: of the run, ascending. Before the first of them all stages are frozen; at each one
            more is trained, the last first, and at the last of them all but `frozen`.
        stages: of the backbone.
        frozen: those that are never trained.
    """
    passed = sum(progress >= share - 1e-9 for share in shares)
    if passed == len(shares):
        return frozen
    return max(frozen, stages - passed)


def half_cosine(progress: float) -> float:
    """From 1 at progress 0 to 0 at progress 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(step: int, steps: int) -> float:
    rise = max(1, int(ONE_CYCLE_RISE * steps))
    if step < rise:
        return 1 - (1 - ONE_CYCLE_START) * half_cosine(step / rise)
    return half_cosine((step - rise) / max(1, steps - rise))
